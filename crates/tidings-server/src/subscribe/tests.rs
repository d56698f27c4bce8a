//! Lines that the command prints for a stream of raw bytes.

use tidings_client::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const STREAM: &str = concat!(
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
    "id: x-1\n\n",
    "event: n\ndata: 1\ndata: \"2\"\nid: x-2\n\n",
    "event: tidings.gap\n",
    "data: {\"channels\":[\"a\"],\"reason\":\"trimmed\",\"requested\":null,\"resumedAt\":\"x-3\"}\nid: x-3\n\n",
    "event: tidings.end\ndata: {\"reason\":\"max_age\",\"reconnect\":false}\n\n",
);

#[tokio::test]
async fn notifications_are_printed_as_json_plain_text_and_notes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _head = socket.read(&mut [0; 4096]).await.unwrap();
        socket.write_all(STREAM.as_bytes()).await.unwrap();
    });
    let mut subscriber = Client::builder(url).build().unwrap().subscribe(["a"]).start();
    let (mut json, mut plain, mut notes) = (String::new(), String::new(), Vec::new());
    while let Some(notification) = subscriber.next().await {
        let notification = notification.unwrap();
        json.extend(json_line(&notification));
        plain.extend(plain_line(&notification));
        notes.extend(note(&notification));
    }
    server.await.unwrap();
    let expected = r#"{"type":"position","id":"x-1"}
{"type":"event","id":"x-2","event":"n","data":"1\n\"2\""}
{"type":"gap","channels":["a"],"reason":"trimmed","requested":null,"resumedAt":"x-3"}
{"type":"end","reason":"max_age","reconnect":false}
"#;
    assert_eq!(json, expected);
    assert_eq!(plain, "1\n\"2\"\n");
    assert_eq!(
        notes,
        ["gap (trimmed): events of a were lost; the stored ones follow", "hub ended the stream: max_age"]
    );
}

#[test]
fn history_is_a_number_or_all() {
    assert_eq!(parse_history("all"), Ok(HistoryArg::All));
    assert_eq!(parse_history("10"), Ok(HistoryArg::Last(10)));
    for bad in ["", "-1", "All", "1.5"] {
        assert!(parse_history(bad).is_err(), "{bad}");
    }
}

//! Lines come out the same however the bytes are cut.

use super::Stream;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nab\ncd\n\n\r\n0a\r\nefghijkl\nm\r\n1\r\n\n\r\n";

#[test]
fn lines_are_the_same_wherever_the_bytes_are_cut() {
    for cut in 0..=ANSWER.len() {
        let (mut stream, mut lines) = (Stream::default(), Vec::new());
        for part in [&ANSWER[..cut], &ANSWER[cut..]] {
            stream.feed(part, &mut |line| lines.push(String::from_utf8(line.to_vec()).unwrap())).unwrap();
        }
        assert!(stream.is_open());
        assert_eq!(lines, ["ab", "cd", "", "efghijkl", "m"], "cut at {cut}");
    }
}

#[test]
fn refusal_is_an_error() {
    let refused = Stream::default().feed(b"HTTP/1.1 503 Busy\r\n\r\n", &mut |_| {});
    assert!(refused.unwrap_err().contains("503"));
}

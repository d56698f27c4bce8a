//! `POST /api/v1/stream`: a stream whose channels are in the body, over a shard, hyper and HTTP/2.

use crate::prelude::*;

const PATH: &str = "/api/v1/stream";
const PAGE: &str = "https://app.example.com";

impl TestHub {
    #[track_caller]
    fn open_by(&self, transport: Transport, body: &Value, headers: &[(&str, &str)]) -> SseReader {
        let mut connection = transport.connect(self);
        connection.send(self.encode_request("POST", PATH, headers, body.to_string().as_bytes()));
        SseReader::open(connection)
    }

    fn ask_stream(&self, body: &Value) -> HttpResponse {
        self.post(PATH, body.to_string())
    }
}

#[test]
fn posted_stream_has_every_channel_of_its_body() {
    let hub = TestHub::in_memory(&[]);
    for transport in TRANSPORTS {
        let mut reader = hub.open_by(transport, &json!({"channels": ["a", "b.*", "a"]}), &[]);
        assert_eq!(reader.head.header("cache-control"), Some("no-cache, no-transform"), "{transport:?}");
        assert_eq!(reader.head.header("x-accel-buffering"), Some("no"));
        assert_eq!(reader.head.header("tidings-connection").map(str::len), Some(32));
        hub.publish("c", "not for it");
        hub.publish_batch([
            json!({"channels": ["a", "b.x"], "data": "both"}),
            json!({"channels": ["b.y"], "data": "pattern"}),
        ]);
        assert_eq!(reader.data_of_next(2), ["both", "pattern"], "{transport:?}");
        assert_eq!((hub.connections("a"), hub.connections("b.*")), (1, 1), "{transport:?}");
        drop(reader);
        eventually("the stream is closed", || hub.connections("a") == 0);
    }
}

#[test]
fn body_holds_as_many_channels_as_a_stream_may_have() {
    let hub = TestHub::in_memory(&[]);
    let name = |n: usize| format!("{n}.{}", "x".repeat(196 - n.to_string().len()));
    let names: Vec<String> = (0..256).map(name).collect();
    for transport in TRANSPORTS {
        let mut reader = hub.open_by(transport, &json!({"channels": names}), &[]);
        for name in [&names[0], &names[255]] {
            hub.publish(name, name);
            assert_eq!(reader.data(), *name, "{transport:?}");
        }
    }
    let mut client = Http2::connect(&hub);
    let mut reader = client.open_posted(&json!({"channels": names}));
    for name in [&names[0], &names[255]] {
        hub.publish(name, name);
        assert_eq!(reader.data(), *name, "HTTP/2");
    }
    let too_many: Vec<String> = (0..257).map(name).collect();
    let refusal = hub.ask_stream(&json!({"channels": too_many}));
    assert_eq!(refusal.assert_problem(400, "too_many_channels").json()["limit"], "channels_per_connection");
}

#[test]
fn header_wins_over_the_id_of_the_body_and_an_id_over_history() {
    let hub = TestHub::in_memory(&[]);
    let ids = hub.publish_numbers("a", 1..4);
    for transport in TRANSPORTS {
        let by = |more: Value, headers: &[(&str, &str)]| {
            hub.open_by(transport, &merged(json!({"channels": ["a"]}), more), headers).data()
        };
        let first = ("Last-Event-ID", ids[0].as_str());
        assert_eq!(by(json!({"lastEventId": ids[1]}), &[]), "3", "{transport:?}");
        assert_eq!(by(json!({"lastEventId": ids[1]}), &[first]), "2", "{transport:?}");
        assert_eq!(by(json!({"lastEventId": ids[1]}), &[("Last-Event-ID", "")]), "3", "{transport:?}");
        assert_eq!(by(json!({"lastEventId": ids[1], "history": "all"}), &[]), "3", "{transport:?}");
        assert_eq!(by(json!({"lastEventId": "", "history": 2}), &[]), "2", "{transport:?}");
        assert_eq!(by(json!({"lastEventId": null, "history": "all"}), &[]), "1", "{transport:?}");
    }
    let mut reader = hub.open_by(Transport::Shard, &json!({"channels": ["a"], "lastEventId": "no id"}), &[]);
    assert_eq!(reader.control_event("tidings.gap").1["reason"], "malformed");
    let two = [("Last-Event-ID", ids[0].as_str()), ("Last-Event-ID", ids[1].as_str())];
    let body = json!({"channels": ["a"]}).to_string();
    hub.request("POST", PATH, &two, body.as_bytes()).assert_problem(400, "bad_header");
}

#[test]
fn positions_are_sent_only_if_the_body_asks_for_them() {
    let hub = TestHub::in_memory(&[]);
    let browser = [
        ("Accept", "text/event-stream"),
        ("Pragma", "no-cache"),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"),
    ];
    for transport in TRANSPORTS {
        let first = |position: Value| {
            let body = json!({"channels": ["a"], "position": position});
            let mut reader = hub.open_by(transport, &body, &browser);
            String::from_utf8(reader.connection.read_chunk().unwrap()).unwrap()
        };
        for none in [json!(null), json!("none")] {
            let block = first(none);
            assert!(!block.contains("id:") && !block.contains("event:"), "{transport:?}: {block:?}");
        }
        assert!(first(json!("id")).contains("\nid: "), "{transport:?}");
        assert!(first(json!("event")).contains("event: tidings.position\ndata:\nid: "), "{transport:?}");
    }
}

#[test]
fn open_event_of_a_posted_stream_names_its_channels() {
    let hub = TestHub::in_memory(&[]);
    for transport in TRANSPORTS {
        let mut reader = hub.open_by(transport, &json!({"channels": ["a", "b.*"], "hello": true}), &[]);
        let (_, open) = reader.control_event("tidings.open");
        assert_eq!(open["channels"], json!(["a", "b.*"]), "{transport:?}");
        assert_eq!(open["connectionId"], reader.head.header("tidings-connection").unwrap());
    }
}

#[test]
fn invalid_stream_bodies_are_refused_with_a_reason() {
    let hub = TestHub::in_memory(&[]);
    for (body, expected) in [
        ("", "it is no object"),
        ("[\"a\"]", "it is no object"),
        ("{\"channels\":[\"a\"]", "EOF"),
        ("{}", "no channel is asked for"),
        ("{\"channels\":null}", "no channel is asked for"),
        ("{\"channels\":[]}", "no channel is asked for"),
        ("{\"channels\":\"a\"}", "expected a sequence"),
        ("{\"channels\":[1]}", "expected a string"),
        ("{\"channels\":[\"a\"],\"channels\":[\"b\"]}", "duplicate field"),
        ("{\"channels\":[\"a\"],\"label\":true}", "unknown field `label`"),
        ("{\"channels\":[\"a\"],\"presence\":true}", "unknown field `presence`"),
        ("{\"channels\":[\"a\"],\"history\":-1}", "history \"-1\""),
        ("{\"channels\":[\"a\"],\"history\":1.5}", "history \"1.5\""),
        ("{\"channels\":[\"a\"],\"history\":\"5\"}", "history"),
        ("{\"channels\":[\"a\"],\"hello\":\"true\"}", "expected a boolean"),
        ("{\"channels\":[\"a\"],\"position\":\"both\"}", "none of `event`, `id` and `none`"),
        ("{\"channels\":[\"a\"],\"lastEventId\":7}", "expected a string"),
    ] {
        let refusal = hub.post(PATH, body);
        let json = refusal.assert_problem(400, "malformed_body").json();
        assert!(json["detail"].as_str().unwrap().contains(expected), "{body}: {json}");
    }
    let refusal = hub.post(&format!("{PATH}?history=all"), "{\"channels\":[\"a\"]}");
    refusal.assert_problem(400, "bad_query");
    let get = hub.get(PATH);
    assert_eq!(get.assert_problem(405, "method_not_allowed").head.header("allow"), Some("POST"));
    assert_eq!(hub.metric("tidings_streams_open"), 0.0);
}

#[test]
fn invalid_channel_of_several_is_named() {
    let hub = TestHub::in_memory(&[]);
    for (bad, status, code) in
        [("a..b", 400, "bad_channel"), ("$all", 403, "reserved_channel"), ("a.**.b", 400, "bad_channel")]
    {
        let by_get = hub.get(&format!("/api/v1/events?channel=good&channel={bad}&channel=$other"));
        assert_eq!(by_get.assert_problem(status, code).json()["channel"], bad);
        let by_post = hub.ask_stream(&json!({"channels": ["good", bad, "$other"]}));
        assert_eq!(by_post.assert_problem(status, code).json()["channel"], bad);
        let alone = hub.ask_stream(&json!({"channels": [bad]}));
        assert_eq!(alone.assert_problem(status, code).json().get("channel"), None);
    }
}

#[test]
fn rights_hold_for_every_channel_of_a_body() {
    let hub = protected(&format!("secret = {SECRET:?}"));
    let u = token_for("u", &["news.*"]);
    let ask = |credential: &str, channels: Value| {
        hub.post_as(credential, PATH, json!({"channels": channels}).to_string())
    };
    hub.post(PATH, json!({"channels": ["user.u"]}).to_string()).assert_problem(401, "credentials_missing");
    ask("nosuch", json!(["user.u"])).assert_problem(401, "bad_credentials");
    ask(&u, json!(["user.v"])).assert_access_denied();
    for foreign in ["user.v", "news.**", "**"] {
        let refusal = ask(&u, json!(["user.u", "news.x", foreign, "user.w"]));
        refusal.assert_access_denied();
        assert_eq!(refusal.json()["channel"], foreign);
        let by_get = format!("/api/v1/events?channel=user.u&channel={foreign}&channel=user.w");
        assert_eq!(hub.get_as(&u, &by_get).assert_problem(403, "access_denied").json()["channel"], foreign);
    }
    for transport in TRANSPORTS {
        let (name, value) = bearer(&u);
        let body = json!({"channels": ["user.u", "news.*"]});
        let mut reader = hub.open_by(transport, &body, &[(name, &value)]);
        hub.post_as(KEY, "/api/v1/events/news.x", "hello").assert_status(200);
        assert_eq!(reader.data(), "hello", "{transport:?}");
    }
}

#[test]
fn limits_of_a_user_hold_for_posted_streams() {
    let limit = [("TIDINGS_LIMITS_CONNECTIONS_PER_USER", "1")];
    let hub = protected_with(&format!("secret = {SECRET:?}"), &limit);
    let (name, value) = bearer(&token("u"));
    let body = json!({"channels": ["user.u"]});
    let _reader = hub.open_by(Transport::Shard, &body, &[(name, &value)]);
    let refusal = hub.post_as(&token("u"), PATH, body.to_string());
    assert_eq!(refusal.assert_problem(429, "user_connections_full").json()["limit"], "connections_per_user");
    assert!(refusal.head.header("retry-after").is_some());
}

#[test]
fn listed_pages_may_post_for_a_stream_and_others_may_not() {
    let hub = TestHub::in_memory(&[("TIDINGS_CORS_ORIGINS", PAGE)]);
    let preflight = [
        ("Origin", PAGE),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type,last-event-id"),
    ];
    let answer = hub.request("OPTIONS", PATH, &preflight, b"");
    assert_eq!(answer.assert_status(204).head.header("access-control-allow-origin"), Some(PAGE));
    let body = json!({"channels": ["a"]});
    for transport in TRANSPORTS {
        let reader = hub.open_by(transport, &body, &[("Origin", PAGE)]);
        assert_eq!(reader.head.header("access-control-allow-origin"), Some(PAGE), "{transport:?}");
    }
    let stranger =
        hub.request("POST", PATH, &[("Origin", "https://evil.example")], body.to_string().as_bytes());
    stranger.assert_problem(403, "forbidden_origin");
}

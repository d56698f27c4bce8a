//! Stored events as JSON pages.

use tidings_protocol::EventId;

use crate::prelude::*;

fn page(hub: &TestHub, query: &str) -> Value {
    hub.get(&format!("/api/v1/channels/a/events{query}")).assert_status(200).json()
}

fn data(page: &Value) -> Vec<&str> {
    page["events"].as_array().unwrap().iter().map(|event| event["data"].as_str().unwrap()).collect()
}

#[test]
fn event_has_the_documented_members() {
    let hub = TestHub::in_memory(&[]);
    let id = hub.publish("a", "plain");
    hub.publish_batch([json!({"channels": ["b", "a"], "event": "named", "data": {"n": 1}})]);
    let page = page(&hub, "");
    let offset = id.parse::<EventId>().unwrap().offset;
    let events = page["events"].as_array().unwrap();
    let time = events[0]["publishedAt"].as_str().unwrap();
    assert_eq!(
        events[0],
        json!({"id": id, "offset": offset, "channels": ["a"], "event": null, "data": "plain", "publishedAt": time})
    );
    assert_eq!((&events[1]["event"], &events[1]["data"]), (&json!("named"), &json!("{\"n\":1}")));
    assert_eq!(events[1]["channels"], json!(["b", "a"]), "a client of an open hub may read both channels");
    // As in 2026-01-02T03:04:05.678Z.
    let shape: String = time.chars().map(|it| if it.is_ascii_digit() { '0' } else { it }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z");
    assert_eq!((&page["next"], page.get("gap")), (&Value::Null, None));
}

#[test]
fn pages_follow_one_another_to_the_end() {
    let hub = TestHub::serve(&[]);
    let message = |n: u32| json!({"channels": [if n.is_multiple_of(3) { "other" } else { "a" }], "data": n.to_string()});
    hub.publish_batch((0..30).map(message));
    let expected: Vec<String> = (0..30).filter(|n| n % 3 != 0).map(|n| n.to_string()).collect();
    for limit in [1, 7, 19, 20, 21, 1000] {
        let mut seen = Vec::new();
        let mut query = format!("?limit={limit}");
        loop {
            let page = page(&hub, &query);
            assert!(data(&page).len() <= limit, "{page}");
            seen.extend(data(&page).into_iter().map(str::to_owned));
            let Some(next) = page["next"].as_str() else { break };
            query = format!("?limit={limit}&after={next}");
        }
        assert_eq!(seen, expected, "limit {limit}");
    }
}

#[test]
fn after_accepts_every_id_that_a_stream_accepts() {
    let directory = TempDirectory::create();
    let hub = TestHub::serve_in(&directory, &[]);
    let ids = hub.publish_numbers("a", 0..5);
    assert_eq!(data(&page(&hub, &format!("?after={}", ids[2]))), ["3", "4"]);
    assert_eq!(data(&page(&hub, &format!("?after={}", ids[4]))), Vec::<&str>::new());
    assert_eq!(data(&page(&hub, "?after=")), ["0", "1", "2", "3", "4"]);
    let mut reader = hub.subscribe("/api/v1/events/a");
    assert_eq!(data(&page(&hub, &format!("?after={}", reader.position()))), Vec::<&str>::new());
    hub.terminate();
    let hub = TestHub::serve_in(&directory, &[]);
    assert_eq!(data(&page(&hub, &format!("?after={}", ids[2]))), ["3", "4"]);
}

#[test]
fn bounds_of_a_page_are_checked() {
    let hub = TestHub::in_memory(&[]);
    for bad in ["limit=0", "limit=-1", "limit=x", "limit=1001", "limit=1.5", "limt=1", "limit=1&limit=2"] {
        hub.get(&format!("/api/v1/channels/a/events?{bad}")).assert_problem(400, "bad_query");
    }
    assert_eq!(page(&hub, "?limit=1000"), json!({"events": [], "next": null}));
}

#[test]
fn last_is_the_newest_events_up_to_until() {
    let hub = TestHub::serve(&[]);
    let name = |n: u32| if n.is_multiple_of(2) { "a" } else { "b" };
    let ids = hub.publish_batch((0..20).map(|n| json!({"channels": [name(n)], "data": n.to_string()})));
    let read = |query: &str| {
        let page = page(&hub, query);
        assert_eq!((&page["next"], page.get("gap")), (&Value::Null, None), "{query}");
        data(&page).join(" ")
    };
    assert_eq!(read("?last=3"), "14 16 18");
    assert_eq!(read("?last=1000"), "0 2 4 6 8 10 12 14 16 18");
    assert_eq!(read(&format!("?last=2&until={}", ids[10])), "8 10");
    assert_eq!(read(&format!("?last=2&until={}", ids[9])), "6 8");
    assert_eq!(read(&format!("?last=9&after={}&until={}", ids[4], ids[9])), "6 8");
    assert_eq!(read(&format!("?last=1&after={}", ids[4])), "18");
    assert_eq!(read(&format!("?until={}", ids[3])), "0 2");
    assert_eq!(read(&format!("?after={}&until={}", ids[9], ids[3])), "");
    let first = page(&hub, &format!("?limit=2&until={}", ids[6]));
    assert_eq!(data(&first), ["0", "2"]);
    let next = first["next"].as_str().unwrap();
    assert_eq!(read(&format!("?limit=2&after={next}&until={}", ids[6])), "4 6");
}

#[test]
fn history_until_the_position_of_a_stream_meets_the_stream() {
    let hub = TestHub::serve(&[]);
    hub.publish_numbers("a", 0..5);
    let mut reader = hub.subscribe("/api/v1/events/a?position=id");
    let position = reader.position();
    hub.publish_numbers("a", 5..8);
    assert_eq!(data(&page(&hub, &format!("?last=3&until={position}"))), ["2", "3", "4"]);
    assert_eq!(reader.data_of_next(3), ["5", "6", "7"]);
}

#[test]
fn until_of_another_log_gives_a_gap_and_a_malformed_one_is_refused() {
    let hub = TestHub::serve(&[]);
    let id = hub.publish("a", "x");
    for bad in [
        "until=garbage",
        "until=%20",
        "until=1-2",
        "until=x&last=1",
        "last=0",
        "last=1001",
        "last=-1",
        "last=x",
        "last=1&limit=1",
        &format!("until={id}x"),
        &format!("until={id}&until={id}x"),
    ] {
        hub.get(&format!("/api/v1/channels/a/events?{bad}")).assert_problem(400, "bad_query");
    }
    assert_eq!(data(&page(&hub, "?until=")), ["x"]);
    let page = page(&hub, "?until=0000000000000001-5-00000000");
    assert_eq!((&page["events"], &page["gap"]["reason"]), (&json!([]), &json!("epoch")));
    assert_eq!(page["gap"]["requested"], "0000000000000001-5-00000000");
}

#[test]
fn page_reports_the_gap_that_a_stream_would_report() {
    let hub = TestHub::in_memory(&[("TIDINGS_LOG_RETENTION_EVENTS", "5")]);
    let ids = hub.publish_numbers("a", 0..20);
    eventually("the channel is trimmed", || data(&page(&hub, "")).len() == 5);
    let trimmed = page(&hub, &format!("?after={}", ids[0]));
    assert_eq!(data(&trimmed), ["15", "16", "17", "18", "19"]);
    let id = &trimmed["gap"]["resumedAt"];
    let gap = json!({"channels": ["a"], "reason": "trimmed", "requested": ids[0], "resumedAt": id});
    assert_eq!(trimmed["gap"], gap);
    let resumed: EventId = id.as_str().unwrap().parse().unwrap();
    assert_eq!(resumed.offset, ids[14].parse::<EventId>().unwrap().offset);
    assert_eq!(page(&hub, &format!("?after={}", ids[16])).get("gap"), None);
    assert_eq!(page(&hub, "?after=garbage")["gap"]["reason"], "malformed");
    // Without an id the client did not ask for the removed events.
    assert_eq!(page(&hub, "").get("gap"), None);
}

#[test]
fn list_of_channels_counts_connections_by_their_subscriptions() {
    let hub = TestHub::in_memory(&[]);
    let list = || hub.get("/api/v1/channels").assert_status(200).json();
    assert_eq!(list(), json!({"channels": []}));
    hub.publish("silent", "x");
    let one = hub.subscribe("/api/v1/events/a");
    let two = hub.subscribe("/api/v1/events?channel=a&channel=a&channel=b.*&channel=**");
    let expected = json!({"channels": [
        {"channel": "**", "connections": 1}, {"channel": "a", "connections": 2}, {"channel": "b.*", "connections": 1}
    ]});
    assert_eq!(list(), expected);
    drop((one, two));
    eventually("all connections are closed", || list() == json!({"channels": []}));
}

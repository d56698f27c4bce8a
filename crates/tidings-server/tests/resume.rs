//! Resume by an id: every event once and in order, or a gap with its reason.

use tidings_protocol::sse::StreamItem;
use tidings_protocol::{Epoch, EventId, Tag};

use crate::prelude::*;

const CHANNEL: &str = "/api/v1/events/a";

/// Reads the first block and the gap after it, which must be the first block with an id.
#[track_caller]
fn gap(reader: &mut SseReader) -> Value {
    loop {
        match reader.next_item().expect("the stream ended without a gap") {
            StreamItem::Position(id) => panic!("an id came before the gap: {id}"),
            StreamItem::Event(event) => {
                assert_eq!(event.name, "tidings.gap", "{event:?}");
                let gap: Value = serde_json::from_str(&event.data).unwrap();
                assert_eq!(gap["resumedAt"], event.last_event_id, "the id of the frame is resumedAt");
                return gap;
            }
            _ => {}
        }
    }
}

/// Asserts that the stream delivers these texts next, then an event published now.
#[track_caller]
fn assert_delivers_then_live(hub: &TestHub, reader: &mut SseReader, channel: &str, expected: &[String]) {
    hub.publish(channel, "mark");
    assert_eq!(reader.data_of_next(expected.len()), expected);
    assert_eq!(reader.data(), "mark");
}

/// Asserts that the stream begins with a gap for this reason after this id.
#[track_caller]
fn assert_gap(reader: &mut SseReader, reason: &str, requested: &str) -> Value {
    let gap = gap(reader);
    assert_eq!((&gap["reason"], &gap["requested"]), (&json!(reason), &json!(requested)));
    gap
}

fn offset(id: &str) -> u64 {
    id.parse::<EventId>().unwrap().offset
}

#[test]
fn id_is_read_from_the_header_and_from_every_spelling_of_the_query() {
    let hub = TestHub::in_memory(&[]);
    let ids = hub.publish_numbers("a", 0..4);
    for header in ["Last-Event-ID", "last-event-id", "LAST-EVENT-ID"] {
        assert_eq!(hub.subscribe_with(CHANNEL, &[(header, &ids[1])]).data_of_next(2), ["2", "3"]);
    }
    for name in ["lastEventId", "last_event_id", "Last-Event-ID"] {
        assert_eq!(hub.subscribe(&format!("{CHANNEL}?{name}={}", ids[1])).data_of_next(2), ["2", "3"]);
    }
    let several = format!("/api/v1/events?channel=a&channel=b.*&lastEventId={}", ids[2]);
    assert_eq!(hub.subscribe(&several).data(), "3");
}

#[test]
fn header_wins_over_the_query_and_an_empty_value_is_none() {
    let hub = TestHub::in_memory(&[]);
    let ids = hub.publish_numbers("a", 0..4);
    let query = format!("{CHANNEL}?lastEventId={}", ids[0]);
    assert_eq!(hub.resume(&query, &ids[2]).data(), "3");
    assert_eq!(hub.resume(&query, "").data_of_next(3), ["1", "2", "3"]);
    let spellings = format!("{CHANNEL}?lastEventId=&last_event_id={}", ids[2]);
    assert_eq!(hub.subscribe(&spellings).data(), "3");
    for path in [CHANNEL.to_owned(), format!("{CHANNEL}?lastEventId=")] {
        let mut reader = hub.resume(&path, "");
        assert_eq!(offset(&reader.position()), offset(ids.last().unwrap()));
    }
}

#[test]
fn two_ids_in_headers_are_refused() {
    let hub = TestHub::in_memory(&[]);
    let id = hub.publish("a", "1");
    let headers = [("Last-Event-ID", id.as_str()), ("Last-Event-ID", id.as_str())];
    hub.request("GET", CHANNEL, &headers, b"").assert_problem(400, "bad_header");
}

#[test]
fn history_replays_the_requested_number_of_events_and_an_id_wins() {
    let hub = TestHub::in_memory(&[]);
    let ids = hub.publish_numbers("a", 0..4);
    hub.publish_numbers("b", 4..6);
    let both = "/api/v1/events?channel=a&channel=b";
    assert_eq!(hub.subscribe(&format!("{both}&history=3")).data_of_next(3), ["3", "4", "5"]);
    assert_eq!(hub.subscribe(&format!("{both}&history=all")).data_of_next(6), numbers(0..6));
    assert_eq!(hub.subscribe(&format!("{both}&history=1000")).data_of_next(6), numbers(0..6));
    assert_eq!(hub.subscribe("/api/v1/events/*?history=2").data_of_next(2), ["4", "5"]);
    let after_id = format!("{CHANNEL}?history=1&lastEventId={}", ids[0]);
    assert_eq!(hub.subscribe(&after_id).data_of_next(3), numbers(1..4));
    let mut none = hub.subscribe(&format!("{both}&history=0"));
    assert_delivers_then_live(&hub, &mut none, "a", &[]);
    for bad in ["-1", "1.5", "x", "ALL", "%2B1", "99999999999999999999"] {
        hub.get(&format!("{CHANNEL}?history={bad}")).assert_problem(400, "bad_query");
    }
}

#[test]
fn client_cut_off_before_its_first_event_misses_nothing() {
    let hub = TestHub::in_memory(&[]);
    hub.publish_numbers("a", 0..2);
    let reader = hub.open_stream(CHANNEL);
    let id = reader.last_event_id().to_owned();
    drop(reader);
    hub.publish_numbers("a", 2..4);
    let mut reader = hub.resume(CHANNEL, &id);
    assert_eq!(reader.position(), id);
    assert_delivers_then_live(&hub, &mut reader, "a", &numbers(2..4));
}

#[test]
fn resume_after_a_trim_gives_a_gap_only_for_channels_with_a_loss() {
    let hub = TestHub::serve(&[("TIDINGS_LOG_RETENTION_EVENTS", "10")]);
    let start = hub.publish("quiet", "first");
    hub.publish("quiet", "second");
    let busy = hub.publish_numbers("busy", 0..40);
    eventually("the busy channel is trimmed", || hub.stored("busy").len() == 10);

    let mut quiet = hub.resume("/api/v1/events/quiet", &start);
    assert_eq!(quiet.position(), start);
    assert_eq!(quiet.data(), "second");

    for path in ["/api/v1/events/busy", "/api/v1/events?channel=busy&channel=none"] {
        let mut reader = hub.resume(path, &start);
        let gap = gap(&mut reader);
        let id = reader.last_event_id();
        let expected =
            json!({"channels": ["busy"], "reason": "trimmed", "requested": start, "resumedAt": id});
        assert_eq!(gap, expected);
        assert_eq!(offset(id), offset(&busy[30]) - 1, "the latest cursor that misses nothing");
        assert_eq!(reader.data_of_next(10), numbers(30..40));
    }

    // A channel without a loss stays complete beside one with a loss.
    let mut both = hub.resume("/api/v1/events/*", &start);
    assert_eq!(gap(&mut both)["channels"], json!(["busy"]));
    assert_eq!(both.data(), "second");
    assert_eq!(both.data_of_next(10), numbers(30..40));
    let id = both.last_event_id().to_owned();
    drop(both);
    // A client that has read the events after the gap gets it no more.
    let mut again = hub.resume("/api/v1/events/*", &id);
    again.position();
    assert_delivers_then_live(&hub, &mut again, "busy", &[]);
}

#[test]
fn resume_after_a_clean_restart_and_after_a_kill_is_exact() {
    let directory = TempDirectory::create();
    for durability in ["interval", "fsync"] {
        let variables = [("TIDINGS_LOG_DURABILITY", durability)];
        let hub = TestHub::serve_in(&directory, &variables);
        let mut reader = hub.subscribe(CHANNEL);
        let position = reader.position();
        let ids = hub.publish_numbers("a", 0..6);
        drop(reader);
        hub.terminate();

        let hub = TestHub::serve_in(&directory, &variables);
        for (id, expected) in [(&position, 0..6), (&ids[2], 3..6), (&ids[5], 6..6)] {
            let mut reader = hub.resume(CHANNEL, id);
            reader.position();
            assert_eq!(reader.data_of_next(expected.len()), numbers(expected));
        }
        let later = hub.publish_numbers("a", 6..9);
        hub.kill();

        let hub = TestHub::serve_in(&directory, &variables);
        for (id, expected) in [(&position, 0..9), (&ids[2], 3..9), (&ids[5], 6..9), (&later[2], 9..9)] {
            let mut reader = hub.resume(CHANNEL, id);
            let first: EventId = reader.position().parse().unwrap();
            let now: EventId = hub.publish("other", "x").parse().unwrap();
            assert_eq!(first.epoch, now.epoch, "ids have the newest epoch");
            assert_eq!(reader.data_of_next(expected.len()), numbers(expected));
        }
        hub.terminate();
        std::fs::remove_dir_all(directory.path().join("data")).unwrap();
    }
}

#[test]
fn id_that_the_log_does_not_know_gives_a_gap_and_every_event_that_may_be_missing() {
    type Change = fn(&mut EventId);
    let rows: [(&str, Change, _); 3] = [
        ("epoch", |id| *id = EventId::new(Epoch(0x1234_5678_9abc_def0), 1, Tag(7)), 0..3),
        ("ahead", |id| id.offset += 100, 3..3),
        ("diverged", |id| id.tag = Tag(id.tag.0 ^ 0x10), 0..3),
    ];
    for (reason, change, expected) in rows {
        let hub = TestHub::in_memory(&[]);
        let ids = hub.publish_numbers("a", 0..3);
        let mut id: EventId = ids[1].parse().unwrap();
        change(&mut id);
        let mut reader = hub.resume("/api/v1/events?channel=a&channel=b.*", &id.to_string());
        let gap = assert_gap(&mut reader, reason, &id.to_string());
        assert_eq!(gap["channels"], json!(["a", "b.*"]), "{reason}");
        if expected.is_empty() {
            assert_eq!(offset(reader.last_event_id()), offset(&ids[2]), "{reason}");
        }
        assert_delivers_then_live(&hub, &mut reader, "a", &numbers(expected));
    }
}

#[test]
fn malformed_id_gives_a_gap_and_the_stream_begins_now_or_by_history() {
    let hub = TestHub::in_memory(&[]);
    let ids = hub.publish_numbers("a", 0..3);
    let upper = ids[1].to_uppercase();
    let long = "x".repeat(64 << 10);
    let longer = format!("{}.{}", ids[1], "1-aaaaaaaa.".repeat(5000));
    let spaced = format!("{} {}", ids[0], ids[1]);
    for bad in ["0", "null", "undefined", "é", "-", "../../etc", &upper, &spaced, &long, &longer] {
        let mut reader = hub.resume(CHANNEL, bad);
        let gap = gap(&mut reader);
        assert_eq!((&gap["reason"], &gap["requested"]), (&json!("malformed"), &json!(null)), "{bad:.50}");
        assert_eq!(gap["channels"], json!(["a"]));
        assert_eq!(offset(reader.last_event_id()), offset(&hub.publish("other", "x")) - 1);
    }
    let mut reader = hub.resume(&format!("{CHANNEL}?history=2"), "garbage");
    assert_eq!(gap(&mut reader)["reason"], "malformed");
    assert_eq!(reader.data_of_next(2), ["1", "2"]);
    let mut reader = hub.subscribe(&format!("{CHANNEL}?history=all&lastEventId=garbage"));
    assert_eq!(gap(&mut reader)["reason"], "malformed");
    assert_delivers_then_live(&hub, &mut reader, "a", &numbers(0..3));
    let mut reader = hub.subscribe(&format!("{CHANNEL}?lastEventId={}", "y".repeat(60_000)));
    assert_eq!(gap(&mut reader)["reason"], "malformed");
    assert_delivers_then_live(&hub, &mut reader, "a", &[]);
}

#[test]
fn memory_durability_gives_a_gap_after_a_restart() {
    let directory = TempDirectory::create();
    let variables = [("TIDINGS_LOG_DURABILITY", "memory")];
    let hub = TestHub::serve_in(&directory, &variables);
    let ids = hub.publish_numbers("a", 0..3);
    hub.terminate();
    let hub = TestHub::serve_in(&directory, &variables);
    let mut resumed_at = Vec::new();
    for id in [&ids[0], &ids[2]] {
        let mut reader = hub.resume(CHANNEL, id);
        assert_gap(&mut reader, "epoch", id);
        resumed_at.push(reader.last_event_id().to_owned());
    }
    hub.publish_numbers("a", 3..5);
    for id in resumed_at {
        let mut reader = hub.resume(CHANNEL, &id);
        reader.position();
        assert_eq!(reader.data_of_next(2), ["3", "4"], "the gap comes once, then the id is valid");
    }
}

#[test]
fn stream_cut_at_any_byte_resumes_without_a_hole() {
    let hub = TestHub::in_memory(&[]);
    let mut first = hub.subscribe(CHANNEL);
    let start = first.position();
    hub.publish_numbers("a", 0..4);
    first.data_of_next(4);
    // The rest of the events follows the id of any prefix of the bytes.
    let mut bytes = Vec::new();
    let mut replay = hub.resume(CHANNEL, &start);
    while !bytes.windows(8).any(|window| window == b"data: 3\n") || !bytes.ends_with(b"\n\n") {
        bytes.extend(replay.connection.read_chunk().unwrap());
    }
    for cut in (0..=bytes.len()).step_by(3) {
        let mut parser = tidings_protocol::sse::Parser::new().with_last_event_id(&start);
        let mut seen = Vec::new();
        let mut keep = |item| {
            if let StreamItem::Event(event) = item {
                seen.push(event.data);
            }
        };
        parser.feed(&bytes[..cut], &mut keep).unwrap();
        let mut rest = hub.resume(CHANNEL, parser.last_event_id());
        seen.extend(rest.data_of_next(4 - seen.len()));
        assert_eq!(seen, numbers(0..4), "cut at byte {cut}");
    }
}

#[test]
fn history_counts_delivered_events() {
    let both = "/api/v1/events?channel=a&channel=*";
    for (path, expected) in [
        (format!("{CHANNEL}?history=0"), &[][..]),
        (format!("{CHANNEL}?history=1"), &["state 4"]),
        (format!("{CHANNEL}?history=2"), &["3", "state 4"]),
        (format!("{CHANNEL}?history=9"), &["1", "2", "3", "state 4"]),
        (format!("{both}&history=3"), &["3", "state 4", "other"]),
    ] {
        let hub = TestHub::in_memory(&[]);
        hub.publish_numbers("a", 1..4);
        for n in 0..5 {
            hub.post(&format!("{CHANNEL}?key=k"), format!("state {n}")).assert_status(200);
        }
        hub.post(&format!("{CHANNEL}?ttl=1"), "brief").assert_status(200);
        hub.publish("b", "other");
        eventually("the short-lived event has expired", || !hub.stored("a").contains(&"brief".to_owned()));
        let mut reader = hub.subscribe(&path);
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        assert_delivers_then_live(&hub, &mut reader, "a", &expected);
    }
}

#[test]
fn open_event_has_no_position_before_a_gap() {
    let hub = TestHub::in_memory(&[]);
    let ids = hub.publish_numbers("a", 0..2);
    let open_of = |id: &str| {
        let mut reader = hub.resume(&format!("{CHANNEL}?hello=true"), id);
        let (_, open) = reader.control_event("tidings.open");
        (open["position"].clone(), reader.event().name)
    };
    let (position, next) = open_of(&ids[0]);
    assert_eq!((offset(position.as_str().unwrap()), &*next), (1, "message"));
    for bad in ["nonsense", "0000000000000001-1-00000000"] {
        assert_eq!(open_of(bad), (Value::Null, "tidings.gap".to_owned()));
    }
}

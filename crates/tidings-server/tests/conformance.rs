//! The wire cases of `conformance/`, sent to a hub over both transports.

use std::collections::BTreeMap;

use rustix::process::Signal;
use tidings_protocol::Subscription;
use tidings_protocol::sse::{Parser, StreamItem};

use crate::prelude::*;

fn cases(file: &str) -> Value {
    let path = format!("{}/../../conformance/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn rows(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().unwrap().iter()
}

fn text<'a>(case: &'a Value, member: &str) -> &'a str {
    case[member].as_str().unwrap_or_else(|| panic!("no {member} in {case}"))
}

/// Percent-encodes a text for a path or a query.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(byte.into());
        } else {
            escaped += &format!("%{byte:02X}");
        }
        escaped
    })
}

/// A hub whose streams send nothing by themselves during a test.
fn quiet_hub() -> TestHub {
    TestHub::in_memory(&[("TIDINGS_STREAM_KEEP_ALIVE", "1h"), ("TIDINGS_SHUTDOWN_WINDOW", "1s")])
}

type Pairs = Vec<(String, [StreamTranscript; 2])>;

/// Reads both streams of each pair through this line.
fn read_pairs_through(pairs: &mut Pairs, line: &str) {
    pairs.iter_mut().for_each(|(_, pair)| read_through(pair, line));
}

fn read_through(pair: &mut [StreamTranscript; 2], line: &str) {
    pair.iter_mut().for_each(|transcript| transcript.read_through(&format!("{line}\n")));
}

/// Terminates the hub, and asserts that both streams of each pair have the same bytes from first to last.
fn end_and_compare(hub: TestHub, pairs: &mut Pairs) -> BTreeMap<String, String> {
    hub.signal(Signal::TERM);
    let mut bodies = BTreeMap::new();
    for (what, pair) in pairs {
        let body = assert_same_body(what, pair);
        assert!(body.contains("event: tidings.end\n"), "{what}: {body}");
        bodies.insert(what.clone(), body);
    }
    let log = hub.assert_exit(0);
    assert!(!log.contains("panicked"), "{log}");
    bodies
}

/// Asserts that both transports refuse with the same response.
#[track_caller]
fn both_refused(what: &str, status: u16, code: &str, pair: &mut [StreamTranscript; 2]) {
    let body: Value = serde_json::from_str(&assert_same_body(what, pair)).unwrap();
    assert_eq!((&body["status"], &body["code"]), (&json!(status), &json!(code)), "{what}");
}

/// Targets of a stream request for a channel or pattern.
fn targets(name: &str) -> [String; 2] {
    let name = escaped(name);
    [format!("/api/v1/events/{name}?history=all"), format!("/api/v1/events?channel={name}&hello=true")]
}

#[test]
fn names_and_patterns_are_accepted_or_refused_alike_by_both_transports() {
    let hub = quiet_hub();
    let channels = cases("channels.json");
    let (mut pairs, mut subscriptions) = (Pairs::new(), Vec::new());
    let mut published = Vec::new();
    for list in ["good_names", "good_patterns"] {
        for name in rows(&channels[list]).map(|name| name.as_str().unwrap()) {
            let concrete = name.replace("**", "x").replace('*', "x");
            hub.publish(&concrete, format!("before {name}"));
            published.push(concrete);
            for target in targets(name) {
                let pair = request_both(&hub, &target, &[]);
                assert!(pair[0].is_stream(), "{target}: {}", pair[0].head);
                pairs.push((target, pair));
                subscriptions.push(name);
            }
        }
    }
    for case in rows(&channels["matches"]) {
        let names = rows(&case["matches"]).chain(rows(&case["other"])).map(|name| name.as_str().unwrap());
        published.extend(names.filter(|name| !name.starts_with('$')).map(str::to_owned));
        let target = format!("/api/v1/events/{}", escaped(text(case, "pattern")));
        let pair = request_both(&hub, &target, &[]);
        pairs.push((target, pair));
        subscriptions.push(text(case, "pattern"));
    }
    for case in rows(&channels["bad_names"]).chain(rows(&channels["bad_patterns"])) {
        let name = text(case, "text");
        let is_pattern = channels["good_patterns"].as_array().unwrap().contains(&json!(name));
        let is_reserved = case["reserved"] == true;
        for target in targets(name).iter().filter(|_| !is_pattern && !name.is_empty()) {
            let mut pair = request_both(&hub, target, &[]);
            let expected = if is_reserved { "HTTP/1.1 403 " } else { "HTTP/1.1 400 " };
            // A name that cannot stand in a path leads to a route that does not exist.
            let is_elsewhere = name.contains('/') && pair[0].head.starts_with("HTTP/1.1 404 ");
            assert!(is_elsewhere || pair[0].head.starts_with(expected), "{target}: {}", pair[0].head);
            assert_same_body(target, &mut pair);
        }
    }
    let named = |name: &String| json!({"channels": [name], "data": format!("to {name}")});
    hub.publish_batch(published.iter().map(named));
    for ((_, pair), subscription) in pairs.iter_mut().zip(subscriptions) {
        let subscription = Subscription::parse(subscription).unwrap();
        let last = published.iter().rfind(|name| subscription.matches(name)).unwrap();
        read_through(pair, &format!("data: to {last}"));
    }
    let bodies = end_and_compare(hub, &mut pairs);
    for case in rows(&channels["matches"]) {
        let body = &bodies[&format!("/api/v1/events/{}", escaped(text(case, "pattern")))];
        let has = |name: &Value| body.contains(&format!("data: to {}\n", name.as_str().unwrap()));
        assert!(rows(&case["matches"]).all(has), "{case}: {body}");
        assert!(!rows(&case["other"]).any(has), "{case}: {body}");
    }
}

#[test]
fn ids_resume_or_get_a_gap_alike_on_both_transports() {
    let hub = quiet_hub();
    let mut own = (0..20).map(|n| hub.publish("a", format!("stored {n}"))).collect::<Vec<_>>();
    own.push(hub.publish("b", "of another channel"));
    let cases = cases("ids.json");
    let ids = rows(&cases["good"]).chain(rows(&cases["bad"])).map(|case| text(case, "text"));
    let ids: Vec<&str> = ids.chain(own.iter().map(String::as_str)).collect();
    let mut pairs = Pairs::new();
    for id in &ids {
        for member in ["lastEventId", "last_event_id", "Last-Event-ID"] {
            let target = format!("/api/v1/events/a?history=2&{member}={}", escaped(id));
            let pair = request_both(&hub, &target, &[]);
            pairs.push((target, pair));
        }
        // A value that no header can hold is refused as a malformed head.
        if id.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)) {
            let pair = request_both(&hub, "/api/v1/events/a?hello=true", &[("Last-Event-ID", id)]);
            pairs.push((format!("header {id:?}"), pair));
        }
    }
    hub.publish("a", "live");
    read_pairs_through(&mut pairs, "data: live");
    let bodies = end_and_compare(hub, &mut pairs);
    for case in rows(&cases["bad"]).filter(|case| !text(case, "text").is_empty()) {
        let target = format!("/api/v1/events/a?history=2&lastEventId={}", escaped(text(case, "text")));
        let body = &bodies[&target];
        assert!(body.contains("\"reason\":\"malformed\""), "{case}: {body}");
    }
    for (n, id) in own.iter().take(20).enumerate() {
        let body = &bodies[&format!("header {id:?}")];
        assert!(!body.contains("tidings.gap"), "{body}");
        assert_eq!(body.matches("data: stored ").count(), 19 - n, "{body}");
    }
}

fn publish_body(hub: &TestHub, case: &Value) -> HttpResponse {
    let body = match case["hex"].as_str() {
        Some(hex) => {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        }
        None => text(case, "body").as_bytes().to_vec(),
    };
    let content_type = case["contentType"].as_str().map(|text| ("Content-Type", text));
    hub.request("POST", "/api/v1/publish", content_type.as_slice(), &body)
}

#[test]
fn published_bodies_are_delivered_alike_by_both_transports() {
    let hub = quiet_hub();
    let first = hub.publish("a", "first");
    let mut pairs: Pairs =
        ["/api/v1/events/**", "/api/v1/events/a", "/api/v1/events?channel=a&channel=b:c&hello=true"]
            .map(|path| (path.to_owned(), request_both(&hub, path, &[])))
            .into();
    // These streams are not behind, so they also get transient events.
    hub.publish("a", "begin");
    read_pairs_through(&mut pairs, "data: begin");
    let cases = cases("publish-bodies.json");
    let mut expected = 0;
    for case in rows(&cases) {
        let answer = publish_body(&hub, case);
        match case["code"].as_str() {
            Some(code) => assert_eq!(answer.json()["code"], code, "{case}"),
            None => {
                answer.assert_status(200);
                expected += case["messages"].as_array().unwrap().len();
            }
        }
    }
    hub.publish("a", "end");
    read_pairs_through(&mut pairs, "data: end");
    // Events of the log, by history and by id. The bodies with a `ttl` of 5 s may expire between the two of a pair.
    let is_brief = |body: &str| body.contains("event: created\n");
    for (path, headers) in [
        ("/api/v1/events/**?history=all", &[] as &[(&str, &str)]),
        ("/api/v1/events/a?history=10", &[]),
        ("/api/v1/events/a", &[("Last-Event-ID", &*first)]),
    ] {
        let mut pair = request_both(&hub, path, headers);
        read_through(&mut pair, "data: end");
        let transcript = pair.each_ref().map(|transcript| {
            let body = transcript.body();
            body.split("\n\n").filter(|block| !is_brief(block)).collect::<Vec<_>>().join("\n\n")
        });
        assert_eq!(transcript[0], transcript[1], "{path}");
    }
    let bodies = end_and_compare(hub, &mut pairs);
    let all = &bodies["/api/v1/events/**"];
    // The others are `begin`, `end` and `tidings.end`.
    assert_eq!(count_events(all), expected + 3, "{all}");
}

#[test]
fn events_of_the_encoder_and_parser_cases_keep_their_bytes_on_both_transports() {
    let hub = quiet_hub();
    let mut pairs: Pairs = ["/api/v1/events/a", "/api/v1/events/a?position=event"]
        .map(|path| (path.to_owned(), request_both(&hub, path, &[])))
        .into();
    hub.publish("a", "begin");
    read_pairs_through(&mut pairs, "data: begin");
    let (mut expected, mut expected_events) = (String::new(), Vec::new());
    let mut publish = |event: Option<&str>, data: &str, is_stored: bool| -> Option<String> {
        let event = event.filter(|event| *event != "message");
        if event.is_some_and(|event| event.starts_with("tidings.") || event.len() > 100) {
            return None;
        }
        let message = json!({"channels": ["a"], "event": event, "data": data, "store": is_stored});
        let answer = hub.post("/api/v1/publish", message.to_string());
        expected_events.push((event.unwrap_or("message").to_owned(), data.to_owned()));
        Some(answer.assert_status(200).json()["id"].as_str().unwrap_or_default().to_owned())
    };
    for case in rows(&cases("sse-encoder.json")) {
        let id = case["id"].as_str();
        if let Some(own) = publish(case["event"].as_str(), text(case, "data"), id.is_some()) {
            expected +=
                &id.map_or(text(case, "bytes").to_owned(), |id| text(case, "bytes").replace(id, &own));
        }
    }
    let encoded = count_events(&expected);
    for case in rows(&cases("sse-parser.json")) {
        for event in rows(&case["events"]) {
            publish(event[0].as_str(), event[1].as_str().unwrap(), true);
        }
    }
    assert!(encoded > 10 && expected_events.len() > encoded + 30, "the cases were read");
    hub.publish("a", "end");
    read_pairs_through(&mut pairs, "data: end");
    // The same events from the log.
    let mut replayed = request_both(&hub, "/api/v1/events/a?history=all", &[]);
    read_through(&mut replayed, "data: end");
    assert_eq!(replayed[0].body(), replayed[1].body());
    let bodies = end_and_compare(hub, &mut pairs);
    for body in bodies.values() {
        assert!(body.contains(&expected), "{body}");
        let mut received = Vec::new();
        let mut take = |item| match item {
            StreamItem::Event(event) if !event.name.starts_with("tidings.") => {
                received.push((event.name, event.data));
            }
            _ => {}
        };
        Parser::new().feed(body.as_bytes(), &mut take).unwrap();
        let split =
            |(name, data): &(String, String)| (name.clone(), data.replace("\r\n", "\n").replace('\r', "\n"));
        let expected: Vec<_> = expected_events.iter().map(split).collect();
        assert_eq!(received[1..received.len() - 1], expected);
    }
}

fn count_events(text: &str) -> usize {
    text.split("\n\n").filter(|block| block.contains("data:")).count()
}

#[test]
fn stream_requests_get_the_responses_of_their_cases_on_both_transports() {
    let hub = quiet_hub();
    let stored: Vec<String> = ["one", "two", "three"].map(|data| hub.publish("stored", data)).into();
    let (epoch, _) = stored[0].split_once('-').unwrap();
    let ids = [&format!("{epoch}-0-00000000"), &stored[0], &stored[1], &stored[2]];
    let filled = |text: &str| {
        (0..).zip(ids).fold(text.to_owned(), |text, (n, id)| text.replace(&format!("ID{n}"), id))
    };
    let mut pairs = Pairs::new();
    let cases = cases("streams.json");
    for case in rows(&cases) {
        let name = text(case, "name").to_owned();
        let headers = rows(&case["headers"])
            .map(|header| (header[0].as_str().unwrap(), filled(header[1].as_str().unwrap())))
            .collect::<Vec<_>>();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut pair = request_both(&hub, &filled(text(case, "path")), &headers);
        if let Some(code) = case["code"].as_str() {
            both_refused(&name, u16::try_from(case["status"].as_u64().unwrap()).unwrap(), code, &mut pair);
        } else {
            assert!(pair[0].is_stream(), "{name}: {}", pair[0].head);
            pairs.push((name, pair));
        }
    }
    let case_of = |name: &str| rows(&cases).find(|case| case["name"] == name).unwrap();
    for (name, pair) in &mut pairs {
        let body = filled(text(case_of(name), "body"));
        let end = if body.ends_with("\n\n") { "\n\n" } else { "\n" };
        // The values of the open event differ between streams; its text is complete once its end has come.
        let last = body.trim_end().lines().last().filter(|line| !line.contains("NODE")).unwrap_or_default();
        let last = format!("{last}{end}");
        pair.iter_mut().for_each(|transcript| transcript.read_through(&last));
    }
    let bodies = end_and_compare(hub, &mut pairs);
    for case in rows(&cases).filter(|case| case["code"].is_null()) {
        let name = text(case, "name");
        let expected = filled(text(case, "body"));
        let body = &bodies[name];
        // Every stream of this hub ends alike.
        let end = "retry: N\nevent: tidings.end\n";
        let delivered = body.find(end).map_or(body.as_str(), |at| &body[..at]);
        assert_eq!(delivered, expected, "{name}");
    }
}

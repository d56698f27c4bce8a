use super::*;

fn refusal(body: &[u8]) -> BodyError {
    parse_publish(Some("application/json"), body).unwrap_err()
}

#[test]
fn nesting_of_any_depth_is_refused_without_recursion() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for closes in [0, 100_000] {
            let nested = format!("{}1{}", open.repeat(100_000), close.repeat(closes));
            for member in ["data", "where", "channels", "unknown"] {
                let body = format!("{{\"channels\":[\"a\"],\"{member}\":{nested}}}");
                let error = refusal(body.as_bytes());
                assert_eq!((error.code, error.index), (Code::MalformedBody, None));
                assert_eq!(error.detail, "message is nested deeper than 128; send deeper data as a string");
            }
            assert_eq!(refusal(nested.as_bytes()).code, Code::MalformedBody);
        }
    }
}

#[test]
fn a_batch_holds_ten_thousand_messages() {
    let line = "{\"channels\":[\"a\"],\"data\":1}\n";
    let parse = |count: usize| parse_publish(Some("application/x-ndjson"), line.repeat(count).as_bytes());
    assert!(
        matches!(parse(BATCH_MESSAGES_MAX), Ok(PublishBody::Batch(messages)) if messages.len() == 10_000)
    );
    let error = parse(BATCH_MESSAGES_MAX + 1).unwrap_err();
    assert_eq!((error.code, error.index), (Code::BatchTooLarge, Some(10_000)));
    assert_eq!(error.detail, "batch has more than 10000 messages; send the rest in another");
}

#[test]
fn many_repeats_of_one_channel_are_one_channel() {
    let body = format!("{{\"channels\":[{}\"a\"],\"data\":1}}", "\"a\",".repeat(100_000));
    let PublishBody::One(message) = parse_publish(None, body.as_bytes()).unwrap() else {
        panic!("not one message")
    };
    assert_eq!(message.channels.len(), 1);
}

#[track_caller]
fn check_detail(body: &str, detail: &str) {
    assert_eq!(refusal(body.as_bytes()).detail, detail);
}

#[test]
fn refusals_name_the_value_and_the_way_out() {
    check_detail(
        r#"{"channel":["a"],"data":1}"#,
        "message has no member \"channel\"; did you mean \"channels\"?",
    );
    check_detail(r#"{"channels":"a","data":1}"#, "\"channels\" is a string; it must be a list of strings");
    check_detail(r#"{"channels":[1],"data":1}"#, "\"channels\" has a number in it; each is a string");
    check_detail(
        r#"{"channels":["a"],"data":1,"event":"\ud800"}"#,
        "\"event\" is text with a lone surrogate; it must be a string",
    );
    check_detail("[]", "batch has no messages; send at least one");
    check_detail("[5]", "message is a number; it must be an object");
    check_detail(
        r#"{"channels":["a"],"data":1,"ttl":0}"#,
        "ttl \"0\" is not a whole number of milliseconds from 1 to 315360000000",
    );
    check_detail(r#"{"users":["u"],"data":1}"#, "\"users\" is not available yet; name \"channels\"");
}

#[test]
fn a_fault_of_a_batch_shows_its_place() {
    let error = refusal(b"[{\"channels\":[\"a\"],\"data\":1},5]");
    assert_eq!(error.to_string(), "message is a number; it must be an object (message 1)");
}

//! Length of publisher names. The log stores the name of a publisher beside its idempotency keys.

use crate::prelude::*;

const CHANNEL: &str = "/api/v1/events/a";

/// A hub that stores its log on disk, with these lines in `[auth]`.
fn stored(directory: &TempDirectory, durability: &str, lines: &str) -> TestHub {
    directory.write("tidings.toml", &format!("[auth]\nsecret = {SECRET:?}\n{lines}\n{}", key_lines()));
    TestHub::serve_in(directory, &[("TIDINGS_LOG_DURABILITY", durability)])
}

/// A token of a user with this name and the right to publish everything.
fn publisher(name: &Value) -> String {
    hs256(&merged(claims("u"), json!({"sub": name, "tidings": {"publish": ["**"]}})))
}

fn publish_keyed(hub: &TestHub, credential: &str, key: &str) -> HttpResponse {
    hub.request_as("POST", CHANNEL, credential, &[("Idempotency-Key", key)], b"x")
}

#[test]
fn long_user_name_is_refused_and_blocks_no_publish() {
    // With `fsync` the writer thread appends, otherwise the thread that serves the publisher.
    for durability in ["fsync", "interval"] {
        let directory = TempDirectory::create();
        let hub = stored(&directory, durability, "");
        for length in 249..=257 {
            let answer = publish_keyed(&hub, &publisher(&json!("x".repeat(length))), "k");
            if length <= 250 {
                answer.assert_status(200);
            } else {
                answer.assert_problem(401, "bad_credentials");
            }
            publish_keyed(&hub, KEY, &format!("{length}")).assert_status(200);
        }
        hub.get("/readyz").assert_status(200);
        hub.terminate();
        // The log restores the longest name: its repeat has the first result.
        let hub = stored(&directory, durability, "");
        publish_keyed(&hub, &publisher(&json!("x".repeat(250))), "k").assert_status(200);
        assert_eq!(hub.get_as(KEY, "/api/v1/channels/a/events").event_data().len(), 11);
    }
}

#[test]
fn user_name_is_a_string_or_an_integer() {
    let directory = TempDirectory::create();
    let hub = stored(&directory, "interval", "");
    let names = [json!(0), json!(42), json!(-7), json!(u64::MAX), json!(i64::MIN), json!("42")];
    for (number, name) in names.into_iter().enumerate() {
        publish_keyed(&hub, &publisher(&name), &format!("{number}")).assert_status(200);
    }
    for name in [
        json!(1.5),
        json!(1e300),
        json!(""),
        json!("a\0b"),
        json!(true),
        json!(["u"]),
        json!({}),
        Value::Null,
    ] {
        publish_keyed(&hub, &publisher(&name), "k").assert_problem(401, "bad_credentials");
    }
    publish_keyed(&hub, KEY, "k").assert_status(200);
}

#[test]
fn api_key_may_have_a_name_of_250_bytes() {
    const OTHER: &str = "tk_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
    let directory = TempDirectory::create();
    let name = "n".repeat(250);
    let hub = stored(&directory, "fsync", &lines_of_key(&name, OTHER));
    publish_keyed(&hub, OTHER, &"k".repeat(200)).assert_status(200);
    publish_keyed(&hub, KEY, "k").assert_status(200);
    hub.terminate();

    directory.write("tidings.toml", &format!("[auth]\n{}", lines_of_key(&format!("{name}n"), OTHER)));
    let outcome = directory.run(&["check"], &[]);
    outcome.assert(2, &["is 251 bytes; at most 250"]);
    directory.run(&["key", "--name", &name, "--publish", "a"], &[]).assert(0, &[]);
}

use tidings_protocol::Pattern;

use super::*;

fn glob(glob: &str) -> PubsubTarget {
    PubsubTarget::Glob(glob.into())
}

fn subscriptions(capture: &[&str]) -> CaptureSubscriptions {
    let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    let (listen, capture) = (patterns(&["a.**", "b.*.c"]), patterns(capture));
    CaptureSubscriptions::new(&RedisSettings { listen, capture, ..RedisSettings::new("redis://h") })
}

#[test]
fn every_pattern_of_capture_is_needed_or_that_of_listen_which_takes_it_in() {
    let mut capture = subscriptions(&["a.x.*", "a.y", "b.**"]);
    assert_eq!(capture.missing(), Some(&PubsubTarget::Name("a.y".into())));
    capture.subscribed(&PubsubTarget::Name("a.y".into()));
    assert_eq!(capture.missing(), Some(&glob("a.x.*")));
    capture.subscribed(&glob("a.*"));
    assert_eq!(capture.missing(), Some(&glob("b.*.c")));
    capture.subscribed(&glob("b.*.c"));
    assert_eq!(capture.missing(), None);
    capture.disconnected();
    assert!(capture.missing().is_some());
}

#[test]
fn what_was_refused_is_named_while_something_is_missing() {
    let mut capture = subscriptions(&["a.x.*"]);
    for target in [glob("a.x.*"), glob("a.*"), glob("other.*")] {
        capture.refuse(&target);
    }
    assert_eq!(capture.refused(), [glob("a.*"), glob("a.x.*")]);
    capture.subscribed(&glob("a.*"));
    assert_eq!(capture.refused(), []);
}

#[test]
fn nothing_is_missing_where_nothing_is_captured() {
    assert_eq!(subscriptions(&[]).missing(), None);
}

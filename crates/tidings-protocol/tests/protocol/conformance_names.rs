//! `ids.json` and `channels.json`.

use serde::Deserialize;
use tidings_protocol::{ChannelName, ChannelNameError, EventId, Pattern, Subscription};

use crate::cases::load;

#[derive(Deserialize)]
struct Ids {
    good: Vec<GoodId>,
    bad: Vec<BadText>,
}

#[derive(Deserialize)]
struct GoodId {
    text: String,
    epoch: String,
    offset: String,
    tag: String,
    skips: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct BadText {
    text: String,
    why: String,
    reserved: Option<bool>,
}

#[test]
fn good_ids_are_read_and_written_back_in_their_spelling() {
    let ids: Ids = load("ids.json");
    assert!(!ids.good.is_empty());
    for good in ids.good {
        let id: EventId = good.text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(id.epoch.to_string(), good.epoch);
        assert_eq!(id.offset.to_string(), good.offset);
        assert_eq!(id.tag.to_string(), good.tag);
        let skips: Vec<_> =
            id.skips.iter().map(|skip| (skip.offset.to_string(), skip.tag.to_string())).collect();
        assert_eq!(skips, good.skips);
        assert_eq!(id.to_string(), good.text);
        let mut out = b"id: ".to_vec();
        id.write(&mut out);
        assert_eq!(out, format!("id: {}", good.text).into_bytes());
    }
}

#[test]
fn bad_ids_are_refused() {
    let ids: Ids = load("ids.json");
    assert!(!ids.bad.is_empty());
    for bad in ids.bad {
        let error = bad.text.parse::<EventId>().err().unwrap_or_else(|| panic!("taken: {}", bad.why));
        assert!(error.to_string().len() < 400, "{}", bad.why);
    }
}

#[derive(Deserialize)]
struct Channels {
    good_names: Vec<String>,
    bad_names: Vec<BadText>,
    good_patterns: Vec<String>,
    bad_patterns: Vec<BadText>,
    matches: Vec<MatchCase>,
    covers: Vec<CoverCase>,
}

#[derive(Deserialize)]
struct MatchCase {
    pattern: String,
    matches: Vec<String>,
    other: Vec<String>,
}

#[derive(Deserialize)]
struct CoverCase {
    wide: String,
    narrow: String,
    covers: bool,
}

#[test]
fn good_names_and_patterns_are_read_as_they_are() {
    let channels: Channels = load("channels.json");
    for text in &channels.good_names {
        assert_eq!(ChannelName::parse(text).unwrap().as_str(), text);
        assert!(matches!(Subscription::parse(text), Ok(Subscription::Channel(_))));
        assert!(Pattern::parse(text).unwrap().matches(text));
    }
    for text in &channels.good_patterns {
        assert_eq!(Pattern::parse(text).unwrap().as_str(), text);
        let subscription = Subscription::parse(text).unwrap();
        assert_eq!(matches!(subscription, Subscription::Pattern(_)), text.contains('*'));
        assert_eq!(subscription.as_str(), text);
    }
}

#[test]
fn bad_names_and_patterns_are_refused_with_a_short_reason() {
    fn check<T>(result: Result<T, ChannelNameError>, bad: &BadText) {
        let error = result.err().unwrap_or_else(|| panic!("taken: {}", bad.why));
        assert_eq!(Some(error.is_reserved()), bad.reserved, "{}", bad.why);
        let message = error.to_string();
        assert!(message.len() < 400 && !message.contains(char::is_control), "{message}");
    }
    let channels: Channels = load("channels.json");
    for bad in &channels.bad_names {
        check(ChannelName::parse(&bad.text), bad);
    }
    for bad in &channels.bad_patterns {
        check(Pattern::parse(&bad.text), bad);
        check(Subscription::parse(&bad.text), bad);
    }
}

#[test]
fn patterns_match_their_names_and_no_others() {
    let channels: Channels = load("channels.json");
    for case in &channels.matches {
        let pattern = Pattern::parse(&case.pattern).unwrap();
        for name in &case.matches {
            assert!(pattern.matches(name), "{pattern} and {name}");
            assert!(name.starts_with(pattern.literal_prefix()), "{pattern} and {name}");
        }
        for name in &case.other {
            assert!(!pattern.matches(name), "{pattern} and {name}");
        }
    }
}

#[test]
fn covering_is_as_the_cases_say() {
    let channels: Channels = load("channels.json");
    for case in &channels.covers {
        let (wide, narrow) =
            (Subscription::parse(&case.wide).unwrap(), Subscription::parse(&case.narrow).unwrap());
        assert_eq!(wide.covers(&narrow), case.covers, "{wide} over {narrow}");
    }
}

//! Reads any texts as a name and two patterns, and lets them meet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_protocol::{ChannelName, Pattern, Subscription};

fuzz_target!(|input: (&str, &str, &str)| {
    let (name, wide, narrow) = input;
    for text in [name, wide, narrow] {
        let is_pattern = Pattern::parse(text).is_ok();
        assert_eq!(Subscription::parse(text).is_ok(), is_pattern);
        assert_eq!(ChannelName::parse(text).is_ok(), is_pattern && !text.contains('*'));
        assert!(!is_pattern || (!text.starts_with('$') && (1..=200).contains(&text.len())));
    }
    let (Ok(wide), Ok(narrow)) = (Subscription::parse(wide), Subscription::parse(narrow)) else { return };
    assert!(wide.covers(&wide));
    if let Subscription::Channel(channel) = &narrow {
        assert_eq!(wide.covers(&narrow), wide.matches(channel.as_str()));
    }
    if ChannelName::parse(name).is_ok() && wide.covers(&narrow) && narrow.matches(name) {
        assert!(wide.matches(name), "{wide} over {narrow} at {name}");
    }
    assert!(!wide.matches(&format!("${name}")));
});

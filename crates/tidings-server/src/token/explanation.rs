//! Explains a token: its user, its rights, its end, and a command to try.

use std::time::Duration;

use tidings::config::Settings;
use tidings::config::bounds::duration_text;
use tidings_protocol::{Pattern, user_segment};

use crate::url::{channel_url, page_url};

/// Contents of a token.
pub(super) struct Explanation<'a> {
    pub(super) user: &'a str,
    /// Patterns of `auth.user.subscribe`.
    pub(super) user_patterns: &'a [String],
    pub(super) subscribe: &'a [String],
    pub(super) publish: &'a [String],
    pub(super) life: Duration,
    /// End of the token, in seconds since 1970.
    pub(super) expires_at: u64,
}

impl Explanation<'_> {
    /// Returns the explanation, one fact per line.
    pub(super) fn text(&self, settings: &Settings) -> String {
        let segment = user_segment(self.user);
        let filled = self.user_patterns.iter().map(|pattern| pattern.replace("{sub}", &segment));
        // A long name can make a pattern longer than any channel; it matches nothing.
        let (own, void): (Vec<String>, Vec<String>) =
            filled.partition(|pattern| Pattern::parse(pattern).is_ok());
        let subscribe: Vec<&str> = own.iter().chain(self.subscribe).map(String::as_str).collect();
        let publish: Vec<&str> = self.publish.iter().map(String::as_str).collect();
        let listed = |patterns: &[&str]| match patterns {
            [] => "nothing".to_owned(),
            _ => patterns.join(", "),
        };
        let end = i64::try_from(self.expires_at).ok();
        let end = end.and_then(|second| jiff::Timestamp::from_second(second).ok());
        let end = end.map_or_else(|| self.expires_at.to_string(), |time| time.to_string());
        let mut text = format!(
            "user       {} (as a segment of a channel: {segment})\nsubscribe  {}\npublish    {}\nexpires    in {}, at {end}\n",
            printable(self.user),
            listed(&subscribe),
            listed(&publish),
            duration_text(self.life),
        );
        for pattern in void {
            text.push_str(&format!("note       {pattern} is too long for a channel and allows nothing\n"));
        }
        let (options, channel) = match (subscribe.last(), publish.first()) {
            (Some(channel), _) => ("-N", channel),
            (None, Some(channel)) => ("-d hello", channel),
            (None, None) => return text,
        };
        if let Some(address) = settings.listen.first() {
            let url = channel_url(&page_url(*address, settings.server.tls.is_some()), channel);
            text.push_str(&format!("try        curl {options} -H \"Authorization: Bearer $TOKEN\" {url}\n"));
        }
        text
    }
}

/// Returns a name as it stands, unless it has control characters.
fn printable(name: &str) -> String {
    if name.chars().any(char::is_control) { format!("{name:?}") } else { name.to_owned() }
}

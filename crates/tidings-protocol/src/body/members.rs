//! The members of one message, each as its JSON text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::words::words;

words! {
    /// A member that a message may have.
    pub(super) enum Member {
        Channels = "channels",
        Users = "users",
        Sessions = "sessions",
        All = "all",
        Where = "where",
        Event = "event",
        Data = "data",
        Priority = "priority",
        Key = "key",
        Ttl = "ttl",
        Store = "store",
        IdempotencyKey = "idempotencyKey",
    }
}

/// A message whose text is valid JSON.
#[derive(Default)]
pub(super) struct Members<'a> {
    values: [Option<&'a str>; Member::ALL.len()],
    /// The first member that no message has.
    pub(super) unknown: Option<Cow<'a, str>>,
    /// The first repeated member.
    pub(super) repeated: Option<&'static str>,
}

impl<'a> Members<'a> {
    /// Returns the member's JSON, `null` included.
    pub(super) fn text(&self, member: Member) -> Option<&'a str> {
        self.values[member as usize]
    }

    /// Returns the member's JSON; `null` counts as absent.
    pub(super) fn value(&self, member: Member) -> Option<&'a str> {
        self.text(member).filter(|json| *json != "null")
    }
}

#[derive(serde::Deserialize)]
struct MemberName<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::default();
        while let Some(MemberName(name)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            match Member::WORDS.iter().position(|known| *known == name) {
                Some(known) if members.values[known].is_some() => {
                    members.repeated.get_or_insert(Member::WORDS[known]);
                }
                Some(known) => members.values[known] = Some(value.get()),
                None => {
                    members.unknown.get_or_insert(name);
                }
            }
        }
        Ok(members)
    }
}

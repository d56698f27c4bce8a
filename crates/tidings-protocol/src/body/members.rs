//! The members of one message, each still as its JSON text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A member that a message may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Channels,
    Users,
    Sessions,
    All,
    Where,
    Event,
    Data,
    Priority,
    Key,
    Ttl,
    Store,
    IdempotencyKey,
}

/// The members' names, in the order of [`Member`].
pub(super) const NAMES: [&str; 12] = [
    "channels",
    "users",
    "sessions",
    "all",
    "where",
    "event",
    "data",
    "priority",
    "key",
    "ttl",
    "store",
    "idempotencyKey",
];

impl Member {
    pub(super) fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// A message whose text is valid JSON.
#[derive(Default)]
pub(super) struct Members<'a> {
    values: [Option<&'a str>; NAMES.len()],
    /// The first member that no message has.
    pub(super) unknown: Option<Cow<'a, str>>,
    /// The first member that stands twice.
    pub(super) repeated: Option<&'static str>,
}

impl<'a> Members<'a> {
    /// Returns the member's JSON, `null` included.
    pub(super) fn text(&self, member: Member) -> Option<&'a str> {
        self.values[member as usize]
    }

    /// Returns the member's JSON; null is as good as left out.
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
            match NAMES.iter().position(|known| *known == name) {
                Some(known) if members.values[known].is_some() => {
                    members.repeated.get_or_insert(NAMES[known]);
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

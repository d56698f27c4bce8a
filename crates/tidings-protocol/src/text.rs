//! Traits of types that are a text within a grammar, and of their errors.

/// Implements [`FromStr`](std::str::FromStr) and [`TryFrom`] for a type with `parse(&str)`.
macro_rules! parse_traits {
    ($name:ident, $error:ident) => {
        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $error;

            fn try_from(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }
    };
}

/// Implements these and more for a type with `parse(&str)` and `as_str()`: serde parses it, too, `Display` and serde write its
/// text, and it compares with `str`.
macro_rules! text_traits {
    ($name:ident, $error:ident) => {
        $crate::text::parse_traits!($name, $error);

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                Self::parse(&text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, text: &str) -> bool {
                self.as_str() == text
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, text: &&str) -> bool {
                self.as_str() == *text
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Defines an error that is a message for people.
macro_rules! message_error {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::error::Error for $name {}
    };
}

pub(crate) use {message_error, parse_traits, text_traits};

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Display};
    use std::str::FromStr;

    use serde::{Serialize, de::DeserializeOwned};

    use crate::{ChannelName, EventId, EventName, Pattern, Priority, Subscription};

    /// Checks that every way parses a text to the same value and writes the same text, and refuses a bad text.
    fn check<T>(text: &str, bad: &str)
    where
        T: FromStr<Err: Debug> + for<'a> TryFrom<&'a str> + Serialize + DeserializeOwned,
        T: PartialEq + Debug + Display,
    {
        let value: T = text.parse().expect("the text is good");
        assert!(T::try_from(text).ok().as_ref() == Some(&value), "{text}");
        let json = serde_json::to_string(&value).expect("it is a string");
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<T>(&json).expect("it was written so"), value);
        assert_eq!(value.to_string(), text);
        assert_eq!(format!("{value:>40}").trim_start(), text);
        assert!(bad.parse::<T>().is_err(), "{bad}");
        assert!(T::try_from(bad).is_err(), "{bad}");
        assert!(serde_json::from_str::<T>(&format!("\"{bad}\"")).is_err(), "{bad}");
    }

    #[test]
    fn texts_are_read_in_every_way_and_written_as_they_were() {
        check::<ChannelName>("user:7:messages", "a..b");
        check::<ChannelName>("a", "a.*");
        check::<ChannelName>("a.b", "$a");
        check::<Pattern>("a.**", "a.**.b");
        check::<Subscription>("a.*", "a*");
        check::<Subscription>("a.b", "$user");
        check::<EventName>("job done", "tidings.gap");
        check::<EventId>("0000000000000007-42-0000beef.1-00000001", "7-42-beef");
        check::<Priority>("high", "hihg");
    }

    #[test]
    fn a_subscription_is_made_of_a_channel_or_a_pattern() {
        let channel = ChannelName::parse("a.b").expect("a name");
        assert_eq!(Subscription::from(channel.clone()), Subscription::Channel(channel.clone()));
        assert_eq!(Subscription::from(&channel), Subscription::Channel(channel));
        let pattern = Pattern::parse("a.*").expect("a pattern");
        assert_eq!(Subscription::from(pattern.clone()), Subscription::Pattern(pattern));
        assert_eq!(Subscription::try_from("a.*".to_owned()).expect("a pattern"), "a.*");
    }
}

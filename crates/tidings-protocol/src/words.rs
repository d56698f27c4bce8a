//! Enums whose variants are words on the wire, and the error of a word that is none of several.

use std::fmt;

/// Defines an enum with a word for each variant: `ALL`, `WORDS`, `as_str`, `Display` and serde.
#[doc(hidden)]
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        $vis enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)+
        }

        #[allow(dead_code, unreachable_pub, reason = "each enum uses some of them, some enums are private")]
        impl $name {
            /// Every variant, in order.
            pub const ALL: [Self; Self::WORDS.len()] = [$(Self::$variant),+];

            /// The words on the wire, in the order of [`Self::ALL`].
            pub const WORDS: &[&str] = &[$($word),+];

            /// Returns the word on the wire.
            pub fn as_str(self) -> &'static str {
                Self::WORDS[self as usize]
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(crate) use words;

/// Implements `FromStr` for enums of words.
#[doc(hidden)]
#[macro_export]
macro_rules! words_from_str {
    ($($name:ident),+) => {$(
        impl std::str::FromStr for $name {
            type Err = $crate::UnknownWord;

            fn from_str(word: &str) -> Result<Self, $crate::UnknownWord> {
                let found = Self::ALL.into_iter().find(|known| known.as_str() == word);
                found.ok_or_else(|| $crate::UnknownWord::new(word, Self::WORDS))
            }
        }
    )+};
}

/// Text that is none of the choices of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    word: String,
    choices: &'static [&'static str],
}

impl UnknownWord {
    /// Makes the error of a word.
    pub fn new(word: &str, choices: &'static [&'static str]) -> Self {
        Self { word: word.to_owned(), choices }
    }
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is {:?}; one of {}", self.word, self.choices.join(", "))
    }
}

impl std::error::Error for UnknownWord {}

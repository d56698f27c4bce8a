//! Enums whose variants are words on the wire.

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

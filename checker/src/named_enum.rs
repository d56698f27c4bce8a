//! Enums whose variants have names in the report.

/// Defines an enum with `ALL`, its variants in the order of the report, and `as_str`, the name of a variant.
macro_rules! named_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            $vis const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            $vis fn as_str(self) -> &'static str {
                [$($text),+][self as usize]
            }
        }
    };
}

pub(crate) use named_enum;

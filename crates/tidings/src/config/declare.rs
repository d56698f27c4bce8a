//! Declarations of settings.

/// Declares a struct of settings with the default of each field, by the syntax that Rust plans for default field values.
macro_rules! settings {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident: $kind:ty = $default:expr,)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $kind,)+
        }

        impl Default for $name {
            #[allow(unused_doc_comments, reason = "a field keeps its `cfg` here")]
            fn default() -> Self {
                Self { $($(#[$field_meta])* $field: $default,)+ }
            }
        }
    };
}

pub(super) use settings;

//! Formats of values in settings: each is read from one text, and shown as TOML.

mod base;
mod list;
mod path;
mod scalar;
mod secret;

pub(crate) use base::{
    Optional, RawValue, ValueFormat, mask_passwords, name_of, range, shortened, suggest_word,
};
pub(crate) use list::{AddressesFormat, AlgorithmsFormat, KeysFormat, PatternsFormat, TextsFormat};
pub(crate) use path::{DirectoryFormat, PathFormat, TlsPathFormat};
pub(crate) use scalar::{
    BoolFormat, CountFormat, DurabilityFormat, DurationFormat, EnvelopeFormat, SizeFormat, TextFormat,
    read_duration,
};
pub(crate) use secret::{RedisUrlFormat, SecretFormat};

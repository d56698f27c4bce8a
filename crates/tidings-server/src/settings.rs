//! Settings from `tidings.toml`, then the environment, then flags. Every error is found, and names its location.

mod file;
mod load;
mod markdown;
mod setting;
mod source;
mod suggest;
mod table;
mod value_format;
mod warnings;

pub(crate) use load::{Loaded, load};
pub(crate) use markdown::markdown;
pub(crate) use setting::Setting;
pub(crate) use source::{Diagnostic, FlagValue, Sources};
pub(crate) use table::SETTINGS;
pub(crate) use value_format::{RawValue, read_duration};

#[cfg(test)]
mod tests;

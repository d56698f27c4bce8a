//! Formats of paths.

use std::path::{Path, PathBuf};

use super::base::{Optional, RawValue, ValueFormat, describe, shortened, toml_text};
use super::scalar::TextFormat;

pub(crate) struct DirectoryFormat;
pub(crate) struct PathFormat;
/// A file of `[server.tls]`. The empty path is a file that is not given.
pub(crate) struct TlsPathFormat;

impl ValueFormat for DirectoryFormat {
    type Value = Option<PathBuf>;
    const NAME: &'static str = "path";

    fn read(raw: &RawValue) -> Result<Option<PathBuf>, String> {
        match raw {
            RawValue::Nothing => Ok(None),
            RawValue::Text(text) if text.is_empty() => {
                Err("is empty; pass --memory to keep everything in memory".into())
            }
            RawValue::Text(text) if text.contains('\0') => {
                Err(format!("is {}; a path has no NUL", shortened(text)))
            }
            RawValue::Text(text) => Ok(Some(PathBuf::from(text))),
            RawValue::Bare(_) | RawValue::List(_) | RawValue::Keys(_) => {
                Err(format!("is {}; a path is one text", describe(raw)))
            }
        }
    }

    fn show(value: &Option<PathBuf>) -> String {
        value.as_deref().map_or_else(|| "none, everything in memory".to_owned(), show_path)
    }
}

impl ValueFormat for PathFormat {
    type Value = PathBuf;
    const NAME: &'static str = "path";

    fn read(raw: &RawValue) -> Result<PathBuf, String> {
        let text = TextFormat::read(raw)?;
        if text.contains('\0') {
            return Err("has a NUL, which no path has".to_owned());
        }
        Ok(text.into())
    }

    fn show(value: &PathBuf) -> String {
        show_path(value)
    }
}

impl ValueFormat for TlsPathFormat {
    type Value = PathBuf;
    const NAME: &'static str = PathFormat::NAME;
    const IS_OPTIONAL: bool = true;

    fn read(raw: &RawValue) -> Result<PathBuf, String> {
        Optional::<PathFormat>::read(raw).map(Option::unwrap_or_default)
    }

    fn show(value: &PathBuf) -> String {
        Optional::<PathFormat>::show(&Some(value.clone()).filter(|path| !path.as_os_str().is_empty()))
    }
}

fn show_path(path: &Path) -> String {
    toml_text(&path.to_string_lossy())
}

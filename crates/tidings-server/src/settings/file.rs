//! Reads the settings file: TOML in, raw values with their locations out.

mod keys;
mod toml_value;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::setting::{AcceptedFrom, Setting};
use super::source::{Diagnostic, FileLocation};
use super::suggest::unknown_key;
use super::table::{is_section, setting, unsupported};
use super::value_format::RawValue;
use toml_value::raw_value;

/// Largest size of a settings file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file that is read by default.
const FILE_NAME: &str = "tidings.toml";

/// Contents of a settings file.
#[derive(Default)]
pub(super) struct FileSettings {
    /// Whether there is an `[auth]`, even an empty one.
    pub(super) has_auth: bool,
    /// Known settings with their values and locations.
    pub(super) values: Vec<(&'static Setting, RawValue, FileLocation)>,
    /// Errors, in the order of the file.
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Reads the file at `config`, which has to exist, or else `tidings.toml` if it exists.
pub(super) fn read(config: Option<&Path>) -> FileSettings {
    let path = config.unwrap_or(Path::new(FILE_NAME));
    match read_text(path) {
        Ok(text) => parse(path, &text),
        Err(error) if config.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            FileSettings::default()
        }
        Err(error) => {
            let message = format!("cannot be read: {error}");
            let diagnostics = vec![Diagnostic { location: path.display().to_string(), message }];
            FileSettings { diagnostics, ..FileSettings::default() }
        }
    }
}

/// Parses the text of a file.
pub(super) fn parse(path: &Path, text: &str) -> FileSettings {
    let index = LineIndex { path: path.to_owned(), text };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let diagnostic = |error: &toml::de::Error| {
            let offset = error.span().map_or(0, |span| span.start);
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            Diagnostic { location: index.location(offset).to_string(), message }
        };
        let diagnostics = errors.iter().map(diagnostic).collect();
        return FileSettings { diagnostics, ..FileSettings::default() };
    }
    let mut reader = DocumentReader { index, values: Vec::new(), diagnostics: Vec::new() };
    reader.read_table("", document.get_ref());
    reader.diagnostics.sort_by_key(|(offset, _)| *offset);
    FileSettings {
        has_auth: document.get_ref().contains_key("auth"),
        values: reader.values,
        diagnostics: reader.diagnostics.into_iter().map(|(_, diagnostic)| diagnostic).collect(),
    }
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Converts byte offsets into lines and columns.
struct LineIndex<'t> {
    path: PathBuf,
    text: &'t str,
}

impl LineIndex<'_> {
    fn location(&self, offset: usize) -> FileLocation {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        FileLocation {
            path: self.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

struct DocumentReader<'t> {
    index: LineIndex<'t>,
    values: Vec<(&'static Setting, RawValue, FileLocation)>,
    diagnostics: Vec<(usize, Diagnostic)>,
}

impl DocumentReader<'_> {
    fn read_table(&mut self, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = match section {
                "" => key.get_ref().to_string(),
                _ => format!("{section}.{}", key.get_ref()),
            };
            self.read_entry(&name, key.span().start, value);
        }
    }

    fn read_entry(&mut self, name: &str, offset: usize, value: &Spanned<DeValue<'_>>) {
        match setting(name) {
            Some(setting) if setting.accepted_from == AcceptedFrom::FileOrEnvironment => {
                return self.read_value(setting, value);
            }
            Some(setting) if setting.accepted_from == AcceptedFrom::File => {
                return self.read_keys(setting, offset, value);
            }
            _ => (),
        }
        match (value.get_ref(), unsupported(name)) {
            // Each key of an unknown section gets an error of its own.
            (DeValue::Table(table), _) if !table.is_empty() => self.read_table(name, table),
            (_, Some(other)) => {
                self.report(offset, format!("{name} is not available in this version; {}", other.advice));
            }
            (DeValue::Table(_), None) if is_section(name) => (),
            _ if is_section(name) => {
                self.report(offset, format!("{name} is a section; write [{name}] on a line"));
            }
            _ => self.report(offset, unknown_key(name)),
        }
    }

    fn read_value(&mut self, setting: &'static Setting, value: &Spanned<DeValue<'_>>) {
        let offset = value.span().start;
        match raw_value(value.get_ref()) {
            Some(raw) => self.values.push((setting, raw, self.index.location(offset))),
            None => {
                let kind = value.get_ref().type_str();
                let mut message = format!("{} is a {}, not this {kind}", setting.name, (setting.format)());
                if !setting.example.is_empty() {
                    message.push_str(&format!("; for example {}", setting.example));
                }
                self.report(offset, message);
            }
        }
    }

    fn read_keys(&mut self, setting: &'static Setting, offset: usize, value: &Spanned<DeValue<'_>>) {
        let keys = keys::read(value, &mut |offset, message| self.report(offset, message));
        self.values.push((setting, RawValue::Keys(keys), self.index.location(offset)));
    }

    fn report(&mut self, offset: usize, message: String) {
        let location = self.index.location(offset).to_string();
        self.diagnostics.push((offset, Diagnostic { location, message }));
    }
}

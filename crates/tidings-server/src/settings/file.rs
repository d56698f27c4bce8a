//! Reads the settings file: TOML in, raw values with their places out.

mod keys;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::suggest::unknown_key;
use super::table::{AcceptedFrom, Setting, is_section, later, setting};
use super::value_format::RawValue;
use super::{Diagnostic, FileLocation};

/// How large a settings file may be.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file that is read where no other is named.
const FILE_NAME: &str = "tidings.toml";

/// What a settings file holds.
#[derive(Default)]
pub(super) struct FileSettings {
    /// Whether there is an `[auth]`, however empty.
    pub(super) has_auth: bool,
    /// Known settings with their values and places.
    pub(super) values: Vec<(&'static Setting, RawValue, FileLocation)>,
    /// What is wrong with the rest, in the order of the file.
    pub(super) problems: Vec<Diagnostic>,
}

/// Reads the file at `config`, which has to exist, or else `tidings.toml` if there is one.
pub(super) fn read(config: Option<&Path>) -> FileSettings {
    let path = config.unwrap_or(Path::new(FILE_NAME));
    match read_text(path) {
        Ok(text) => parse(path, &text),
        Err(error) if config.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            FileSettings::default()
        }
        Err(error) => {
            let problem =
                Diagnostic { place: path.display().to_string(), text: format!("cannot be read: {error}") };
            FileSettings { problems: vec![problem], ..FileSettings::default() }
        }
    }
}

/// Reads settings from the text of a file.
pub(super) fn parse(path: &Path, text: &str) -> FileSettings {
    let places = LineIndex { path: path.to_owned(), text };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| {
            let offset = error.span().map_or(0, |span| span.start);
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            Diagnostic { place: places.at(offset).to_string(), text: message }
        };
        let problems = errors.iter().map(problem).collect();
        return FileSettings { problems, ..FileSettings::default() };
    }
    let mut reader = Reader { places, values: Vec::new(), problems: Vec::new() };
    reader.table("", document.get_ref());
    reader.problems.sort_by_key(|(offset, _)| *offset);
    FileSettings {
        has_auth: document.get_ref().contains_key("auth"),
        values: reader.values,
        problems: reader.problems.into_iter().map(|(_, problem)| problem).collect(),
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

/// Turns byte offsets into places for people.
struct LineIndex<'t> {
    path: PathBuf,
    text: &'t str,
}

impl LineIndex<'_> {
    fn at(&self, offset: usize) -> FileLocation {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        FileLocation {
            path: self.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

struct Reader<'t> {
    places: LineIndex<'t>,
    values: Vec<(&'static Setting, RawValue, FileLocation)>,
    problems: Vec<(usize, Diagnostic)>,
}

impl Reader<'_> {
    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = match section {
                "" => key.get_ref().to_string(),
                _ => format!("{section}.{}", key.get_ref()),
            };
            self.entry(&name, key.span().start, value);
        }
    }

    fn entry(&mut self, name: &str, offset: usize, value: &Spanned<DeValue<'_>>) {
        match setting(name) {
            Some(setting) if setting.given == AcceptedFrom::FileOrEnvironment => {
                return self.value(setting, value);
            }
            Some(setting) if setting.given == AcceptedFrom::File => return self.keys(setting, offset, value),
            _ => (),
        }
        match (value.get_ref(), later(name)) {
            // What stands in a section is named by itself, so that every key is listed.
            (DeValue::Table(table), _) if !table.is_empty() => self.table(name, table),
            (_, Some(later)) => {
                self.problem(offset, format!("{name} is not available in this version; {}", later.way_out));
            }
            (DeValue::Table(_), None) if is_section(name) => (),
            _ if is_section(name) => {
                self.problem(offset, format!("{name} is a section; write [{name}] on a line"));
            }
            _ => self.problem(offset, unknown_key(name)),
        }
    }

    fn value(&mut self, setting: &'static Setting, value: &Spanned<DeValue<'_>>) {
        let offset = value.span().start;
        match raw(value.get_ref()) {
            Some(raw) => self.values.push((setting, raw, self.places.at(offset))),
            None => {
                let kind = value.get_ref().type_str();
                let mut text = format!("{} is a {}, not this {kind}", setting.name, setting.form);
                if !setting.example.is_empty() {
                    text.push_str(&format!("; for example {}", setting.example));
                }
                self.problem(offset, text);
            }
        }
    }

    fn keys(&mut self, setting: &'static Setting, offset: usize, value: &Spanned<DeValue<'_>>) {
        let keys = keys::read(value, &mut |offset, text| self.problem(offset, text));
        self.values.push((setting, RawValue::Keys(keys), self.places.at(offset)));
    }

    fn problem(&mut self, offset: usize, text: String) {
        let place = self.places.at(offset).to_string();
        self.problems.push((offset, Diagnostic { place, text }));
    }
}

/// A value without its TOML type; `None` for tables, and for lists of anything but texts.
fn raw(value: &DeValue<'_>) -> Option<RawValue> {
    match value {
        DeValue::String(text) => Some(RawValue::Text(text.to_string())),
        DeValue::Integer(number) => {
            let digits = number.as_str();
            let decimal = u64::from_str_radix(digits, number.radix()).ok();
            Some(RawValue::Bare(decimal.map_or_else(|| digits.to_owned(), |number| number.to_string())))
        }
        DeValue::Float(number) => Some(RawValue::Bare(number.as_str().to_owned())),
        DeValue::Boolean(switch) => Some(RawValue::Bare(switch.to_string())),
        DeValue::Datetime(time) => Some(RawValue::Bare(time.to_string())),
        DeValue::Array(entries) => {
            let texts = entries.iter().map(|entry| entry.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().map(RawValue::List)
        }
        DeValue::Table(_) => None,
    }
}

//! Reads `[[auth.keys]]`, a list of tables. A secret may stand in place of a hash, so no message shows a wrong value.

use tidings::config::{KeySettings, Right};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::suggest::printable;
use super::super::value_format::{RawValue, TextsFormat, ValueFormat, suggest_word};
use super::toml_value::raw_value;

/// The members of a key.
const MEMBERS: [&str; 5] = ["name", "hash", "rights", "subscribe", "publish"];

/// Reads every key of the list. Errors go to `report`, with their offsets.
pub(super) fn read(value: &Spanned<DeValue<'_>>, report: &mut dyn FnMut(usize, String)) -> Vec<KeySettings> {
    let offset = value.span().start;
    let DeValue::Array(entries) = value.get_ref() else {
        report(offset, "auth.keys is a list of tables; head each key with [[auth.keys]]".to_owned());
        return Vec::new();
    };
    let mut keys = Vec::new();
    for entry in entries {
        match entry.get_ref() {
            DeValue::Table(table) => keys.extend(read_key(table, entry.span().start, report)),
            _ => {
                let error = "auth.keys has an entry that is no key; head each key with [[auth.keys]]";
                report(entry.span().start, error.to_owned());
            }
        }
    }
    keys
}

/// Reads one key; `None` if a member is wrong.
fn read_key(
    table: &DeTable<'_>,
    offset: usize,
    report: &mut dyn FnMut(usize, String),
) -> Option<KeySettings> {
    let (name, hash, rights) = (String::new(), String::new(), vec![]);
    let mut key = KeySettings { name, hash, rights, subscribe: vec![], publish: vec![] };
    let mut is_good = true;
    let mut fail = |offset: usize, message: String| {
        is_good = false;
        report(offset, message);
    };
    for (member, value) in table {
        let name: &str = member.get_ref();
        let outcome = match name {
            "name" => read_text(value).map(|text| key.name = text),
            "hash" => read_text(value).map(|text| key.hash = text),
            "rights" => read_rights(value).map(|rights| key.rights = rights),
            "subscribe" => read_texts(value).map(|patterns| key.subscribe = patterns),
            "publish" => read_texts(value).map(|patterns| key.publish = patterns),
            _ => {
                fail(member.span().start, unknown_member(name));
                continue;
            }
        };
        if let Err(error) = outcome {
            fail(value.span().start, format!("auth.keys: {name} {error}"));
        }
    }
    for member in ["name", "hash"] {
        if table.keys().all(|known| &**known.get_ref() != member) {
            let advice = "make a key with `tidings key --name N`, which prints it";
            fail(offset, format!("auth.keys: {member} is missing; {advice}"));
        }
    }
    is_good.then_some(key)
}

fn read_text(value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    let kind = value.get_ref().type_str();
    value.get_ref().as_str().map(str::to_owned).ok_or_else(|| format!("is a text, not this {kind}"))
}

fn read_texts(value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, String> {
    match raw_value(value.get_ref()) {
        Some(raw @ (RawValue::List(_) | RawValue::Text(_))) => TextsFormat::read(&raw),
        _ => Err(format!(
            "is a list of texts, not this {}; for example [\"orders.**\"]",
            value.get_ref().type_str()
        )),
    }
}

fn read_rights(value: &Spanned<DeValue<'_>>) -> Result<Vec<Right>, String> {
    let mut rights = Vec::new();
    for word in read_texts(value)? {
        let right = word.parse().map_err(|_| {
            let shown = if word.len() <= 16 { format!("{word:?}") } else { "an unknown right".to_owned() };
            format!("has {shown}; one of {}{}", Right::WORDS.join(", "), suggest_word(&word, Right::WORDS))
        })?;
        if !rights.contains(&right) {
            rights.push(right);
        }
    }
    Ok(rights)
}

fn unknown_member(name: &str) -> String {
    let nearest = MEMBERS.into_iter().min_by_key(|member| strsim::osa_distance(&name.to_lowercase(), member));
    let nearest = nearest.expect("a key has members");
    format!("auth.keys has no {}; did you mean {nearest}?", printable(name))
}

//! Reads `[[auth.keys]]`, a list of tables.

use tidings::config::{KeySettings, Right};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::suggest::bare;
use super::super::value_format::{RawValue, TextsFormat, ValueFormat, nearest_word};
use super::raw;

/// The members of a key.
const MEMBERS: [&str; 5] = ["name", "hash", "rights", "subscribe", "publish"];

/// Every key of the list; what is wrong goes to `problem` with its place.
pub(super) fn read(value: &Spanned<DeValue<'_>>, problem: &mut dyn FnMut(usize, String)) -> Vec<KeySettings> {
    let offset = value.span().start;
    let DeValue::Array(entries) = value.get_ref() else {
        problem(offset, "auth.keys is a list of tables; head each key with [[auth.keys]]".to_owned());
        return Vec::new();
    };
    let mut keys = Vec::new();
    for entry in entries {
        match entry.get_ref() {
            DeValue::Table(table) => keys.extend(key(table, entry.span().start, problem)),
            _ => problem(
                entry.span().start,
                "auth.keys has an entry that is no key; head each key with [[auth.keys]]".to_owned(),
            ),
        }
    }
    keys
}

/// One key; none where something of it is wrong.
fn key(table: &DeTable<'_>, offset: usize, problem: &mut dyn FnMut(usize, String)) -> Option<KeySettings> {
    let mut key = KeySettings {
        name: String::new(),
        hash: String::new(),
        rights: vec![],
        subscribe: vec![],
        publish: vec![],
    };
    let mut good = true;
    let mut fail = |offset: usize, text: String| {
        good = false;
        problem(offset, text);
    };
    for (member, value) in table {
        let name: &str = member.get_ref();
        let outcome = match name {
            "name" => text(value).map(|text| key.name = text),
            "hash" => text(value).map(|text| key.hash = text),
            "rights" => rights(value).map(|rights| key.rights = rights),
            "subscribe" => texts(value).map(|patterns| key.subscribe = patterns),
            "publish" => texts(value).map(|patterns| key.publish = patterns),
            _ => {
                fail(member.span().start, unknown(name));
                continue;
            }
        };
        if let Err(fault) = outcome {
            fail(value.span().start, format!("auth.keys: {name} {fault}"));
        }
    }
    for member in ["name", "hash"] {
        if table.keys().all(|known| &**known.get_ref() != member) {
            let text = format!(
                "auth.keys: {member} is missing; make a key with `tidings key --name N`, which prints it"
            );
            fail(offset, text);
        }
    }
    good.then_some(key)
}

/// A secret may have been put where a hash belongs, so nothing of a wrong value is shown.
fn text(value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    let kind = value.get_ref().type_str();
    value.get_ref().as_str().map(str::to_owned).ok_or_else(|| format!("is a text, not this {kind}"))
}

fn texts(value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, String> {
    match raw(value.get_ref()) {
        Some(raw @ (RawValue::List(_) | RawValue::Text(_))) => TextsFormat::read(&raw),
        _ => Err(format!(
            "is a list of texts, not this {}; for example [\"orders.**\"]",
            value.get_ref().type_str()
        )),
    }
}

fn rights(value: &Spanned<DeValue<'_>>) -> Result<Vec<Right>, String> {
    let mut rights = Vec::new();
    for word in texts(value)? {
        let right = word.parse().map_err(|_| {
            let shown = if word.len() <= 16 { format!("{word:?}") } else { "an unknown right".to_owned() };
            format!("has {shown}; one of {}{}", Right::WORDS.join(", "), nearest_word(&word, Right::WORDS))
        })?;
        if !rights.contains(&right) {
            rights.push(right);
        }
    }
    Ok(rights)
}

fn unknown(name: &str) -> String {
    let nearest = MEMBERS.into_iter().min_by_key(|member| strsim::osa_distance(&name.to_lowercase(), member));
    let nearest = nearest.expect("a key has members");
    format!("auth.keys has no {}; did you mean {nearest}?", bare(name))
}

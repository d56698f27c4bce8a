//! Puts values that strangers chose into messages: quoted, escaped, shortened, and with the nearest known word.

use std::fmt;

/// Characters of a value that a message shows.
const CHARACTERS_SHOWN_MAX: usize = 40;

/// Longer words are not compared: the distance costs the product of both lengths.
const COMPARED_BYTES_MAX: usize = 64;

/// Shows a value between quotes, with its control characters escaped and its tail cut.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(CHARACTERS_SHOWN_MAX) {
            write!(f, "{}", character.escape_debug())?;
        }
        f.write_str(if characters.next().is_some() { "…\"" } else { "\"" })
    }
}

/// Returns the value as a message shows it.
pub(crate) fn quoted(value: &str) -> String {
    Quoted(value).to_string()
}

/// Returns the way out for a misspelt word: the nearest of `known`, or all of them where none is near.
pub(crate) fn suggestion(word: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .filter(|_| word.len() <= COMPARED_BYTES_MAX)
        .map(|known| (strsim::osa_distance(&word.to_lowercase(), &known.to_lowercase()), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= 1 + known.len() / 3);
    match nearest {
        Some((_, known)) => format!("did you mean \"{known}\"?"),
        None => format!("known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests;

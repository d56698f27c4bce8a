//! Values of clients in messages: quoted, escaped, shortened, and with the nearest known word.

/// Characters of a value that a message shows.
const CHARACTERS_SHOWN_MAX: usize = 40;

/// Bytes of a word that is compared with known words, at most: the distance costs the product of both lengths.
const COMPARED_BYTES_MAX: usize = 64;

/// Returns a value as a message shows it: between quotes, control characters escaped, the tail cut.
pub(crate) fn quoted(value: &str) -> String {
    let mut characters = value.chars();
    let shown: String = characters.by_ref().take(CHARACTERS_SHOWN_MAX).flat_map(char::escape_debug).collect();
    let end = if characters.next().is_some() { "…" } else { "" };
    format!("\"{shown}{end}\"")
}

/// Returns advice for an unknown word: the nearest of `known`, or all of them if none is near.
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

//! Glob matching as Redis does it, to know which copies of a message Redis sent.

/// Whether a glob matches a channel. Supports the globs that the hub uses: bytes, `*`, and sets with ranges and `^`; no escapes.
pub(super) fn matches(glob: &[u8], channel: &[u8]) -> bool {
    let (mut at, mut place) = (0, 0);
    // Position to return to if the rest after the last `*` does not match: that `*` takes one more byte.
    let mut back = None;
    loop {
        if glob.get(at) == Some(&b'*') {
            at += 1;
            back = Some((at, place));
            continue;
        }
        if at == glob.len() && place == channel.len() {
            return true;
        }
        if let Some(next) = channel.get(place).and_then(|byte| matches_class(glob, at, *byte)) {
            (at, place) = (next, place + 1);
            continue;
        }
        match back {
            Some((after, from)) if from < channel.len() => {
                (at, place) = (after, from + 1);
                back = Some((after, from + 1));
            }
            _ => return false,
        }
    }
}

/// Matches one byte at a position of a glob. Returns the next position.
fn matches_class(glob: &[u8], at: usize, byte: u8) -> Option<usize> {
    match glob.get(at)? {
        b'[' => {
            let end = at + glob[at..].iter().position(|byte| *byte == b']')?;
            is_in_set(&glob[at + 1..end], byte).then_some(end + 1)
        }
        literal => (*literal == byte).then_some(at + 1),
    }
}

fn is_in_set(set: &[u8], byte: u8) -> bool {
    match set {
        [b'^', set @ ..] => !is_in_set(set, byte),
        [first, b'-', last, rest @ ..] => (*first..=*last).contains(&byte) || is_in_set(rest, byte),
        [first, rest @ ..] => *first == byte || is_in_set(rest, byte),
        [] => false,
    }
}

#[cfg(test)]
mod tests;

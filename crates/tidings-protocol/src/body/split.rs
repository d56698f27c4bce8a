//! Splits a batch into messages before they are parsed, so that each error has an index.

/// Returns whether JSON allows the byte between tokens.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Removes blanks from both ends.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

/// The end and the depth of a JSON value. Brackets are counted, not paired.
pub(super) struct Extent {
    /// Offset of the comma or bracket after the value, or the length of the text.
    pub(super) end: usize,
    /// Brackets that are open at once, at most.
    pub(super) depth: usize,
}

/// Measures the value at the start of the text, without recursion.
pub(super) fn extent(text: &[u8]) -> Extent {
    let (mut open, mut depth, mut at) = (0_usize, 0, 0);
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => at = string_end(text, at),
            b'{' | b'[' => {
                open += 1;
                depth = depth.max(open);
            }
            b'}' | b']' if open > 0 => open -= 1,
            b'}' | b']' | b',' if open == 0 => return Extent { end: at - 1, depth },
            _ => {}
        }
    }
    Extent { end: text.len(), depth }
}

/// Returns the offset after the quote that ends a string whose text begins at `at`.
pub(super) fn string_end(text: &[u8], mut at: usize) -> usize {
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        if text[at + found] == b'"' {
            return at + found + 1;
        }
        at += found + 2;
    }
    text.len()
}

/// An element of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchElement<'a> {
    /// The text of one message, not yet parsed.
    Message(&'a [u8]),
    /// The list has no `]`.
    Unclosed,
    /// Text follows the `]`.
    Trailing,
}

/// The elements of a JSON list, in order; an error of the list itself comes last.
pub(super) struct Elements<'a> {
    rest: Rest<'a>,
    is_first: bool,
}

enum Rest<'a> {
    /// The text that begins with the next element.
    Element(&'a [u8]),
    /// The text after the last element.
    Close(&'a [u8]),
    Nothing,
}

/// Returns the elements of a JSON list from its text after the `[`.
pub(super) fn elements(rest: &[u8]) -> Elements<'_> {
    Elements { rest: Rest::Element(rest), is_first: true }
}

impl<'a> Iterator for Elements<'a> {
    type Item = BatchElement<'a>;

    fn next(&mut self) -> Option<BatchElement<'a>> {
        if let Rest::Element(text) = self.rest {
            let (element, after) = text.split_at(extent(text).end);
            let element = trim(element);
            let is_first = std::mem::take(&mut self.is_first);
            let Some(rest) = after.strip_prefix(b",") else {
                self.rest = Rest::Close(after);
                let is_none = element.is_empty() && (is_first || after.is_empty());
                return if is_none { self.next() } else { Some(BatchElement::Message(element)) };
            };
            self.rest = Rest::Element(rest);
            return Some(BatchElement::Message(element));
        }
        match std::mem::replace(&mut self.rest, Rest::Nothing) {
            Rest::Close([b']', after @ ..]) => (!trim(after).is_empty()).then_some(BatchElement::Trailing),
            Rest::Close(_) => Some(BatchElement::Unclosed),
            Rest::Element(_) | Rest::Nothing => None,
        }
    }
}

/// Returns the lines of NDJSON that are not blank.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(trim).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests;

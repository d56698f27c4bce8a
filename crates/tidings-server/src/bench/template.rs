//! Texts with places to fill in, such as `{channel}`.

/// What fills the places of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) channel: &'a str,
    pub(super) number: u64,
    pub(super) data: &'a [u8],
}

/// A text with its places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Channel,
    Number,
    Data,
    DataJson,
    DataUrl,
}

impl Template {
    /// Reads a template. Braces that hold none of the names stay as they are: bodies are often JSON.
    pub(super) fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            plain.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some((name, part)) = place(rest) {
                parts.extend((!plain.is_empty()).then(|| Part::Text(std::mem::take(&mut plain))));
                parts.push(part);
                rest = &rest[name.len()..];
            } else {
                plain.push('{');
                rest = &rest[1..];
            }
        }
        plain.push_str(rest);
        parts.extend((!plain.is_empty()).then_some(Part::Text(plain)));
        Self(parts)
    }

    /// A brace that is left in the text, as a misspelt place leaves one.
    pub(super) fn stray_brace(&self) -> Option<&str> {
        self.0.iter().find_map(|part| match part {
            Part::Text(text) => text.find(['{', '}']).map(|at| &text[at..]),
            _ => None,
        })
    }

    /// Whether the data is filled in somewhere.
    pub(super) fn has_data(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Data | Part::DataJson | Part::DataUrl))
    }

    /// Appends the text with its places filled.
    pub(super) fn write(&self, values: Values<'_>, text: &mut Vec<u8>) {
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.extend_from_slice(plain.as_bytes()),
                Part::Channel => text.extend_from_slice(values.channel.as_bytes()),
                Part::Number => text.extend_from_slice(values.number.to_string().as_bytes()),
                Part::Data => text.extend_from_slice(values.data),
                Part::DataJson => write_json(values.data, text),
                Part::DataUrl => write_url(values.data, text),
            }
        }
    }
}

/// The place that a text begins with, with its braces.
fn place(text: &str) -> Option<(&'static str, Part)> {
    [
        ("{channel}", Part::Channel),
        ("{n}", Part::Number),
        ("{data}", Part::Data),
        ("{data_json}", Part::DataJson),
        ("{data_url}", Part::DataUrl),
    ]
    .into_iter()
    .find(|(name, _)| text.starts_with(name))
}

/// Appends data as it stands within a JSON string. Ours holds quotes, and neither control characters nor backslashes.
pub(super) fn write_json(data: &[u8], text: &mut Vec<u8>) {
    for byte in data {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
}

/// Appends data as it stands within a URL or a form.
fn write_url(data: &[u8], text: &mut Vec<u8>) {
    for byte in data {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(*byte);
        } else {
            text.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;

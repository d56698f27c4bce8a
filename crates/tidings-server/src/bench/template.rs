//! Texts with placeholders, such as `{channel}`.

/// Values for the placeholders of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct TemplateValues<'a> {
    pub(super) channel: &'a str,
    pub(super) number: u64,
    pub(super) data: &'a [u8],
}

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<TemplatePart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplatePart {
    Text(String),
    Channel,
    Number,
    Data,
    DataJson,
    DataUrl,
}

impl Template {
    /// Parses a template. Other braces stay as they are: bodies are often JSON.
    pub(super) fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            plain.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some((name, part)) = place(rest) {
                parts.extend((!plain.is_empty()).then(|| TemplatePart::Text(std::mem::take(&mut plain))));
                parts.push(part);
                rest = &rest[name.len()..];
            } else {
                plain.push('{');
                rest = &rest[1..];
            }
        }
        plain.push_str(rest);
        parts.extend((!plain.is_empty()).then_some(TemplatePart::Text(plain)));
        Self(parts)
    }

    /// Returns the text from the first brace that is no placeholder, such as a misspelt one.
    pub(super) fn stray_brace(&self) -> Option<&str> {
        self.0.iter().find_map(|part| match part {
            TemplatePart::Text(text) => text.find(['{', '}']).map(|at| &text[at..]),
            _ => None,
        })
    }

    /// Whether the template holds the data.
    pub(super) fn has_data(&self) -> bool {
        self.0
            .iter()
            .any(|part| matches!(part, TemplatePart::Data | TemplatePart::DataJson | TemplatePart::DataUrl))
    }

    /// Appends the text with its placeholders filled.
    pub(super) fn write(&self, values: TemplateValues<'_>, text: &mut Vec<u8>) {
        for part in &self.0 {
            match part {
                TemplatePart::Text(plain) => text.extend_from_slice(plain.as_bytes()),
                TemplatePart::Channel => text.extend_from_slice(values.channel.as_bytes()),
                TemplatePart::Number => text.extend_from_slice(values.number.to_string().as_bytes()),
                TemplatePart::Data => text.extend_from_slice(values.data),
                TemplatePart::DataJson => write_json(values.data, text),
                TemplatePart::DataUrl => write_url(values.data, text),
            }
        }
    }
}

/// Returns the placeholder at the start of a text, with its braces.
fn place(text: &str) -> Option<(&'static str, TemplatePart)> {
    [
        ("{channel}", TemplatePart::Channel),
        ("{n}", TemplatePart::Number),
        ("{data}", TemplatePart::Data),
        ("{data_json}", TemplatePart::DataJson),
        ("{data_url}", TemplatePart::DataUrl),
    ]
    .into_iter()
    .find(|(name, _)| text.starts_with(name))
}

/// Appends data as within a JSON string. The data has quotes, but no control characters or backslashes.
pub(super) fn write_json(data: &[u8], text: &mut Vec<u8>) {
    for byte in data {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
}

/// Appends data as within a URL or a form.
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

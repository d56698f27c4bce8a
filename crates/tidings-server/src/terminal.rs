//! Text for people: colours on a terminal, plain lines in a pipe.

use std::io::{IsTerminal, Write};

/// How a piece of text stands out, where there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Less than the text around it.
    Dim,
    /// More than the text around it.
    Bold,
}

/// Paints text, or leaves it plain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    coloured: bool,
}

impl Paint {
    /// Colours if standard output is a terminal and nobody asked for none.
    pub(crate) fn for_output() -> Self {
        Self { coloured: std::io::stdout().is_terminal() && colours_wanted() }
    }

    /// No colours at all.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { coloured: false }
    }

    /// The text in the style.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Dim => 2,
            Style::Bold => 1,
        };
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Whether colours are wanted at all. Source: no-color.org.
pub(crate) fn colours_wanted() -> bool {
    let none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !none && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Writes text to standard output at once. A reader that has gone is not an error: it has seen enough.
pub(crate) fn print(text: &str) {
    let mut output = std::io::stdout().lock();
    let _gone = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// Writes text to standard error at once, beside what standard output carries.
pub(crate) fn print_note(text: &str) {
    let _gone = std::io::stderr().write_all(text.as_bytes());
}

/// Writes a line to standard error, named as this program's.
pub(crate) fn print_error(line: &str) {
    let _gone = writeln!(std::io::stderr(), "tidings: {line}");
}

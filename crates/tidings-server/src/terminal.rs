//! Output for users: colours on a terminal, plain lines in a pipe.

use std::io::{IsTerminal, Write};

/// A style of text, if there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Dim,
    Bold,
}

/// Paints text, or leaves it plain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    /// Whether text is painted.
    pub(crate) coloured: bool,
}

impl Paint {
    /// Paints if standard output is a terminal and the environment allows colours.
    pub(crate) fn for_output() -> Self {
        Self { coloured: std::io::stdout().is_terminal() && colours_allowed() }
    }

    /// Returns the text in the style.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Dim => 2,
            Style::Bold => 1,
        };
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Returns whether the environment allows colours. Source: no-color.org.
pub(crate) fn colours_allowed() -> bool {
    let none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !none && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Writes text to standard output and flushes it. A closed pipe is no error.
pub(crate) fn print(text: &str) {
    let mut output = std::io::stdout().lock();
    let _closed = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// Writes text to standard error.
pub(crate) fn print_note(text: &str) {
    let _closed = std::io::stderr().write_all(text.as_bytes());
}

/// Writes a line to standard error, after the name of this program.
pub(crate) fn print_error(line: &str) {
    let _closed = writeln!(std::io::stderr(), "tidings: {line}");
}

//! Parses the command line, and prints its help texts.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::exit::EXIT_USAGE;
use crate::terminal;

/// Stands for `{n}` in help texts, because clap replaces `{n}` by a line break.
macro_rules! number {
    () => {
        "{n\u{2060}}"
    };
}
pub(crate) use number;

/// Parses the command line. After it has printed help, the version or an error, it returns the exit code instead.
pub(crate) fn parse<Line: Parser>() -> Result<Line, ExitCode> {
    Line::try_parse().map_err(|error| {
        let text = error.render().to_string().replace(number!(), "{n}");
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                terminal::print(&text);
                ExitCode::SUCCESS
            }
            _ => {
                terminal::print_note(&text);
                ExitCode::from(EXIT_USAGE)
            }
        }
    })
}

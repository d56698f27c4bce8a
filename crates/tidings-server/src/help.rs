//! Reads the command line, and prints help as it was written.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::terminal;

/// Stands in help texts for `{n}`, which clap takes for a line break.
macro_rules! number {
    () => {
        "{n\u{2060}}"
    };
}
pub(crate) use number;

/// Reads the command line. After printing help, the version or a fault, it returns the exit code instead.
pub(crate) fn read<Line: Parser>() -> Result<Line, ExitCode> {
    Line::try_parse().map_err(|said| {
        let text = said.render().to_string().replace(number!(), "{n}");
        match said.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                terminal::print(&text);
                ExitCode::SUCCESS
            }
            _ => {
                terminal::print_note(&text);
                ExitCode::from(crate::EXIT_USAGE)
            }
        }
    })
}

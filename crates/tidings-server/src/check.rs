//! `tidings check`: every setting, its value, and where it came from.

use std::process::ExitCode;

use clap::Args;

use crate::settings::{Loaded, SETTINGS, markdown};
use crate::terminal::{Paint, Style, print, print_error};
use crate::{SettingFlags, refuse};

/// What `tidings check` is given.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    flags: SettingFlags,
    /// Print the manual's page on settings instead.
    #[arg(long, hide = true)]
    markdown: bool,
}

/// Prints the settings that a hub started in the same place would run with; 2 if it would refuse to.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    if args.markdown {
        print(&markdown());
        return ExitCode::SUCCESS;
    }
    match args.flags.load() {
        Ok(loaded) => {
            print(&listing(&loaded, Paint::for_output()));
            for warning in &loaded.warnings {
                print_error(&format!("warning: {warning}"));
            }
            ExitCode::SUCCESS
        }
        Err(problems) => refuse(&problems),
    }
}

/// The settings as a file that could be read again; what a file cannot say stands as a comment.
fn listing(loaded: &Loaded, paint: Paint) -> String {
    let lines: Vec<(String, String)> = SETTINGS
        .iter()
        .map(|setting| {
            let value = (setting.show)(&loaded.settings);
            let in_file = setting.is_in_file() && loaded.has_file_line(setting.name);
            let mark = if in_file { "" } else { "# " };
            (format!("{mark}{} = {value}", setting.name), loaded.origin(setting.name).to_string())
        })
        .collect();
    let width = lines.iter().map(|(line, _)| line.len()).filter(|width| *width <= 60).max().unwrap_or(0);
    let paint_line = |(line, origin): &(String, String)| {
        format!("{line:width$}  {}\n", paint.paint(Style::Dim, &format!("# {origin}")))
    };
    lines.iter().map(paint_line).collect()
}

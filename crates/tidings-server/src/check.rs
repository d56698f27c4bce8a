//! `tidings check`: prints every setting, its value and its origin.

use std::process::ExitCode;

use clap::Args;

use crate::setting_flags::{SettingFlags, fail_settings};
use crate::settings::{Loaded, SETTINGS, markdown};
use crate::terminal::{Paint, Style, print, print_error};

/// Arguments of `tidings check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    flags: SettingFlags,
    /// Print the manual's page on settings instead.
    #[arg(long, hide = true)]
    markdown: bool,
}

/// Prints the settings of a hub that is started in the same place. Returns 2 if that hub would refuse them.
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
        Err(diagnostics) => fail_settings(&diagnostics),
    }
}

/// Returns the settings as a settings file. Values that no file can hold are comments.
fn listing(loaded: &Loaded, paint: Paint) -> String {
    let lines: Vec<(String, String)> = SETTINGS
        .iter()
        .map(|setting| {
            let value = (setting.show)(&loaded.settings);
            let is_line = setting.is_in_file() && loaded.has_file_line(setting.name);
            let mark = if is_line { "" } else { "# " };
            (format!("{mark}{} = {value}", setting.name), loaded.origin(setting.name).to_string())
        })
        .collect();
    let width = lines.iter().map(|(line, _)| line.len()).filter(|width| *width <= 60).max().unwrap_or(0);
    let paint_line = |(line, origin): &(String, String)| {
        format!("{line:width$}  {}\n", paint.paint(Style::Dim, &format!("# {origin}")))
    };
    lines.iter().map(paint_line).collect()
}

//! `tidings doctor`: finds a proxy on the way to the hub that buffers, strips or times out.

mod advice;
mod checks;
mod report;
mod stream_probe;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::process::ExitCode;
use std::time::Duration;

use crate::exit::fail;
use crate::hub_args::{BearerToken, URL_DEFAULT, client_of};
use crate::terminal;
use checks::{Doctor, Timeouts};
use report::DoctorReport;

/// Find a proxy that buffers, strips or times out.
///
/// Opens a stream through the URL, publishes on a channel of its own, and reports what arrives late, changed or not at
/// all, with the setting to change. Ends with 0 if it finds no fault.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// URL of the hub as its clients see it, such as `https://events.example.org`.
    #[arg(value_name = "URL", env = "TIDINGS_URL", default_value = URL_DEFAULT)]
    url: String,
    /// Token or API key that may publish and subscribe to doctor.*.
    #[arg(long, env = "TIDINGS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<BearerToken>,
    /// Seconds to wait for a keep-alive on a quiet stream; 0 skips the check.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    wait: u64,
    /// Print one JSON document instead of lines.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> ExitCode {
    let client = match client_of(&args.url, args.token.as_ref()) {
        Ok(client) => client,
        Err(error) => return fail(&error.to_string()),
    };
    let timeouts = Timeouts { keep_alive: Duration::from_secs(args.wait), ..Timeouts::DEFAULT };
    let mut report = DoctorReport::new(!args.json);
    Doctor::new(client, random_channel(), timeouts, &mut report).run().await;
    if args.json {
        terminal::print(&format!("{}\n", report.json(&args.url)));
    } else {
        terminal::print(&report.summary());
    }
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns a channel that no other program uses. The seed of the standard hasher is random enough for a name.
fn random_channel() -> String {
    format!("doctor.{:016x}", RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests;

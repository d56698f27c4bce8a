//! `tidings doctor`: finds a proxy between here and the hub that buffers, strips or times out.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::process::ExitCode;
use std::time::Duration;

use crate::publish::{BearerToken, URL_DEFAULT, client_of};
use crate::terminal;

mod checks;
mod report;
mod stream_probe;

use checks::Examination;
use report::DoctorReport;

/// Find a proxy that buffers, strips or times out.
///
/// Opens a stream through the URL, publishes on a channel of its own, and says what arrives late, changed or not at
/// all, and what to set where. Ends with 0 if nothing is wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The hub's base as its clients see it, such as `https://events.example.org`.
    #[arg(value_name = "URL", env = "TIDINGS_URL", default_value = URL_DEFAULT)]
    url: String,
    /// Token or API key that may publish and subscribe to doctor.*.
    #[arg(long, env = "TIDINGS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<BearerToken>,
    /// Seconds to wait for a keep-alive on a quiet stream; 0 leaves that out.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    wait: u64,
    /// One JSON document in place of lines.
    #[arg(long)]
    json: bool,
}

/// How long each thing may take before it counts as wrong.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    /// For the head of an answer.
    answer: Duration,
    /// For the first bytes of a stream, after its head.
    first_bytes: Duration,
    /// For an event, after it was published.
    event: Duration,
    /// Between two paced events.
    pace: Duration,
    /// For a keep-alive on a quiet stream.
    keep_alive: Duration,
}

impl Timeouts {
    fn new(keep_alive: Duration) -> Self {
        Self {
            answer: Duration::from_secs(10),
            first_bytes: Duration::from_secs(2),
            event: Duration::from_secs(5),
            pace: Duration::from_millis(50),
            keep_alive,
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> ExitCode {
    let client = match client_of(&args.url, args.token.as_ref()) {
        Ok(client) => client,
        Err(fault) => {
            terminal::print_error(&fault.to_string());
            return ExitCode::FAILURE;
        }
    };
    let timeouts = Timeouts::new(Duration::from_secs(args.wait));
    let mut report = DoctorReport::new(!args.json);
    Examination::new(client, random_channel(), timeouts, &mut report).run().await;
    if args.json {
        terminal::print(&format!("{}\n", report.json(&args.url)));
    } else {
        terminal::print(&report.summary());
    }
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A channel that nobody else uses. The standard hasher's seed is random and good enough for a name.
fn random_channel() -> String {
    format!("doctor.{:016x}", RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests;

//! `tidings bench`: puts a load on any server of Server-Sent Events, and says what came of it.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::help::number;
use crate::publish::{BearerToken, HubArgs};
use crate::{EXIT_INTERRUPTED, EXIT_USAGE, terminal};

mod course;
mod endpoint;
mod load;
mod plan;
mod progress;
mod record;
mod report;
mod requests;
mod streams;
mod template;
mod watch;

use course::Course;
use load::Rate;
use plan::Plan;

/// Load a server with streams and events, and measure what it does with them.
///
/// Opens streams, publishes numbered events, and checks every receipt: what was lost, doubled or out of order, how long
/// each took, and what it cost the server. Works on a hub as it is, and on any other server by URL templates. Ends
/// with 0 if nothing was lost silently, doubled or out of order, and every stream was served.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    hub: HubArgs,
    #[arg(long, value_name = "URL", requires = "publish", help = concat!(
        "Another server's streams: a URL in which {channel} and ", number!(), ", the stream's number, are filled in"
    ))]
    subscribe: Option<String>,
    #[arg(long, value_name = "URL", requires = "subscribe", help = concat!(
        "Another server's publishing: a URL in which {channel} and ", number!(), ", the request's number, are filled in"
    ))]
    publish: Option<String>,
    /// Method of a publish.
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    publish_method: String,
    #[arg(long, value_name = "TEXT", default_value = "{data}", help = concat!(
        "Body of a publish: {data}, {data_json} within a JSON string, {data_url} within a form, {channel}, ", number!()
    ))]
    body: String,
    /// Header of every stream's request.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<BearerToken>,
    /// Header of every publish.
    #[arg(long = "publish-header", value_name = "NAME: VALUE")]
    publish_headers: Vec<BearerToken>,
    /// Streams.
    #[arg(long, short = 'c', value_name = "N", default_value_t = 100)]
    connections: usize,
    /// Channels that the streams are spread over.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    channels: u32,
    /// What the channels' names begin with; a number follows.
    #[arg(long, value_name = "TEXT", default_value = "bench.")]
    prefix: String,
    /// Events a second over all channels, max for as fast as it goes, 0 for none.
    #[arg(long, short = 'r', value_name = "N|max", default_value = "10")]
    rate: Rate,
    /// Connections that publish, each one request at a time.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    publishers: u16,
    /// Events in one publish, for hubs of this kind only.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// With --rate max: publishers wait while streams are so many events behind on average.
    #[arg(long, value_name = "EVENTS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// Bytes of an event's data.
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    size: u32,
    /// Seconds that are measured.
    #[arg(long, short = 's', value_name = "SECONDS", default_value_t = 10.0)]
    seconds: f64,
    /// Seconds of load before that.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    warm_up: f64,
    /// New streams a second at the start; without it as fast as they are answered.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    open_rate: Option<u32>,
    /// Streams besides that are read at 10 KiB/s.
    #[arg(long, value_name = "N", default_value_t = 0)]
    slow: usize,
    /// Streams besides that are not read at all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    stuck: usize,
    /// Every so many seconds cut a share of the streams, which all come back at once.
    #[arg(long, value_name = "SECONDS")]
    storm: Option<f64>,
    /// Which share of them, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=100))]
    storm_share: u8,
    /// The server's process, with those that it started; may be given several times. Found by itself on this machine.
    #[arg(long = "pid", value_name = "PID")]
    pids: Vec<u32>,
    /// The server's process is the one that listens on this port.
    #[arg(long, value_name = "PORT", conflicts_with = "pids")]
    pid_of_port: Option<u16>,
    /// One JSON object on standard output in place of the summary.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> ExitCode {
    let (is_json, plan) = (args.json, Plan::new(&args));
    let plan = match plan {
        Ok(plan) => plan,
        Err(fault) => {
            terminal::print_error(&fault);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    if let Err(fault) = stop_on_signals(Arc::clone(&stop)) {
        terminal::print_error(&format!("signals cannot be watched: {fault}"));
        return ExitCode::FAILURE;
    }
    // The load has a thread of its own, which waits for sockets only.
    let course = tokio::task::spawn_blocking(move || Course::new(plan, stop)?.run());
    match course.await {
        Ok(Ok(report)) => {
            terminal::print(&if is_json { report.json() } else { report.text() });
            if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(Err(fault)) => {
            terminal::print_error(&fault);
            ExitCode::FAILURE
        }
        Err(panic) => {
            terminal::print_error(&format!("the load ended by a fault of its own: {panic}"));
            ExitCode::FAILURE
        }
    }
}

/// The first signal ends the load early, the second one all.
fn stop_on_signals(stop: Arc<AtomicBool>) -> std::io::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
            if stop.swap(true, Ordering::Relaxed) {
                std::process::exit(EXIT_INTERRUPTED);
            }
            terminal::print_error(
                "stopping: waits for events under way, then reports; a second signal ends at once",
            );
        }
    });
    Ok(())
}

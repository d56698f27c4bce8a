//! `tidings bench`: puts a load on a server of Server-Sent Events, and reports its measurements.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{EXIT_INTERRUPTED, EXIT_USAGE};
use crate::terminal;

mod args;
mod endpoint;
mod figure_text;
mod plan;
mod process_monitor;
mod progress;
mod publish_load;
mod report;
mod requests;
mod state;
mod statistics;
mod streams;
mod template;
mod timeline;

pub(crate) use args::Args;
use plan::BenchPlan;
use timeline::Timeline;

/// Runs the command.
pub(crate) async fn run(args: Args) -> ExitCode {
    let (is_json, plan) = (args.json, BenchPlan::new(&args));
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
    // The load runs on a thread of its own, which blocks only on sockets.
    let timeline = tokio::task::spawn_blocking(move || Timeline::new(plan, stop)?.run());
    match timeline.await {
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

/// Ends the load early at the first signal, and the process at the second one.
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

#[cfg(test)]
mod tests;

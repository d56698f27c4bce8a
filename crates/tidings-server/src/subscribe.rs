//! `tidings subscribe`: prints the events of channels, and resumes by itself.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use serde::Serialize;
use tidings_client::{EndNotice, Error, GapNotice, Notification, Subscriber};
use tidings_protocol::body::GapReason;
use tokio::signal::unix::{SignalKind, signal};

use crate::error_hint::explain;
use crate::exit::fail;
use crate::hub_args::HubArgs;
use crate::terminal;

/// Print the events of channels and patterns.
///
/// Resumes by itself; prints gaps and reconnects on standard error.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Channels or patterns, e.g. project.42 or 'project.*'.
    #[arg(value_name = "CHANNEL", required = true)]
    channels: Vec<String>,
    #[command(flatten)]
    hub: HubArgs,
    /// Resume after this id.
    #[arg(long, value_name = "ID")]
    last_event_id: Option<String>,
    /// Number of stored events to replay first, or all.
    #[arg(long, value_name = "N|all", value_parser = parse_history)]
    history: Option<HistoryArg>,
    /// Print one JSON object per line: events, gaps, positions and ends.
    #[arg(long)]
    json: bool,
    /// Number of events after which the command ends.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Stored events to replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HistoryArg {
    All,
    Last(u64),
}

fn parse_history(text: &str) -> Result<HistoryArg, String> {
    match text {
        "all" => Ok(HistoryArg::All),
        _ => text.parse().map(HistoryArg::Last).map_err(|_| "is neither a number nor all".to_owned()),
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> ExitCode {
    if let Err(error) = exit_on_signals() {
        return fail(&format!("cannot watch for signals: {error}"));
    }
    let client = match args.hub.client() {
        Ok(client) => client,
        Err(error) => return fail(&error.to_string()),
    };
    let mut request = client.subscribe(&args.channels);
    if let Some(id) = &args.last_event_id {
        request = request.last_event_id(id);
    }
    request = match args.history {
        None => request,
        Some(HistoryArg::All) => request.history_all(),
        Some(HistoryArg::Last(events)) => request.history(events),
    };
    let patterns = args.channels.iter().map(|channel| format!("--subscribe '{channel}'"));
    let wanted = patterns.collect::<Vec<_>>().join(" ");
    let has_token = args.hub.has_token();
    let explain = |error: &Error| explain(error, has_token, &wanted);
    print_all(request.start(), args.json, args.count, explain).await
}

/// Exits with 0 at a signal, even while standard output blocks.
fn exit_on_signals() -> io::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        std::process::exit(0);
    });
    Ok(())
}

async fn print_all(
    mut subscriber: Subscriber,
    as_json: bool,
    count: Option<u64>,
    explain: impl Fn(&Error) -> String,
) -> ExitCode {
    let mut events = 0;
    while let Some(notification) = subscriber.next().await {
        let notification = match notification {
            Ok(notification) => notification,
            Err(error) => return fail(&explain(&error)),
        };
        if let Some(line) = note(&notification) {
            terminal::print_error(&line);
        }
        let printed = if as_json { json_line(&notification) } else { plain_line(&notification) };
        if let Some(line) = printed
            && let Err(error) = print(&line)
        {
            // A closed pipe is the end, not an error.
            let is_closed = error.kind() == ErrorKind::BrokenPipe;
            return if is_closed { ExitCode::SUCCESS } else { fail(&format!("cannot print: {error}")) };
        }
        if matches!(notification, Notification::Event(_)) {
            events += 1;
            if count == Some(events) {
                break;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Writes a line in one piece and flushes it.
fn print(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(line.as_bytes())?;
    output.flush()
}

fn plain_line(notification: &Notification) -> Option<String> {
    match notification {
        Notification::Event(event) => Some(format!("{}\n", event.data)),
        _ => None,
    }
}

/// A notification as a JSON object, with its members in this order.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum JsonLine<'a> {
    Event { id: Option<&'a str>, event: &'a str, data: &'a str },
    Position { id: &'a str },
    Gap(&'a GapNotice),
    End(&'a EndNotice),
}

fn json_line(notification: &Notification) -> Option<String> {
    let line = match notification {
        Notification::Event(event) => {
            JsonLine::Event { id: event.id.as_deref(), event: &event.name, data: &event.data }
        }
        Notification::Position(id) => JsonLine::Position { id },
        Notification::Gap(gap) => JsonLine::Gap(gap),
        Notification::End(end) => JsonLine::End(end),
        _ => return None,
    };
    let text = serde_json::to_string(&line).expect("text, numbers and words always serialise");
    Some(format!("{text}\n"))
}

/// Returns a line for standard error, unless the notification is an event or a position.
fn note(notification: &Notification) -> Option<String> {
    match notification {
        Notification::Gap(gap) if gap.reason == GapReason::Malformed => Some(
            "gap (malformed): the id cannot be read, so events may be missing; give an id as it was received, or --history"
                .to_owned(),
        ),
        Notification::Gap(gap) => Some(format!(
            "gap ({}): events of {} were lost; the stored ones follow",
            gap.reason.as_str(),
            gap.channels.join(", ")
        )),
        Notification::End(end) if !end.reconnect => {
            Some(format!("hub ended the stream: {}", end.reason.as_str()))
        }
        Notification::Reconnecting(notice) => {
            Some(format!("{}; reconnects in {:.1} s", notice.reason, notice.after.as_secs_f64()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;

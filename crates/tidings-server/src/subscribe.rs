//! `tidings subscribe`: prints what channels say, resuming by itself.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use serde::Serialize;
use tidings_client::{EndNotice, Error, GapNotice, Notification, Subscriber};
use tidings_protocol::body::GapReason;
use tokio::signal::unix::{SignalKind, signal};

use crate::error_hint::explain;
use crate::publish::{HubArgs, client_of};
use crate::terminal;

/// Print the events of channels and patterns as they come.
///
/// Resumes by itself; gaps and reconnects are told on standard error.
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
    /// First replay so many stored events, or all.
    #[arg(long, value_name = "N|all", value_parser = parse_history)]
    history: Option<HistoryRange>,
    /// One JSON object per line: events, gaps, positions and ends.
    #[arg(long)]
    json: bool,
    /// End after so many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// How much to replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HistoryRange {
    All,
    Last(u64),
}

fn parse_history(text: &str) -> Result<HistoryRange, String> {
    match text {
        "all" => Ok(HistoryRange::All),
        _ => text.parse().map(HistoryRange::Last).map_err(|_| "is neither a number nor all".to_owned()),
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> ExitCode {
    if let Err(fault) = exit_on_signals() {
        terminal::print_error(&format!("signals cannot be watched: {fault}"));
        return ExitCode::FAILURE;
    }
    let client = match client_of(&args.hub.url, args.hub.token.as_ref()) {
        Ok(client) => client,
        Err(fault) => return failed(&fault.to_string()),
    };
    let mut subscribe = client.subscribe(&args.channels);
    if let Some(id) = &args.last_event_id {
        subscribe = subscribe.last_event_id(id);
    }
    subscribe = match args.history {
        None => subscribe,
        Some(HistoryRange::All) => subscribe.history_all(),
        Some(HistoryRange::Last(events)) => subscribe.history(events),
    };
    let patterns = args.channels.iter().map(|channel| format!("--subscribe '{channel}'"));
    let wanted = patterns.collect::<Vec<_>>().join(" ");
    let has_token = args.hub.has_token();
    let explain = |fault: &Error| explain(fault, has_token, &wanted);
    print_all(subscribe.start(), args.json, args.count, explain).await
}

/// Ends the program well when the user has seen enough, even while standard output blocks.
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
    mut subscription: Subscriber,
    as_json: bool,
    count: Option<u64>,
    explain: impl Fn(&Error) -> String,
) -> ExitCode {
    let mut events = 0;
    while let Some(delivery) = subscription.next().await {
        let delivery = match delivery {
            Ok(delivery) => delivery,
            Err(fault) => return failed(&explain(&fault)),
        };
        if let Some(line) = aside(&delivery) {
            terminal::print_error(&line);
        }
        let printed = if as_json { json_line(&delivery) } else { plain_line(&delivery) };
        if let Some(line) = printed
            && let Err(fault) = print(&line)
        {
            // A reader that has gone has seen enough.
            let gone = fault.kind() == ErrorKind::BrokenPipe;
            return if gone { ExitCode::SUCCESS } else { failed(&format!("cannot print: {fault}")) };
        }
        if matches!(delivery, Notification::Event(_)) {
            events += 1;
            if count == Some(events) {
                break;
            }
        }
    }
    ExitCode::SUCCESS
}

fn failed(fault: &str) -> ExitCode {
    terminal::print_error(fault);
    ExitCode::FAILURE
}

/// Writes a line in one piece and lets it out at once.
fn print(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(line.as_bytes())?;
    output.flush()
}

fn plain_line(delivery: &Notification) -> Option<String> {
    match delivery {
        Notification::Event(event) => Some(format!("{}\n", event.data)),
        _ => None,
    }
}

/// A delivery as a JSON object; the members are written in this order.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum JsonLine<'a> {
    Event { id: Option<&'a str>, event: &'a str, data: &'a str },
    Position { id: &'a str },
    Gap(&'a GapNotice),
    End(&'a EndNotice),
}

fn json_line(delivery: &Notification) -> Option<String> {
    let line = match delivery {
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

/// What a person should know besides the events.
fn aside(delivery: &Notification) -> Option<String> {
    match delivery {
        Notification::Gap(gap) if gap.reason == GapReason::Malformed => Some(
            "gap (malformed): the id cannot be read, so events may be missing; give one as it was received, or --history"
                .to_owned(),
        ),
        Notification::Gap(gap) => Some(format!(
            "gap ({}): events of {} were lost; what is left follows",
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

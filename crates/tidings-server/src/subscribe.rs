//! `tidings subscribe`: prints what channels say, resuming by itself.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use serde::Serialize;
use tidings_client::{Delivery, EndNotice, Error, GapNotice, Subscription};
use tidings_protocol::body::GapReason;
use tokio::signal::unix::{SignalKind, signal};

use crate::publish::{HubArgs, client_of};
use crate::refusal::explained;
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
    history: Option<History>,
    /// One JSON object per line: events, gaps, positions and ends.
    #[arg(long)]
    json: bool,
    /// End after so many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// How much to replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum History {
    All,
    Last(u64),
}

fn parse_history(text: &str) -> Result<History, String> {
    match text {
        "all" => Ok(History::All),
        _ => text.parse().map(History::Last).map_err(|_| "is neither a number nor all".to_owned()),
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> ExitCode {
    if let Err(fault) = exit_on_signals() {
        terminal::complain(&format!("signals cannot be watched: {fault}"));
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
        Some(History::All) => subscribe.history_all(),
        Some(History::Last(events)) => subscribe.history(events),
    };
    let patterns = args.channels.iter().map(|channel| format!("--subscribe '{channel}'"));
    let wanted = patterns.collect::<Vec<_>>().join(" ");
    let has_token = args.hub.has_token();
    let explained = |fault: &Error| explained(fault, has_token, &wanted);
    print_all(subscribe.start(), args.json, args.count, explained).await
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
    mut subscription: Subscription,
    as_json: bool,
    count: Option<u64>,
    explained: impl Fn(&Error) -> String,
) -> ExitCode {
    let mut events = 0;
    while let Some(delivery) = subscription.next().await {
        let delivery = match delivery {
            Ok(delivery) => delivery,
            Err(fault) => return failed(&explained(&fault)),
        };
        if let Some(line) = aside(&delivery) {
            terminal::complain(&line);
        }
        let printed = if as_json { json_line(&delivery) } else { plain_line(&delivery) };
        if let Some(line) = printed
            && let Err(fault) = print(&line)
        {
            // A reader that has gone has seen enough.
            let gone = fault.kind() == ErrorKind::BrokenPipe;
            return if gone { ExitCode::SUCCESS } else { failed(&format!("cannot print: {fault}")) };
        }
        if matches!(delivery, Delivery::Event(_)) {
            events += 1;
            if count == Some(events) {
                break;
            }
        }
    }
    ExitCode::SUCCESS
}

fn failed(fault: &str) -> ExitCode {
    terminal::complain(fault);
    ExitCode::FAILURE
}

/// Writes a line in one piece and lets it out at once.
fn print(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(line.as_bytes())?;
    output.flush()
}

fn plain_line(delivery: &Delivery) -> Option<String> {
    match delivery {
        Delivery::Event(event) => Some(format!("{}\n", event.data)),
        _ => None,
    }
}

/// A delivery as a JSON object; the members are written in this order.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Event { id: Option<&'a str>, event: &'a str, data: &'a str },
    Position { id: &'a str },
    Gap(&'a GapNotice),
    End(&'a EndNotice),
}

fn json_line(delivery: &Delivery) -> Option<String> {
    let line = match delivery {
        Delivery::Event(event) => {
            Line::Event { id: event.id.as_deref(), event: &event.name, data: &event.data }
        }
        Delivery::Position(id) => Line::Position { id },
        Delivery::Gap(gap) => Line::Gap(gap),
        Delivery::End(end) => Line::End(end),
        _ => return None,
    };
    let text = serde_json::to_string(&line).expect("text, numbers and words always serialise");
    Some(format!("{text}\n"))
}

/// What a person should know besides the events.
fn aside(delivery: &Delivery) -> Option<String> {
    match delivery {
        Delivery::Gap(gap) if gap.reason == GapReason::Malformed => Some(
            "gap (malformed): the id cannot be read, so events may be missing; give one as it was received, or --history"
                .to_owned(),
        ),
        Delivery::Gap(gap) => Some(format!(
            "gap ({}): events of {} were lost; what is left follows",
            gap.reason.as_str(),
            gap.channels.join(", ")
        )),
        Delivery::End(end) if !end.reconnect => {
            Some(format!("hub ended the stream: {}", end.reason.as_str()))
        }
        Delivery::Reconnecting(notice) => {
            Some(format!("{}; reconnects in {:.1} s", notice.reason, notice.after.as_secs_f64()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;

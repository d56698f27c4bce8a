//! `tidings publish`: publishes one event, or one per line of standard input.

mod line_batches;
mod progress;

use std::io::BufReader;
use std::process::ExitCode;
use std::time::Duration;

use tidings_client::{Client, Error, Message, Priority, PublishAnswer};
use tidings_protocol::body::parse_ttl;
use tokio::sync::mpsc;

use crate::error_hint::explain;
use crate::exit::fail;
use crate::hub_args::HubArgs;
use crate::terminal;
use line_batches::{LineBatch, LineBatches};
use progress::PublishProgress;

/// Publish one event, or with - one per line of standard input.
///
/// Prints the id of every stored event. Without --idempotency-key nothing is sent twice, so a broken connection is
/// an error.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Channel to publish to, e.g. project.42.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// Data of the event, or - to read lines from standard input.
    #[arg(value_name = "DATA|-", allow_negative_numbers = true)]
    data: Option<String>,
    #[command(flatten)]
    hub: HubArgs,
    /// Name of the event; without it subscribers see `message`.
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Priority for subscribers that are behind: low, normal, high or critical.
    #[arg(long, value_name = "PRIORITY")]
    priority: Option<Priority>,
    /// Key: a subscriber that is behind gets only the newest event of a key.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Time to live in milliseconds; later the event is not delivered any more.
    #[arg(long, value_name = "MS", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    /// Do not store the event: only current subscribers get it, and it has no id.
    #[arg(long)]
    no_store: bool,
    /// Key that makes repeats harmless, so that the command retries; with - each line adds its number.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> ExitCode {
    let outcome = match args.data.as_deref() {
        None => Err("no data; give it as an argument, or - to read lines from standard input".to_owned()),
        Some("-") => publish_lines(&args).await,
        Some(data) => publish_one(&args, data).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn publish_one(args: &Args, data: &str) -> Result<(), String> {
    let client = args.hub.client().map_err(|error| error.to_string())?;
    let mut message = args.message(data);
    if let Some(key) = &args.idempotency_key {
        message = message.idempotency_key(key);
    }
    let answer = client.publish_message(message).send().await.map_err(|error| args.explain(&error))?;
    print_ids(&[answer]);
    Ok(())
}

/// Publishes standard input batch by batch, in order. The next batch is read while the current one is sent.
async fn publish_lines(args: &Args) -> Result<(), String> {
    let client = args.hub.client().map_err(|error| error.to_string())?;
    // Each batch in the channel holds the lines of one read, so little is read ahead.
    let (sender, receiver) = mpsc::channel(16);
    // Its own thread: a read from a terminal cannot be cancelled, and must not delay the end.
    std::thread::spawn(move || {
        line_batches::read(&mut BufReader::with_capacity(256 * 1024, std::io::stdin()), |batch| {
            sender.blocking_send(batch).is_ok()
        });
    });
    let mut batches = LineBatches::new(receiver);
    let mut progress = PublishProgress::new();
    let outcome = async {
        while let Some(batch) = batches.next().await {
            let answers = publish_batch(args, &client, &batch).await?;
            progress.add(&answers);
            if let Some(error) = batch.error {
                return Err(format!("line {}: {error}", batch.first + batch.lines.len()));
            }
        }
        Ok(())
    }
    .await;
    progress.finish();
    outcome
}

/// Publishes a batch. If a line is bad, the lines before it are published, whatever the batches are.
async fn publish_batch(
    args: &Args,
    client: &Client,
    batch: &LineBatch,
) -> Result<Vec<PublishAnswer>, String> {
    let message_of = |(index, line): (usize, &String)| match &args.idempotency_key {
        Some(key) => args.message(line).idempotency_key(format!("{key}-{}", batch.first + index)),
        None => args.message(line),
    };
    let range_error = |error: Error| format!("{}: {}", batch.range(), args.explain(&error));
    let mut messages: Vec<Message> = batch.lines.iter().enumerate().map(message_of).collect();
    match client.publish_batch(messages.clone()).await {
        Ok(answers) => {
            print_ids(&answers);
            Ok(answers)
        }
        Err(error) => {
            let Some(index) = error.index().filter(|index| *index < messages.len()) else {
                return Err(range_error(error));
            };
            messages.truncate(index);
            print_ids(&client.publish_batch(messages).await.map_err(range_error)?);
            let published = "lines before it are published, those from it on are not";
            Err(format!("line {}: {}; {published}", batch.first + index, args.explain(&error)))
        }
    }
}

impl Args {
    /// Returns an error of the hub, with advice.
    fn explain(&self, error: &Error) -> String {
        explain(error, self.hub.has_token(), &format!("--publish '{}'", self.channel))
    }

    /// Returns the event with this data, without an idempotency key.
    fn message(&self, data: &str) -> Message {
        let mut message = Message::new(&self.channel).data(data).store(!self.no_store);
        if let Some(name) = &self.event {
            message = message.event(name);
        }
        if let Some(priority) = self.priority {
            message = message.priority(priority);
        }
        if let Some(key) = &self.key {
            message = message.key(key);
        }
        if let Some(ttl) = self.ttl {
            message = message.ttl(ttl);
        }
        message
    }
}

/// Prints the ids of stored events, one per line.
fn print_ids(answers: &[PublishAnswer]) {
    let ids = answers.iter().filter_map(|answer| answer.id.as_deref());
    terminal::print(&ids.flat_map(|id| [id, "\n"]).collect::<String>());
}

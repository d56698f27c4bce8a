//! `tidings publish`: sends one event, or one per line of standard input.

use std::convert::Infallible;
use std::fmt;
use std::io::{BufReader, IsTerminal, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use tidings_client::{Client, Error, Message, Priority, PublishAnswer};
use tidings_protocol::body::parse_ttl;
use tokio::sync::mpsc;

use crate::error_hint::explain;
use crate::terminal;

mod line_batches;

use line_batches::{LineBatch, LineBatches};

/// Publish one event, or with - one per line of standard input.
///
/// Prints the id of every stored event. Without --idempotency-key nothing is sent twice, so a broken connection is
/// an error.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Channel to publish to, e.g. project.42.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// The event's data, or - to read lines from standard input.
    #[arg(value_name = "DATA|-", allow_negative_numbers = true)]
    data: Option<String>,
    #[command(flatten)]
    hub: HubArgs,
    /// Name of the event; without it subscribers see `message`.
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// How the event competes where a subscriber is behind: low, normal, high or critical.
    #[arg(long, value_name = "PRIORITY")]
    priority: Option<Priority>,
    /// Where a subscriber is behind, it gets only the newest event of a key.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Milliseconds after which the event is not delivered any more.
    #[arg(long, value_name = "MS", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    /// Reach only those who listen now; the event gets no id.
    #[arg(long)]
    no_store: bool,
    /// Makes a repeat harmless, so that it is tried again by itself; with - each line's number is added.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// Where a hub is that was started without settings.
pub(crate) const URL_DEFAULT: &str = "http://127.0.0.1:8000";

/// Which hub, and who asks.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct HubArgs {
    /// The hub.
    #[arg(long, env = "TIDINGS_URL", default_value = URL_DEFAULT, value_name = "URL")]
    pub(crate) url: String,
    /// Token or API key.
    #[arg(long, env = "TIDINGS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<BearerToken>,
}

impl HubArgs {
    /// Whether a token is sent.
    pub(crate) fn has_token(&self) -> bool {
        self.bearer().is_some()
    }

    /// The token that is sent. An empty one is none, as an unset variable often comes as an empty one.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.token.as_ref().map(BearerToken::text).filter(|token| !token.is_empty())
    }
}

/// A token that is not shown.
#[derive(Clone)]
pub(crate) struct BearerToken(String);

impl BearerToken {
    /// The token itself.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FromStr for BearerToken {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

/// A client of the hub at `url`. An empty token is none, as an unset variable often comes as an empty one.
pub(crate) fn client_of(url: &str, token: Option<&BearerToken>) -> Result<Client, Error> {
    let mut builder = Client::builder(url);
    if let Some(BearerToken(token)) = token.filter(|token| !token.0.is_empty()) {
        builder = builder.token(token);
    }
    builder.build()
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
        Err(fault) => {
            terminal::print_error(&fault);
            ExitCode::FAILURE
        }
    }
}

async fn publish_one(args: &Args, data: &str) -> Result<(), String> {
    let client = client_of(&args.hub.url, args.hub.token.as_ref()).map_err(|fault| fault.to_string())?;
    let mut message = args.message(data);
    if let Some(key) = &args.idempotency_key {
        message = message.idempotency_key(key);
    }
    let answer = client.publish_message(message).send().await.map_err(|fault| args.explain(&fault))?;
    say_ids(&[answer]);
    Ok(())
}

/// Publishes standard input batch by batch, in order; the next batch is read while one is under way.
async fn publish_lines(args: &Args) -> Result<(), String> {
    let client = client_of(&args.hub.url, args.hub.token.as_ref()).map_err(|fault| fault.to_string())?;
    // A few portions of one read each: what is read ahead stays small.
    let (sender, receiver) = mpsc::channel(16);
    // A thread of its own, because a read from a terminal cannot be cancelled and must not hold up the end.
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
            if let Some(fault) = batch.fault {
                return Err(format!("line {}: {fault}", batch.first + batch.lines.len()));
            }
        }
        Ok(())
    }
    .await;
    progress.finish();
    outcome
}

/// Publishes a batch; of one with a bad line, the lines before it, so that where it stops depends on no timing.
async fn publish_batch(
    args: &Args,
    client: &Client,
    batch: &LineBatch,
) -> Result<Vec<PublishAnswer>, String> {
    let message_of = |(index, line): (usize, &String)| match &args.idempotency_key {
        Some(key) => args.message(line).idempotency_key(format!("{key}-{}", batch.first + index)),
        None => args.message(line),
    };
    let mut messages: Vec<Message> = batch.lines.iter().enumerate().map(message_of).collect();
    match client.publish_batch(messages.clone()).await {
        Ok(answers) => {
            say_ids(&answers);
            Ok(answers)
        }
        Err(fault) => {
            let Some(index) = fault.index().filter(|index| *index < messages.len()) else {
                return Err(format!("{}: {}", batch.range(), args.explain(&fault)));
            };
            messages.truncate(index);
            let before = client.publish_batch(messages).await;
            let answers = before.map_err(|fault| format!("{}: {}", batch.range(), args.explain(&fault)))?;
            say_ids(&answers);
            let published = "lines before it are published, those from it on are not";
            Err(format!("line {}: {}; {published}", batch.first + index, args.explain(&fault)))
        }
    }
}

impl Args {
    /// A fault of the hub, with the way out where a credential or a right is wanting.
    fn explain(&self, fault: &Error) -> String {
        explain(fault, self.hub.has_token(), &format!("--publish '{}'", self.channel))
    }

    /// The event with this data, without an idempotency key.
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
fn say_ids(answers: &[PublishAnswer]) {
    let mut text = String::new();
    for id in answers.iter().filter_map(|answer| answer.id.as_deref()) {
        text.push_str(id);
        text.push('\n');
    }
    terminal::print(&text);
}

/// A running count on a terminal; nothing in a pipe.
struct PublishProgress {
    shown: bool,
    began: Instant,
    told: Instant,
    events: u64,
}

impl PublishProgress {
    fn new() -> Self {
        let now = Instant::now();
        Self { shown: std::io::stderr().is_terminal(), began: now, told: now, events: 0 }
    }

    fn add(&mut self, answers: &[PublishAnswer]) {
        self.events += answers.len() as u64;
        // Ids on the same terminal are progress enough.
        if self.shown && !std::io::stdout().is_terminal() && self.told.elapsed() > Duration::from_millis(200)
        {
            self.told = Instant::now();
            let _gone = write!(std::io::stderr(), "\r\x1b[K{}", self.text());
        }
    }

    fn finish(&self) {
        if self.shown {
            let _gone = writeln!(std::io::stderr(), "\r\x1b[K{}", self.text());
        }
    }

    fn text(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        let plural = if self.events == 1 { "" } else { "s" };
        format!(
            "published {} event{plural} in {seconds:.1} s ({:.0}/s)",
            self.events,
            self.events as f64 / seconds.max(0.001)
        )
    }
}

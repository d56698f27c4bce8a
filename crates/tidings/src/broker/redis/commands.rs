//! The calls that a node makes.

mod pool;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidings_protocol::{ChannelName, Epoch, Pattern};

use self::pool::ConnectionPool;
use super::{
    PubsubConnection, RedisKeys, StreamReader,
    append_call::{self, Append, AppendError, AppendOutcome, Appended, CaptureAppend, LastSeen},
    connector::Connector,
    epochs::{self, BeginOutcome, EpochStart, NewEpoch, RedisHead},
    error::{ErrorReply, RedisError, into_result},
    mirror::Mirror,
    node_messages::{LiveEvent, NodeMessage},
    page_size::PageSize,
    pubsub::PubsubTarget,
    record::{self, RedisEntry},
    resp::{RedisCommand, RedisReply},
    scripts::{ACQUIRE_LEASE, APPEND, BEGIN, HEAD, PUBLISH_TRANSIENT, RELEASE_LEASE, Script, TRIM},
    server::{RedisEndpoint, TlsFiles},
};
use crate::{config::Secret, error::Error, metrics::Histogram};

/// How to speak to Redis.
#[derive(Debug, Clone)]
pub(crate) struct RedisOptions {
    pub(crate) url: Secret,
    /// Used where the URL asks for TLS.
    pub(crate) tls_files: TlsFiles,
    /// Before the names of all keys.
    pub(crate) prefix: String,
    /// How long one call may take.
    pub(crate) deadline: Duration,
    /// Replicas that hold a batch before it is answered.
    pub(crate) replicas_min: u32,
    /// How long an idempotency key is known.
    pub(crate) idempotency_window: Duration,
    /// Channels whose events are published for other programs.
    pub(crate) mirror: Vec<Pattern>,
    /// Counts the durations of calls.
    pub(crate) round_trips: Histogram,
}

/// What a trim left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trimmed {
    /// None where the log is empty.
    pub(crate) oldest: Option<u64>,
    /// What the log took before, as Redis estimates it.
    pub(crate) bytes: u64,
    pub(crate) dropped: u64,
}

/// Speaks to one Redis. Shared; opens connections as they are needed.
pub(crate) struct RedisLog {
    keys: RedisKeys,
    replicas_min: u32,
    window_ms: u64,
    append: Script,
    say: Script,
    claim: Script,
    release: Script,
    head: Script,
    begin: Script,
    trim: Script,
    mirror: Mirror,
    page_size: Arc<PageSize>,
    pool: ConnectionPool,
}

impl RedisLog {
    /// Reads the options; connects with the first call.
    ///
    /// # Errors
    /// When the URL or the file is not good.
    pub(crate) fn new(options: &RedisOptions) -> Result<Self, Error> {
        let server = RedisEndpoint::parse(options.url.reveal(), &options.tls_files)?;
        let keys = RedisKeys::new(&options.prefix, server.address.database);
        Ok(Self {
            pool: ConnectionPool::new(
                Arc::new(Connector::new(server, &keys.log, options.deadline)),
                options.round_trips.clone(),
            ),
            keys,
            replicas_min: options.replicas_min,
            window_ms: u64::try_from(options.idempotency_window.as_millis()).unwrap_or(u64::MAX),
            append: Script::new(APPEND),
            say: Script::new(PUBLISH_TRANSIENT),
            claim: Script::new(ACQUIRE_LEASE),
            release: Script::new(RELEASE_LEASE),
            head: Script::new(HEAD),
            begin: Script::new(BEGIN),
            trim: Script::new(TRIM),
            page_size: Arc::new(PageSize::new()),
            mirror: Mirror::new(options.mirror.clone()),
        })
    }

    /// Follows the log on a connection of its own.
    pub(crate) fn stream_reader(&self) -> StreamReader {
        StreamReader::new(self.pool.connector.clone(), self.keys.log.clone(), self.page_size.clone())
    }

    /// Hears Pub/Sub on a connection of its own, `first` before all else; passes over payloads above so many bytes.
    pub(crate) fn pubsub(&self, first: PubsubTarget, payload_bytes_max: usize) -> PubsubConnection {
        PubsubConnection::new(self.pool.connector.clone(), first, payload_bytes_max)
    }

    /// The channel of events that are not stored.
    pub(crate) fn live_channel(&self) -> &str {
        &self.keys.live
    }

    pub(super) fn keys(&self) -> &RedisKeys {
        &self.keys
    }

    /// Connections opened since the start, tails' and ears' too.
    pub(crate) fn connections_opened(&self) -> u64 {
        self.pool.connector.connections_opened()
    }

    /// Appends a batch, whole, in one step: nobody sees a part of it, and nothing comes between. What is mirrored is
    /// published in the same step.
    ///
    /// # Errors
    /// [`AppendError::Refused`] where the appender's knowledge of the log is not the log's; else see [`Fault`]. Unknown also
    /// where fewer replicas than asked for hold it in time.
    pub(crate) async fn append(
        &self,
        batch: &[Append],
        witness: LastSeen,
    ) -> Result<Vec<AppendOutcome>, AppendError> {
        self.append_as(batch, witness, None).await
    }

    /// Appends captured messages, if he still captures who does this, and nobody else has appended any since. Answers the
    /// place of the last.
    pub(super) async fn append_captured(
        &self,
        messages: Append,
        witness: LastSeen,
        capture: CaptureAppend<'_>,
    ) -> Result<Appended, AppendError> {
        let outcomes = self.append_as(&[messages], witness, Some(capture)).await?;
        match outcomes.last() {
            Some(AppendOutcome::Appended(appended)) if !appended.is_empty() => {
                Ok(appended[appended.len() - 1])
            }
            _ => {
                Err(RedisError::OutcomeUnknown("redis does not say where it appended messages".into()).into())
            }
        }
    }

    async fn append_as(
        &self,
        batch: &[Append],
        witness: LastSeen,
        capture: Option<CaptureAppend<'_>>,
    ) -> Result<Vec<AppendOutcome>, AppendError> {
        let call = append_call::AppendCall {
            script: &self.append,
            keys: &self.keys,
            witness,
            window_ms: self.window_ms,
            capture,
            // Other programs have heard what is captured.
            mirror: if capture.is_none() { Some(&self.mirror) } else { None },
        };
        let mut commands = vec![call.command(batch)];
        if self.replicas_min > 0 {
            let wait_ms = (self.pool.connector.deadline().as_millis() / 2).max(1);
            let wait = RedisCommand::new("WAIT").arg(self.replicas_min.to_string()).arg(wait_ms.to_string());
            commands.push(wait);
        }
        let mut replies = self.run(&self.append, commands).await?.into_iter();
        let (outcomes, rest) = append_call::outcomes(&first(&mut replies)?, batch)?;
        self.mirror.note_reply(rest.as_ref());
        match replies.next().map(|reply| reply.number().unwrap_or(0)) {
            Some(replicas) if replicas < u64::from(self.replicas_min) => {
                Err(RedisError::OutcomeUnknown(format!(
                    "{replicas} replicas hold the batch; redis.replicas_min asks for {}",
                    self.replicas_min
                ))
                .into())
            }
            _ => Ok(outcomes),
        }
    }

    /// Where the log stands, and which server it is on.
    pub(crate) async fn head(&self) -> Result<RedisHead, RedisError> {
        let command = epochs::head_command(&self.head, &self.keys);
        epochs::head(&self.run_one(&self.head, command).await?)
    }

    /// Begins the log, where there is none.
    #[cfg(test)]
    pub(crate) async fn begin(&self, first: NewEpoch) -> Result<BeginOutcome, RedisError> {
        self.begin_log(first, None).await
    }

    /// Begins the log, where there is none. With `lost`, the row tells of a loss: of `lost.0`, entries up to `lost.1` had been
    /// seen.
    pub(crate) async fn begin_log(
        &self,
        first: NewEpoch,
        lost: Option<(Epoch, u64)>,
    ) -> Result<BeginOutcome, RedisError> {
        self.begin_at(EpochStart::Nothing, first, lost).await
    }

    /// Begins a log anew that lacks a part, and removes what is left of it.
    pub(crate) async fn begin_anew(
        &self,
        first: NewEpoch,
        lost: Option<(Epoch, u64)>,
    ) -> Result<BeginOutcome, RedisError> {
        self.begin_at(EpochStart::Remains, first, lost).await
    }

    /// The policy by which Redis evicts keys where it is full; none where it does not say.
    pub(crate) async fn eviction_policy(&self) -> Result<Option<String>, RedisError> {
        let info = self.request_one(RedisCommand::new("INFO").arg("memory")).await?;
        let policy = info.str().and_then(|text| {
            text.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::trim)
        });
        Ok(policy.map(str::to_owned))
    }

    /// Begins an epoch at the head, if `expected` is the newest.
    pub(crate) async fn begin_epoch(
        &self,
        expected: Epoch,
        new: NewEpoch,
    ) -> Result<BeginOutcome, RedisError> {
        self.begin_at(EpochStart::HeadOf(expected), new, None).await
    }

    /// Begins an epoch that tells of a loss: of `lost.0`, entries up to `lost.1` had been seen. Once for each such pair.
    pub(crate) async fn report_loss(
        &self,
        expected: Epoch,
        lost: (Epoch, u64),
        new: NewEpoch,
    ) -> Result<BeginOutcome, RedisError> {
        self.begin_at(EpochStart::HeadOf(expected), new, Some(lost)).await
    }

    async fn begin_at(
        &self,
        at: EpochStart,
        new: NewEpoch,
        of: Option<(Epoch, u64)>,
    ) -> Result<BeginOutcome, RedisError> {
        let command = epochs::begin(&self.begin, &self.keys, at, new, of);
        epochs::begun(&self.run_one(&self.begin, command).await?)
    }

    /// Reads entries from an offset on, oldest first, at most so many.
    pub(crate) async fn range(&self, from: u64, count: usize) -> Result<Vec<RedisEntry>, RedisError> {
        let command = RedisCommand::new("XRANGE").arg(&self.keys.log).arg(format!("{from}-0")).arg("+");
        let reply = self.request_one(command.arg("COUNT").arg(count.to_string())).await?;
        record::decode_all(&reply)
    }

    /// How many entries to ask for at once, as far as answers have told.
    pub(super) fn page_size(&self) -> &PageSize {
        &self.page_size
    }

    /// Drops entries that are older than `age_ms` by the clock of Redis, if an age is given, and the oldest above `bytes_max`;
    /// roughly, and at most 100,000 at once.
    pub(crate) async fn trim(&self, age_ms: Option<u64>, bytes_max: u64) -> Result<Trimmed, RedisError> {
        let mut command = self.trim.call(2);
        command.push(&self.keys.log);
        command.push(&self.keys.meta);
        command.push(age_ms.map(|age| age.to_string()).unwrap_or_default());
        command.push_number(bytes_max);
        let reply = self.run_one(&self.trim, command).await?;
        let numbers: Vec<_> =
            reply.array().unwrap_or_default().iter().filter_map(RedisReply::number).collect();
        let [oldest, bytes, dropped] = numbers[..] else {
            return Err(RedisError::corrupt("the script that trims answered something else"));
        };
        Ok(Trimmed { oldest: Some(oldest).filter(|oldest| *oldest > 0), bytes, dropped })
    }

    /// Tells events that are not stored to every node, in their order and in one round trip, and to other programs where they
    /// are mirrored. Answers for each whether Redis took it.
    pub(super) async fn publish_live(
        &self,
        events: &[&LiveEvent],
    ) -> Result<Vec<Result<(), RedisError>>, RedisError> {
        let mirrored: Vec<Vec<&ChannelName>> = events
            .iter()
            .map(|live| live.channels.iter().filter(|channel| self.mirror.has(channel)).collect())
            .collect();
        let mut commands = Vec::with_capacity(events.len() + 1);
        let needs_script = mirrored.iter().any(|channels| !channels.is_empty());
        if needs_script {
            // A call that is refused for the lack of its script would come behind those that were sent after it.
            commands.push(self.say.load());
        }
        commands.extend(events.iter().zip(&mirrored).map(|(live, channels)| {
            if channels.is_empty() {
                return RedisCommand::new("PUBLISH").arg(&self.keys.live).arg(live.encode());
            }
            let mut command = self.say.call(0).arg(&self.keys.live).arg(live.encode()).arg(&live.data);
            channels.iter().for_each(|channel| command.push(channel.as_str()));
            command
        }));
        let preparations = usize::from(needs_script);
        let replies = self.pool.request(&commands, preparations).await?.into_iter().skip(preparations);
        let outcomes = replies.zip(&mirrored).map(|(reply, channels)| {
            let reply = into_result(reply)?;
            if !channels.is_empty() {
                self.mirror.note_reply(reply.array().unwrap_or_default().first());
            }
            Ok(())
        });
        Ok(outcomes.collect())
    }

    /// Says something to every node.
    pub(super) async fn send_node_message(&self, word: &NodeMessage) -> Result<(), RedisError> {
        self.request_one(RedisCommand::new("PUBLISH").arg(&self.keys.live).arg(word.encode())).await?;
        Ok(())
    }

    /// Times that Redis refused to publish what is mirrored.
    pub(crate) fn mirror_denied(&self) -> u64 {
        self.mirror.denied_count()
    }

    /// Asks to capture for so long, or to go on, for one who has heard all since any of these marks, and else waits for one who has: answers whether it is so, and
    /// the place up to which messages are in the log.
    pub(super) async fn acquire_lease(
        &self,
        holder: &str,
        lease: Duration,
        patience: Duration,
        marks: &[u64],
    ) -> Result<(bool, String), RedisError> {
        let RedisKeys { lease: key, captured, free, live, .. } = &self.keys;
        let [lease, patience] = [lease, patience].map(|it| it.as_millis().to_string());
        let mut command = self.claim.call(3).arg(key).arg(captured).arg(free);
        command = command.arg(holder).arg(lease).arg(patience).arg(live);
        marks.iter().for_each(|mark| command.push(format!("{mark:016x}")));
        let reply = self.run_one(&self.claim, command).await?;
        let Some([mine, place]) = reply.array() else {
            return Err(RedisError::corrupt("the script that captures answered something else"));
        };
        Ok((mine.number() == Some(1), place.str().unwrap_or_default().to_owned()))
    }

    /// Captures no more, and says so.
    pub(super) async fn release_lease(&self, holder: &str) -> Result<(), RedisError> {
        let command = self.release.call(1).arg(&self.keys.lease).arg(holder).arg(&self.keys.live);
        self.run_one(&self.release, command.arg(NodeMessage::Free.encode())).await.map(drop)
    }

    /// Keeps a value for so long.
    pub(crate) async fn set(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), RedisError> {
        let command = RedisCommand::new("SET").arg(self.keys.shared_table(key)).arg(value);
        self.request_one(command.arg("PX").arg(ttl.as_millis().max(1).to_string())).await?;
        Ok(())
    }

    /// Reads a value.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>, RedisError> {
        Ok(value(self.request_one(RedisCommand::new("GET").arg(self.keys.shared_table(key))).await?))
    }

    /// Reads a value and removes it: of all who take it, one gets it.
    pub(crate) async fn take(&self, key: &str) -> Result<Option<Bytes>, RedisError> {
        Ok(value(self.request_one(RedisCommand::new("GETDEL").arg(self.keys.shared_table(key))).await?))
    }

    pub(super) async fn run_one(
        &self,
        script: &Script,
        command: RedisCommand,
    ) -> Result<RedisReply, RedisError> {
        first(&mut self.run(script, vec![command]).await?.into_iter())
    }

    /// Runs commands of which the first calls a script, which is made known to the server first where it is not.
    pub(super) async fn run(
        &self,
        script: &Script,
        mut commands: Vec<RedisCommand>,
    ) -> Result<Vec<RedisReply>, RedisError> {
        let replies = self.pool.request(&commands, 0).await?;
        if !matches!(&replies[0], RedisReply::Error(error) if ErrorReply::parse(error).code == "NOSCRIPT") {
            return Ok(replies);
        }
        commands.insert(0, script.load());
        let mut replies = self.pool.request(&commands, 1).await?;
        replies.remove(0);
        Ok(replies)
    }

    async fn request_one(&self, command: RedisCommand) -> Result<RedisReply, RedisError> {
        first(&mut self.request(&[command]).await?.into_iter())
    }

    /// Sends commands and waits for their replies: see [`ConnectionPool::ask`].
    pub(super) async fn request(&self, commands: &[RedisCommand]) -> Result<Vec<RedisReply>, RedisError> {
        self.pool.request(commands, 0).await
    }

    /// Lets go of connections that nobody is using: they may be dead without showing it.
    pub(crate) fn drop_idle(&self) {
        self.pool.drop_idle();
    }
}

fn first(replies: &mut impl Iterator<Item = RedisReply>) -> Result<RedisReply, RedisError> {
    into_result(replies.next().expect("each command has its reply"))
}

fn value(reply: RedisReply) -> Option<Bytes> {
    match reply {
        RedisReply::Text(bytes) => Some(bytes),
        _ => None,
    }
}

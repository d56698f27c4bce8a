//! Small state that all nodes share: tables of rows, each a hash in Redis, with a version that every change renews.
//!
//! A version is a random name and no number: what was lost and written anew is never taken for what was there. A change is
//! one step: the row, its end, the table's version, and the message that tells the nodes.

mod replica;

use std::{collections::HashMap, sync::Arc};

use super::{
    RedisLog,
    error::{RedisError, into_result},
    record::hex,
    resp::{RedisCommand, RedisReply},
    scripts::{Script, TABLE_CHANGE, TABLE_PAGE, TABLE_SWEEP},
};

pub(crate) use self::replica::{TableChange, TableReplica};

/// Rows of a table.
const ROWS_MAX: u64 = 100_000;
/// Rows that are read at once, about: half a megabyte of revocations.
const PAGE_ROWS: &str = "2000";
/// How often such a part is asked for before the read is given up.
const PAGE_ATTEMPTS: usize = 3;
/// Changes on their way at once.
const CHANGES_AT_ONCE: usize = 100;
/// Rows whose time is over that one change takes away, and one sweep.
const SWEPT_BY_CHANGE: u64 = 10;
const SWEPT_MAX: u64 = 1000;

/// The name of what a row, or a table, was at one time. That of a table without rows is 0: a table whose rows were evicted
/// has another version than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RowVersion(u64);

impl RowVersion {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() { Some(Self(0)) } else { hex(text, 16).map(Self) }
    }
}

impl std::fmt::Display for RowVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, "{:016x}", self.0) }
    }
}

/// A row that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableRow {
    pub(crate) key: String,
    pub(crate) version: RowVersion,
    pub(crate) value: String,
}

impl TableRow {
    fn parse(key: &str, text: &str) -> Option<Self> {
        let (head, value) = text.split_once(' ')?;
        let version = head.split_once('@').map_or(head, |(version, _until)| version);
        Some(Self { key: key.to_owned(), version: RowVersion::parse(version)?, value: value.to_owned() })
    }
}

/// A row to put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConditionalPut {
    pub(crate) key: String,
    pub(crate) value: String,
    /// When it ends, in milliseconds since 1970; none where it does not.
    pub(crate) until: Option<u64>,
    /// What is to be there: 0 for nothing.
    pub(crate) expected: RowVersion,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PutOutcome {
    Done,
    /// This is there instead, and stays.
    Other(Option<TableRow>),
    /// There is no room for another row.
    Full,
}

/// One table.
pub(crate) struct SharedTable {
    redis_log: Arc<RedisLog>,
    name: &'static str,
    pub(super) rows_max: u64,
    random: fn() -> u64,
    page: Script,
    change: Script,
    sweep: Script,
}

impl SharedTable {
    pub(super) fn new(redis_log: Arc<RedisLog>, name: &'static str, random: fn() -> u64) -> Self {
        let (page, change, sweep) = (Script::new(TABLE_PAGE), Script::new(TABLE_CHANGE), Script::new(TABLE_SWEEP));
        Self { redis_log, name, rows_max: ROWS_MAX, random, page, change, sweep }
    }

    /// Puts rows, each if what is there is as expected. Milliseconds since 1970 say which rows are over.
    ///
    /// # Errors
    /// [`Fault::NotDone`] only when no row was put.
    pub(crate) async fn put_if(
        &self,
        puts: &[ConditionalPut],
        now: u64,
    ) -> Result<Vec<PutOutcome>, RedisError> {
        let mut outcomes = Vec::with_capacity(puts.len());
        match self.put_all(puts, now, &mut outcomes).await {
            Ok(()) => Ok(outcomes),
            Err(RedisError::NotApplied(fact)) if outcomes.contains(&PutOutcome::Done) => {
                Err(RedisError::OutcomeUnknown(fact))
            }
            Err(fault) => Err(fault),
        }
    }

    async fn put_all(
        &self,
        puts: &[ConditionalPut],
        now: u64,
        outcomes: &mut Vec<PutOutcome>,
    ) -> Result<(), RedisError> {
        for puts in puts.chunks(CHANGES_AT_ONCE) {
            let commands = puts.iter().map(|put| self.command(put, &put.expected.to_string(), now));
            let replies = self.redis_log.run(&self.change, commands.collect()).await?;
            let mut failed = Ok(());
            for (reply, put) in replies.into_iter().zip(puts) {
                match outcome(reply, &put.key) {
                    Ok(outcome) => outcomes.push(outcome),
                    Err(fault) => failed = Err(fault),
                }
            }
            failed?;
        }
        Ok(())
    }

    /// Puts a row, whatever is there.
    #[cfg(test)]
    pub(super) async fn put(&self, put: &ConditionalPut, now: u64) -> Result<PutOutcome, RedisError> {
        self.change(put, "*", now).await
    }

    /// Takes a row away, whatever it is.
    #[cfg(test)]
    pub(super) async fn remove(&self, key: &str, now: u64) -> Result<PutOutcome, RedisError> {
        let nothing =
            ConditionalPut { key: key.into(), value: String::new(), until: None, expected: RowVersion(0) };
        self.change(&nothing, "*", now).await
    }

    #[cfg(test)]
    async fn change(&self, put: &ConditionalPut, expected: &str, now: u64) -> Result<PutOutcome, RedisError> {
        let replies = self.redis_log.run(&self.change, vec![self.command(put, expected, now)]).await?;
        outcome(replies.into_iter().next().expect("each command has its reply"), &put.key)
    }

    fn command(&self, put: &ConditionalPut, expected: &str, now: u64) -> RedisCommand {
        let keys = self.redis_log.keys();
        let version = RowVersion((self.random)().max(1));
        let until = put.until.map(|at| format!("@{at}")).unwrap_or_default();
        let row =
            if put.value.is_empty() { String::new() } else { format!("{version}{until} {}", put.value) };
        let mut command = self.change.call(3);
        for key in [&keys.shared_table(self.name), &keys.ends(self.name), &keys.versions] {
            command.push(key);
        }
        for argument in [self.name, &keys.changes, &put.key, expected, &version.to_string(), &row] {
            command.push(argument);
        }
        command.push(put.until.map(|at| at.to_string()).unwrap_or_default());
        command.push_number(now);
        command.push_number(SWEPT_BY_CHANGE);
        command.push_number(self.rows_max);
        command
    }

    /// All rows, and the version that the table was when this began to read: what changed since shows by another version.
    pub(crate) async fn all(&self) -> Result<(RowVersion, Vec<TableRow>), RedisError> {
        let (version, mut from, mut rows) = self.page("0").await?;
        while from != "0" {
            let (_, next, more) = self.page(&from).await?;
            rows.extend(more);
            from = next;
        }
        Ok((version, rows.into_values().collect()))
    }

    /// The version, from where to go on, and some rows by their keys: a row may come twice. Other connections go on where one
    /// broke, so a link that brings no table at once brings it in parts.
    async fn page(&self, from: &str) -> Result<(RowVersion, String, HashMap<String, TableRow>), RedisError> {
        let keys = self.redis_log.keys();
        let mut command = self.page.call(2).arg(&keys.versions).arg(keys.shared_table(self.name));
        for argument in [self.name, from, PAGE_ROWS] {
            command.push(argument);
        }
        let mut attempts = 1;
        let reply = loop {
            match self.redis_log.run_one(&self.page, command.clone()).await {
                Err(RedisError::OutcomeUnknown(_)) if attempts < PAGE_ATTEMPTS => attempts += 1,
                other => break other?,
            }
        };
        let Some([version, next, rows]) = reply.array() else {
            return Err(RedisError::corrupt("the script that reads a table answered something else"));
        };
        let next =
            next.str().ok_or_else(|| RedisError::corrupt("a table says not where it goes on"))?.to_owned();
        let rows = pairs(rows)?.filter_map(|(key, row)| Some((key.to_owned(), TableRow::parse(key, row)?)));
        Ok((version_of(version)?, next, rows.collect()))
    }

    /// Takes away rows whose time is over.
    pub(super) async fn sweep(&self, now: u64) -> Result<(), RedisError> {
        let keys = self.redis_log.keys();
        let mut command = self.sweep.call(3);
        for key in [&keys.shared_table(self.name), &keys.ends(self.name), &keys.versions] {
            command.push(key);
        }
        command.push_number(now);
        command.push_number(SWEPT_MAX);
        command.push(self.name);
        command.push(RowVersion((self.random)().max(1)).to_string());
        let replies = self.redis_log.run(&self.sweep, vec![command]).await?;
        replies.into_iter().try_for_each(|reply| into_result(reply).map(drop))
    }
}

fn outcome(reply: RedisReply, key: &str) -> Result<PutOutcome, RedisError> {
    let reply = into_result(reply)?;
    let parts = reply.array().unwrap_or_default();
    match (parts.first().and_then(RedisReply::str), parts.get(1).and_then(RedisReply::str)) {
        (Some("ok"), _) => Ok(PutOutcome::Done),
        (Some("full"), _) => Ok(PutOutcome::Full),
        (Some("other"), Some(row)) => Ok(PutOutcome::Other(TableRow::parse(key, row))),
        _ => Err(RedisError::corrupt("the script that changes a row answered something else")),
    }
}

/// Reads the versions of all tables.
pub(super) fn versions(reply: &RedisReply) -> Result<Vec<(String, RowVersion)>, RedisError> {
    let versions = pairs(reply)?.filter_map(|(name, text)| Some((name.to_owned(), RowVersion::parse(text)?)));
    Ok(versions.collect())
}

fn version_of(reply: &RedisReply) -> Result<RowVersion, RedisError> {
    match reply {
        RedisReply::Nil => Ok(RowVersion(0)),
        reply => {
            let version = reply.str().and_then(RowVersion::parse);
            version.ok_or_else(|| RedisError::corrupt("the version of a table cannot be read"))
        }
    }
}

/// Names and values of a hash. What is not text is no hub's, and passed over.
fn pairs(reply: &RedisReply) -> Result<impl Iterator<Item = (&str, &str)>, RedisError> {
    let texts = reply.array().ok_or_else(|| RedisError::corrupt("the state is no hash"))?;
    Ok(texts.chunks(2).filter_map(|pair| Some((pair.first()?.str()?, pair.get(1)?.str()?))))
}

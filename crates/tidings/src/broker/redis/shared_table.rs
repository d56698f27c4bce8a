//! Tables that all nodes share. A table is a hash in Redis, with a version that every change replaces.
//!
//! A version is random and not a counter, so that a table that was lost and written again has another version. A change is one
//! step: the row, its expiry time, the version of the table, and the message to all nodes.

pub(super) mod replica;
pub(super) mod row;

use std::{collections::HashMap, sync::Arc};

use tidings_redis::{RedisCommand, RedisError, RedisReply};

use super::commands::RedisLog;
use super::error::corrupt;
use super::scripts::{TABLE_CHANGE, TABLE_PAGE, TABLE_SWEEP};

use self::row::{RowVersion, TableRow, pairs, version_of};

/// Rows of a table.
const ROWS_MAX: u64 = 100_000;
/// Approximate number of rows of one read: half a megabyte of revocations.
const PAGE_ROWS: &str = "2000";
/// Attempts to read a part before the read fails.
const PAGE_ATTEMPTS: usize = 3;
/// Changes in one round trip.
const CHANGES_AT_ONCE: usize = 100;
/// Expired rows that one change deletes, and one sweep.
const SWEPT_BY_CHANGE: u64 = 10;
const SWEPT_MAX: u64 = 1000;

/// A row to write if the existing row has the expected version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConditionalPut {
    pub(crate) key: String,
    pub(crate) value: String,
    /// Expiry time in milliseconds since 1970, if any.
    pub(crate) until: Option<u64>,
    /// Expected version of the row; 0 for a missing row.
    pub(crate) expected: RowVersion,
}

/// Outcome of a conditional put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PutOutcome {
    Done,
    /// The row has another version, and stays; `None` if it is missing.
    Other(Option<TableRow>),
    /// The table has no room for another row.
    Full,
}

/// Client of one table.
pub(crate) struct SharedTable {
    redis_log: Arc<RedisLog>,
    name: &'static str,
    pub(super) rows_max: u64,
    random: fn() -> u64,
}

impl SharedTable {
    pub(super) fn new(redis_log: Arc<RedisLog>, name: &'static str, random: fn() -> u64) -> Self {
        Self { redis_log, name, rows_max: ROWS_MAX, random }
    }

    /// Writes rows, each if it has the expected version. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`RedisError::NotApplied`] only if no row was written.
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
            let replies = self.redis_log.run(&TABLE_CHANGE, commands.collect()).await?;
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

    #[cfg(test)]
    pub(super) async fn put(&self, put: &ConditionalPut, now: u64) -> Result<PutOutcome, RedisError> {
        self.change(put, "*", now).await
    }

    #[cfg(test)]
    pub(super) async fn remove(&self, key: &str, now: u64) -> Result<PutOutcome, RedisError> {
        let nothing =
            ConditionalPut { key: key.into(), value: String::new(), until: None, expected: RowVersion(0) };
        self.change(&nothing, "*", now).await
    }

    #[cfg(test)]
    async fn change(&self, put: &ConditionalPut, expected: &str, now: u64) -> Result<PutOutcome, RedisError> {
        let replies = self.redis_log.run(&TABLE_CHANGE, vec![self.command(put, expected, now)]).await?;
        outcome(replies.into_iter().next().expect("each command has its reply"), &put.key)
    }

    fn command(&self, put: &ConditionalPut, expected: &str, now: u64) -> RedisCommand {
        let keys = &self.redis_log.keys;
        let version = RowVersion((self.random)().max(1));
        let until = put.until.map(|at| format!("@{at}")).unwrap_or_default();
        let row =
            if put.value.is_empty() { String::new() } else { format!("{version}{until} {}", put.value) };
        let command =
            TABLE_CHANGE.call(&[&keys.shared_table(self.name), &keys.ends(self.name), &keys.versions]);
        command
            .args([self.name, &keys.changes, &put.key, expected, &version.to_string(), &row])
            .arg(put.until.map(|at| at.to_string()).unwrap_or_default())
            .args([now, SWEPT_BY_CHANGE, self.rows_max].map(|number| number.to_string()))
    }

    /// Reads all rows, and the version at the start of the read. Later changes lead to another version.
    pub(crate) async fn all(&self) -> Result<(RowVersion, Vec<TableRow>), RedisError> {
        let (version, mut from, mut rows) = self.page("0").await?;
        while from != "0" {
            let (_, next, more) = self.page(&from).await?;
            rows.extend(more);
            from = next;
        }
        Ok((version, rows.into_values().collect()))
    }

    /// Reads the version, the next cursor, and some rows by key; a row may come twice. A new connection continues at the cursor,
    /// so that a slow connection can read a large table in parts.
    async fn page(&self, from: &str) -> Result<(RowVersion, String, HashMap<String, TableRow>), RedisError> {
        let keys = &self.redis_log.keys;
        let command = TABLE_PAGE.call(&[&keys.versions, &keys.shared_table(self.name)]);
        let command = command.args([self.name, from, PAGE_ROWS]);
        let mut attempts = 1;
        let reply = loop {
            match self.redis_log.run_one(&TABLE_PAGE, command.clone()).await {
                Err(RedisError::OutcomeUnknown(_)) if attempts < PAGE_ATTEMPTS => attempts += 1,
                other => break other?,
            }
        };
        let Some([version, next, rows]) = reply.array() else {
            return Err(corrupt("the table page script gave an unexpected answer"));
        };
        let next = next.str().ok_or_else(|| corrupt("a table page has no cursor"))?.to_owned();
        let rows = pairs(rows)?.filter_map(|(key, row)| Some((key.to_owned(), TableRow::parse(key, row)?)));
        Ok((version_of(version)?, next, rows.collect()))
    }

    pub(super) async fn sweep(&self, now: u64) -> Result<(), RedisError> {
        let keys = &self.redis_log.keys;
        let command =
            TABLE_SWEEP.call(&[&keys.shared_table(self.name), &keys.ends(self.name), &keys.versions]);
        let command = command.args([now, SWEPT_MAX].map(|number| number.to_string())).arg(self.name);
        let command = command.arg(RowVersion((self.random)().max(1)).to_string());
        let replies = self.redis_log.run(&TABLE_SWEEP, vec![command]).await?;
        replies.into_iter().try_for_each(|reply| reply.into_result().map(drop))
    }
}

fn outcome(reply: RedisReply, key: &str) -> Result<PutOutcome, RedisError> {
    let reply = reply.into_result()?;
    let parts = reply.array().unwrap_or_default();
    match (parts.first().and_then(RedisReply::str), parts.get(1).and_then(RedisReply::str)) {
        (Some("ok"), _) => Ok(PutOutcome::Done),
        (Some("full"), _) => Ok(PutOutcome::Full),
        (Some("other"), Some(row)) => Ok(PutOutcome::Other(TableRow::parse(key, row))),
        _ => Err(corrupt("the table change script gave an unexpected answer")),
    }
}

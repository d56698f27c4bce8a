//! Appends of publishes and of captured messages.

use tidings_redis::{RedisCommand, RedisError};

use super::{RedisLog, first};
use crate::broker::redis::append_call::{
    self, Append, AppendCall, AppendError, AppendOutcome, Appended, CaptureAppend, LastSeen,
};
use crate::broker::redis::scripts::APPEND;

impl RedisLog {
    /// Appends a batch in one step, and publishes its mirrored events in the same step.
    ///
    /// # Errors
    /// [`AppendError::Refused`] if the log differs from the state that `witness` names; else see [`RedisError`]. The outcome is
    /// unknown also if fewer than `replicas_min` replicas hold the batch in time.
    pub(crate) async fn append(
        &self,
        batch: &[Append],
        witness: LastSeen,
    ) -> Result<Vec<AppendOutcome>, AppendError> {
        self.append_as(batch, witness, None).await
    }

    /// Appends captured messages if the node holds the lease and no other node has moved the captured position. Returns the
    /// last event.
    pub(in crate::broker::redis) async fn append_captured(
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
            _ => Err(RedisError::OutcomeUnknown(
                "redis does not say at which offset it appended messages".into(),
            )
            .into()),
        }
    }

    async fn append_as(
        &self,
        batch: &[Append],
        witness: LastSeen,
        capture: Option<CaptureAppend<'_>>,
    ) -> Result<Vec<AppendOutcome>, AppendError> {
        let call = AppendCall {
            keys: &self.keys,
            witness,
            window_ms: self.window_ms,
            capture,
            // Other programs have received captured messages already.
            mirror: if capture.is_none() { Some(&self.mirror) } else { None },
        };
        let mut commands = vec![call.command(batch)];
        if self.replicas_min > 0 {
            let wait_ms = (self.pool.connector().deadline().as_millis() / 2).max(1);
            let wait = RedisCommand::new("WAIT").arg(self.replicas_min.to_string()).arg(wait_ms.to_string());
            commands.push(wait);
        }
        let mut replies = self.run(&APPEND, commands).await?.into_iter();
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
}

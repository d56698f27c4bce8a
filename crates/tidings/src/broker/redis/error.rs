//! Errors of Redis as the hub reports them.

use std::time::Duration;

use tidings_redis::{EndpointError, RedisError, TlsFile};

use crate::error::{Code, Error};

/// Returns the error for data that no hub writes.
pub(super) fn corrupt(fault: &str) -> RedisError {
    RedisError::Corrupt(format!("redis holds data that no hub writes: {fault}"))
}

/// Returns the error for an entry that cannot be read.
pub(super) fn corrupt_at(offset: u64, fault: &str) -> RedisError {
    RedisError::Corrupt(format!("event {offset} in redis cannot be read: {fault}"))
}

/// Converts to the error that a publisher gets.
pub(super) fn publish_error(error: RedisError) -> Error {
    let (code, detail) = match &error {
        RedisError::OutcomeUnknown(_) => (
            Code::OutcomeUnknown,
            "Redis, which has the log, did not answer; the event may be stored; a retry with the same Idempotency-Key is safe",
        ),
        RedisError::NotApplied(_) | RedisError::Moving(_) | RedisError::Corrupt(_) => {
            (Code::NotStored, "Redis, which has the log, takes no events now; nothing was stored; try again")
        }
    };
    Error::new(code, detail).retry_after(Duration::from_secs(1)).caused_by(error)
}

/// Names the setting that has to change.
pub(super) fn endpoint_error(error: EndpointError) -> Error {
    let (setting, fault) = match error {
        EndpointError::Url(fault) => ("redis.url", fault.to_owned()),
        EndpointError::File(TlsFile::Ca, fault) => ("redis.ca_file", fault),
        EndpointError::File(TlsFile::Certificate, fault) => ("redis.cert_file", fault),
        EndpointError::File(TlsFile::Key, fault) => ("redis.key_file", fault),
        EndpointError::Tls(error) => {
            return Error::new(Code::Internal, "TLS could not be set up").caused_by(error);
        }
    };
    Error::new(Code::BadRequest, format!("{setting} {fault}"))
}

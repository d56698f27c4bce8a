//! How many descriptors this process may open: every stream is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many descriptors this process could open if it raised its limit; `None` without a limit.
pub(crate) fn allowed() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// Raises the limit to the highest that this process may have without privileges.
///
/// # Errors
/// What the system says; the limit is then as it was.
pub(crate) fn raise() -> std::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

//! The limit of file descriptors: every stream needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Returns how many descriptors this process may open after [`raise`]; `None` if there is no limit.
pub(crate) fn maximum() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// Raises the limit to the highest that needs no privileges.
///
/// # Errors
/// The error of the system. The limit is unchanged.
pub(crate) fn raise() -> std::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

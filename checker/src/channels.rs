//! Channels of a phase with one server.

/// Whether a channel has only events without key and priority.
pub(crate) fn is_strict(channel: usize) -> bool {
    channel % 3 != 2
}

pub(crate) fn name(channel: usize) -> String {
    if is_strict(channel) { format!("check.strict.{channel}") } else { format!("check:loose:{channel}") }
}

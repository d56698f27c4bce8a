//! Violations of the hub's promise.

use crate::named_enum::named_enum;

named_enum! {
    /// Properties; each phase passes or fails each of them.
    pub(crate) enum ViolationKind {
        /// An event is missing.
        Lost = "lost",
        /// An event was delivered or stored twice.
        Duplicated = "duplicated",
        /// An event or position was delivered after a later one.
        Reordered = "reordered",
        /// Events that retention or a restart removed are missing, and no gap reported it.
        UnsignalledGap = "unsignalled gaps",
        /// A gap was reported though no event was missing.
        SpuriousGap = "spurious gaps",
        /// Data, name, channel, id or offset differ from those that were sent or answered.
        WrongContent = "wrong content",
        /// A response has another framing or status than the protocol allows.
        BrokenProtocol = "broken protocol",
        /// A deadline passed.
        Stuck = "stuck",
        /// A stream was still open, or counted as open, after its reader had gone.
        LeftOver = "left over",
        /// The process did not start, did not end as it should, or panicked.
        ProcessFault = "process faults",
        /// The phase did not reach its conditions, so its zeros mean nothing.
        NotExercised = "not exercised",
    }
}

/// A violation with an explanation to start debugging from.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) kind: ViolationKind,
    pub(crate) explanation: String,
}

impl Violation {
    pub(crate) fn new(kind: ViolationKind, explanation: impl Into<String>) -> Self {
        Self { kind, explanation: explanation.into() }
    }

    pub(crate) fn process_fault(explanation: String) -> Self {
        Self::new(ViolationKind::ProcessFault, explanation)
    }

    /// Conditions with a count of 0 that the phase had to reach.
    pub(crate) fn not_exercised(needed: Vec<(String, u64)>) -> Vec<Self> {
        let missing = needed.into_iter().filter(|(_, count)| *count == 0);
        missing
            .map(|(condition, _)| Self::new(ViolationKind::NotExercised, format!("no {condition}")))
            .collect()
    }
}

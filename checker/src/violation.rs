//! Violations of the hub's promise.

/// Properties; each phase passes or fails each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ViolationKind {
    /// An event is missing.
    Lost,
    /// An event was delivered or stored twice.
    Duplicated,
    /// An event or position was delivered after a later one.
    Reordered,
    /// Events that retention or a restart removed are missing, and no gap reported it.
    UnsignalledGap,
    /// A gap was reported though no event was missing.
    SpuriousGap,
    /// Data, name, channel, id or offset differ from those that were sent or answered.
    WrongContent,
    /// A response has another framing or status than the protocol allows.
    BrokenProtocol,
    /// A deadline passed.
    Stuck,
    /// A stream was still open, or counted as open, after its reader had gone.
    LeftOver,
    /// The process did not start, did not end as it should, or panicked.
    Restart,
    /// The phase did not reach its conditions, so its zeros mean nothing.
    NotExercised,
}

impl ViolationKind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Lost,
        Self::Duplicated,
        Self::Reordered,
        Self::UnsignalledGap,
        Self::SpuriousGap,
        Self::WrongContent,
        Self::BrokenProtocol,
        Self::Stuck,
        Self::LeftOver,
        Self::Restart,
        Self::NotExercised,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::UnsignalledGap => "unsignalled gaps",
            Self::SpuriousGap => "spurious gaps",
            Self::WrongContent => "wrong content",
            Self::BrokenProtocol => "broken protocol",
            Self::Stuck => "stuck",
            Self::LeftOver => "left over",
            Self::Restart => "process faults",
            Self::NotExercised => "not exercised",
        }
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

    /// A process that did not start, did not end as it should, or panicked.
    pub(crate) fn restart(explanation: String) -> Self {
        Self::new(ViolationKind::Restart, explanation)
    }

    /// Conditions with a count of 0 that the phase had to reach.
    pub(crate) fn not_exercised<'a>(needed: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<Self> {
        let missing = needed.into_iter().filter(|(_, count)| *count == 0);
        missing
            .map(|(condition, _)| Self::new(ViolationKind::NotExercised, format!("no {condition}")))
            .collect()
    }
}

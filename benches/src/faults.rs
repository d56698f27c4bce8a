//! Faults of deliveries.

use std::{fmt, ops::Add};

/// Faults of the subscribers' streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DeliveryFaults {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    /// Gaps received.
    pub(crate) gaps: u64,
    /// Streams closed by the server.
    pub(crate) closed: u64,
}

impl fmt::Display for DeliveryFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("none");
        }
        let Self { lost, repeated, gaps, closed } = self;
        write!(f, "lost {lost}, repeated {repeated}, gaps {gaps}, closed {closed}")
    }
}

impl Add for DeliveryFaults {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            repeated: self.repeated + other.repeated,
            gaps: self.gaps + other.gaps,
            closed: self.closed + other.closed,
        }
    }
}

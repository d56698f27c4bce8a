//! Oracle of a phase with one server: events sent, the log that follows from all observations, and their comparison.

mod compare;
mod log;
mod observation;
mod sent;

pub(crate) use compare::{GapRule, PhaseRules, compare_history, compare_record};
pub(crate) use log::{LocatedEvent, ReconstructedLog};
pub(crate) use observation::{Observation, ObservedGap, SubscriberHistory};
pub(crate) use sent::{DeliveryClass, EventLabel, LogPosition, Oracle, label_of};

#[cfg(test)]
mod tests;

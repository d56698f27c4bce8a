//! Names that most benchmarks use.

pub(crate) use crate::comparison::{Case, Comparison, Sample};
pub(crate) use crate::context::BenchContext;
pub(crate) use crate::faults::DeliveryFaults;
pub(crate) use crate::fleet::BenchFleet;
pub(crate) use crate::result::BenchResult;
pub(crate) use crate::server::BenchServer;
pub(crate) use crate::server_kind::ServerKind;
pub(crate) use crate::table::FigureTable;

//! Names that most benchmarks use.

pub(crate) use crate::{
    comparison::{Case, Comparison, Sample},
    context::BenchContext,
    faults::DeliveryFaults,
    fleet::BenchFleet,
    result::BenchResult,
    server::BenchServer,
    server_kind::ServerKind,
    table::FigureTable,
};

//! Benchmarks, one module each.

mod fanout;
mod fastapi;
mod growth;
mod memory;
mod publish;
mod redis;
mod restart;
mod resume;
mod retention;
mod slow_consumers;
mod stored_events;
mod syscalls;

use crate::{arguments::Benchmark, context::BenchContext, result::BenchResult, table::FigureTable};

/// Runs a benchmark and returns its tables.
pub(crate) fn measure(benchmark: Benchmark, context: &BenchContext) -> BenchResult<Vec<FigureTable>> {
    Ok(match benchmark {
        Benchmark::Fanout => vec![fanout::paced(context)?, fanout::saturated(context)?],
        Benchmark::Publish => vec![publish::single(context)?, publish::batched(context)?],
        Benchmark::Memory => vec![memory::measure(context)?],
        Benchmark::SlowConsumers => vec![slow_consumers::measure(context)?],
        Benchmark::Growth => vec![growth::measure(context)?],
        Benchmark::Syscalls => vec![syscalls::measure(context)?],
        Benchmark::Resume => vec![resume::storms(context)?, resume::quiet(context)?],
        Benchmark::Restart => vec![restart::measure(context)?],
        Benchmark::Retention => vec![retention::measure(context)?],
        Benchmark::Redis => vec![redis::rates(context)?, redis::latencies(context)?],
        Benchmark::Fastapi => vec![fastapi::measure(context)?],
    })
}

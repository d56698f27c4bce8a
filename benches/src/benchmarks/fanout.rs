//! Deliveries: 1,000 subscribers of one channel, paced and saturated.

use std::time::Duration;

use crate::prelude::*;

const SUBSCRIBERS: usize = 1_000;
const EVENTS_PER_SECOND: f64 = 30.0;
/// Publishers of the saturated load.
const PUBLISHERS: usize = 8;
/// Most events that the slowest subscriber may be behind: the axum baseline buffers 1,024 and loses later ones.
const WINDOW: u64 = 256;
/// The same for Pushpin, which closes streams that are further behind.
const PUSHPIN_WINDOW: u64 = 16;
const WARM_UP: Duration = Duration::from_millis(500);

pub(super) fn paced(context: &BenchContext) -> BenchResult<FigureTable> {
    let rounds =
        Comparison::of_servers(context, context.arguments.rounds, &ServerKind::all_but(&[]), |kind| {
            let server = BenchServer::start(context, *kind, &[])?;
            let mut fleet = BenchFleet::subscribed(&server, SUBSCRIBERS, 1)?;
            fleet.run_paced(EVENTS_PER_SECOND, WARM_UP)?;
            let measured = fleet
                .measure(&[&server.trees], |fleet| fleet.run_paced(EVENTS_PER_SECOND, context.slice()))?;
            fleet.finish(vec![measured.cpu_per_delivery(), measured.p50, measured.p99])
        })?;
    let mut table = FigureTable::new(
        "Deliveries, paced: 1,000 subscribers, 30 events/s",
        &["server", "server CPU per delivery, µs", "p50, ms", "p99, ms", "faults"],
        "From the publish to the receipt, each event of each subscriber. In parentheses: the median of the ratios to \
         the epoll baseline, round by round: one thread, one write for each subscriber, nothing else.",
    );
    rounds.fill(&mut table, 0..3);
    let ours = |figure| rounds.server_ratio(ServerKind::Interval, ServerKind::EpollBaseline, figure);
    table.at_most("CPU per delivery, paced, 1,000 subscribers, × epoll baseline", 1.1, ours(0));
    table.at_most("p99, paced, × epoll baseline", 1.2, ours(2));
    let title = "Server CPU per delivery, 30 events/s to 1,000 subscribers: less is better";
    table.panels.push(rounds.panel(title, 0));
    table.panels.push(rounds.panel("p50 from publish to receipt, the same: less is better", 1));
    Ok(table)
}

pub(super) fn saturated(context: &BenchContext) -> BenchResult<FigureTable> {
    let rounds =
        Comparison::of_servers(context, context.arguments.rounds, &ServerKind::all_but(&[]), |kind| {
            let server = BenchServer::start(context, *kind, &[])?;
            let mut fleet = BenchFleet::subscribed(&server, SUBSCRIBERS, PUBLISHERS)?;
            let window = Some(if *kind == ServerKind::Pushpin { PUSHPIN_WINDOW } else { WINDOW });
            fleet.run_saturated(window, WARM_UP)?;
            let measured =
                fleet.measure(&[&server.trees], |fleet| fleet.run_saturated(window, context.slice()))?;
            let rate = measured.per_second(measured.deliveries);
            fleet.finish(vec![rate, rate / SUBSCRIBERS as f64, measured.cpu_per_delivery()])
        })?;
    let mut table = FigureTable::new(
        "Deliveries, as fast as it goes: 1,000 subscribers",
        &["server", "deliveries/s", "events/s", "server CPU per delivery, µs", "faults"],
        "8 publishers, one event a request; they wait while the slowest subscriber is 256 events behind, since the \
         baseline silently loses what is more than 1,024 behind; for Pushpin 16, since it cuts off who is much further \
         behind. In parentheses: ratios to the epoll baseline.",
    );
    rounds.fill(&mut table, 0..3);
    let others = [ServerKind::AxumBaseline, ServerKind::Nchan, ServerKind::Pushpin];
    let others = others.into_iter().filter_map(|kind| rounds.find(kind));
    // Lost events were not delivered.
    let sound = others.filter(|case| rounds.faults(*case) == DeliveryFaults::default());
    let rates = sound.filter_map(|case| Some((rounds.median(case, 0)?, case)));
    if let Some((_, best)) = rates.max_by(|one, other| one.0.total_cmp(&other.0)) {
        let ours = |figure| rounds.ratio(rounds.find(ServerKind::Interval)?, best, figure);
        table.at_least("deliveries/s, saturated, one core, × the best of the others", 3.0, ours(0));
        table.at_most("CPU per delivery, saturated, × the same", 0.4, ours(2));
    }
    let title = "Deliveries/s to 1,000 subscribers, as fast as it goes: more is better";
    table.panels.push(rounds.panel(title, 0));
    Ok(table)
}

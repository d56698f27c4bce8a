//! Report as a few lines of text.

use std::fmt::{Result, Write};

use super::{
    BenchReport, ConnectionFigures, CpuCost, DeliveryFigures, PublishFigures, ServerFigures,
    SlowReaderFigures, StormFigures,
};
use crate::bench::figure_text::{figure, grouped, mebibytes, milliseconds};
use crate::bench::process_monitor::MemoryReadings;

/// CPU share of a core above which the load itself adds latency.
const OWN_SHARE_MAX: f64 = 0.9;

/// Share of all cores above which other programs distort the figures.
const OTHERS_SHARE_MAX: f64 = 0.1;

impl BenchReport {
    /// Returns the summary.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("writing to a string does not fail");
        text
    }

    fn write(&self, text: &mut String) -> Result {
        self.connections.write(text)?;
        self.publishes.write(text, self.event_bytes, self.seconds)?;
        self.deliveries.write(text)?;
        let (latency, milliseconds) = (&self.latency_ms, |value| milliseconds(value));
        writeln!(
            text,
            "latency     p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
            milliseconds(latency.p50),
            milliseconds(latency.p90),
            milliseconds(latency.p99),
            milliseconds(latency.p999),
            milliseconds(latency.max)
        )?;
        for (name, besides) in [("slow", &self.slow), ("stuck", &self.stuck)] {
            if let Some(besides) = besides {
                besides.write(text, name)?;
            }
        }
        if let Some(storms) = &self.storms {
            storms.write(text)?;
        }
        match &self.server {
            Some(server) => server.write(text)?,
            None => writeln!(
                text,
                "server      process unknown; name it by --pid to see its CPU time and memory"
            )?,
        }
        writeln!(text, "this load   {}", self.load.text())?;
        if self.load.cpu_share.is_some_and(|share| share > OWN_SHARE_MAX) {
            writeln!(text, "            it had no time to spare, so some of the latency is its own")?;
        }
        if let Some(share) = self.others_cpu_share.filter(|share| *share > OTHERS_SHARE_MAX) {
            let share = share * 100.0;
            writeln!(
                text,
                "others      {share:.0}% of all cores went to other programs, so latencies are higher than need be"
            )?;
        }
        if self.was_stopped {
            writeln!(text, "stopped early; these are the figures so far")?;
        }
        match self.faults.as_slice() {
            [] => writeln!(text, "✓ nothing was lost silently, doubled or out of order"),
            faults => faults.iter().try_for_each(|fault| writeln!(text, "✗ {fault}")),
        }
    }
}

impl ConnectionFigures {
    fn write(&self, text: &mut String) -> Result {
        let (opened, asked) = (grouped(self.opened as u64), grouped(self.asked as u64));
        let rate = grouped(self.per_second as u64);
        let (p50, max) = (milliseconds(self.opening_ms.p50), milliseconds(self.opening_ms.max));
        let seconds = self.seconds;
        writeln!(
            text,
            "streams     {opened} of {asked} opened in {seconds:.2} s: {rate}/s, each in {p50}, the slowest {max}"
        )?;
        if self.closed > 0 {
            let (closed, told, back) =
                (grouped(self.closed), grouped(self.closed_told), grouped(self.reopened));
            writeln!(
                text,
                "            {closed} ended by the server, {told} of them announced; {back} came back"
            )?;
        }
        for reason in self.failures.iter().chain(&self.reopen_failures) {
            writeln!(text, "            {} × {}", grouped(reason.count), reason.text())?;
        }
        Ok(())
    }
}

impl PublishFigures {
    fn write(&self, text: &mut String, bytes: usize, seconds: f64) -> Result {
        let (events, requests) = (grouped(self.events), grouped(self.requests));
        let rate = figure(self.events_per_second);
        let (p50, p99) = (milliseconds(self.answer_ms.p50), milliseconds(self.answer_ms.p99));
        writeln!(
            text,
            "published   {events} events of {bytes} bytes by {requests} requests in {seconds:.1} s: {rate} events/s, answered in {p50}, p99 {p99}"
        )?;
        if self.late_max_ms > 100.0 {
            writeln!(
                text,
                "            up to {} behind schedule: publishes wait for their responses",
                milliseconds(self.late_max_ms)
            )?;
        }
        for reason in &self.failures {
            writeln!(text, "            {} × {}", grouped(reason.count), reason.text())?;
        }
        Ok(())
    }
}

impl DeliveryFigures {
    fn write(&self, text: &mut String) -> Result {
        let (received, expected) = (grouped(self.received), grouped(self.expected));
        writeln!(
            text,
            "delivered   {received} of {expected} in all: {} deliveries/s",
            grouped(self.per_second as u64)
        )?;
        let Self { lost, duplicates, out_of_order, lost_told, gaps, missed_away, .. } = self;
        write!(
            text,
            "            lost {lost}, doubled {duplicates}, out of order {out_of_order}, told by {gaps} gaps {lost_told}"
        )?;
        if *missed_away > 0 {
            write!(text, ", missed while away {missed_away}")?;
        }
        writeln!(text)
    }
}

impl SlowReaderFigures {
    fn write(&self, text: &mut String, name: &str) -> Result {
        let (streams, closed) = (grouped(self.streams as u64), grouped(self.closed));
        write!(text, "{name:<12}{streams} streams, {closed} ended by the server")?;
        if self.received > 0 {
            let (received, lost, told) = (grouped(self.received), self.lost, self.lost_told);
            write!(text, "; {received} events received, lost {lost}, told by gaps {told}")?;
        }
        writeln!(text)
    }
}

impl StormFigures {
    fn write(&self, text: &mut String) -> Result {
        let (p50, p99, max) =
            (milliseconds(self.back_ms.p50), milliseconds(self.back_ms.p99), milliseconds(self.back_ms.max));
        let (count, cut, back) = (grouped(self.count), grouped(self.cut), grouped(self.back_ms.count));
        writeln!(
            text,
            "storms      {count}, {cut} streams cut, {back} came back: p50 {p50}, p99 {p99}, max {max}"
        )
    }
}

impl ServerFigures {
    fn write(&self, text: &mut String) -> Result {
        writeln!(text, "server      {}", self.cost.text())?;
        let MemoryReadings { before, idle, peak, after } = self.memory_kib;
        let each =
            self.memory_kib_per_connection.map(|kib| format!(" ({kib:.1} KiB each)")).unwrap_or_default();
        let [before, idle, peak, after] = [before, idle, peak, after].map(mebibytes);
        writeln!(
            text,
            "            memory {before} before, {idle} with idle streams{each}, {peak} at most, {after} after"
        )
    }
}

impl CpuCost {
    fn text(&self) -> String {
        let (Some(seconds), Some(share)) = (self.cpu_seconds, self.cpu_share) else {
            return "CPU time unknown".to_owned();
        };
        let each = self.cpu_micros_per_delivery.map(|micros| format!(", {micros:.2} µs per delivery"));
        format!("{seconds:.2} s of CPU ({:.0}% of a core){}", share * 100.0, each.unwrap_or_default())
    }
}

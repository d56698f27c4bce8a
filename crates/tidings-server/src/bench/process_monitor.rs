//! CPU time and memory of the server, and CPU time of the load.

use std::time::{Duration, Instant};

use serde::Serialize;
use tidings_load::{ProcessTree, machine_cpu, own_cpu};

/// Interval between reads of memory: the kernel walks every page table for each.
const EVERY: Duration = Duration::from_secs(1);

/// Reader of the server's processes.
#[derive(Debug)]
pub(super) struct ProcessMonitor {
    processes: Vec<ProcessTree>,
    memory: MemoryReadings,
    last: Instant,
    cpu: Option<Duration>,
    own_cpu: Option<Duration>,
    machine_cpu: Option<Duration>,
    since: Instant,
}

/// Memory of the server, in KiB: each shared page is divided among its users.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemoryReadings {
    /// Before the first stream.
    pub(super) before: Option<u64>,
    /// With all streams open and nothing sent.
    pub(super) idle: Option<u64>,
    /// The highest reading.
    pub(super) peak: Option<u64>,
    /// After the last delivery.
    pub(super) after: Option<u64>,
}

/// CPU time used in an interval.
#[derive(Debug, Clone, Copy)]
pub(super) struct CpuUsage {
    pub(super) server: Option<Duration>,
    pub(super) own: Option<Duration>,
    /// Share of all cores that other programs of this machine used; `None` if the server's process is unknown.
    pub(super) others_share: Option<f64>,
    pub(super) time: Duration,
}

impl ProcessMonitor {
    pub(super) fn new(processes: Vec<ProcessTree>) -> Self {
        let mut monitor = Self {
            processes,
            memory: MemoryReadings::default(),
            last: Instant::now(),
            cpu: None,
            own_cpu: None,
            machine_cpu: None,
            since: Instant::now(),
        };
        monitor.memory.before = monitor.read();
        monitor
    }

    pub(super) fn ids(&self) -> Vec<u32> {
        self.processes.iter().map(|process| process.0).collect()
    }

    pub(super) fn memory(&self) -> MemoryReadings {
        self.memory
    }

    pub(super) fn note_idle(&mut self) {
        self.memory.idle = self.read();
    }

    pub(super) fn note_after(&mut self) {
        self.memory.after = self.read();
    }

    /// Reads the memory, if its interval is over.
    pub(super) fn sample(&mut self) {
        if self.last.elapsed() >= EVERY {
            self.read();
        }
    }

    /// Starts to count CPU time.
    pub(super) fn start(&mut self) {
        (self.cpu, self.own_cpu, self.since) = (self.server_cpu(), own_cpu(), Instant::now());
        self.machine_cpu = machine_cpu().map(|(cpu, _)| cpu);
    }

    /// CPU time since [`Self::start`].
    pub(super) fn used(&self) -> CpuUsage {
        let since = |now: Option<Duration>, then: Option<Duration>| Some(now?.saturating_sub(then?));
        let (server, own) = (since(self.server_cpu(), self.cpu), since(own_cpu(), self.own_cpu));
        let time = self.since.elapsed();
        let others_share = machine_cpu().zip(server).zip(own).and_then(|(((all, cores), server), own)| {
            let others = since(Some(all), self.machine_cpu)?.saturating_sub(server + own);
            Some(others.as_secs_f64() / time.as_secs_f64() / cores as f64)
        });
        CpuUsage { server, own, others_share, time }
    }

    /// `None` if no process is known, or one of them has ended.
    fn server_cpu(&self) -> Option<Duration> {
        let times: Option<Vec<Duration>> = self.processes.iter().map(|process| process.cpu()).collect();
        times.filter(|times| !times.is_empty()).map(|times| times.iter().sum())
    }

    fn read(&mut self) -> Option<u64> {
        self.last = Instant::now();
        let sizes: Option<Vec<u64>> = self.processes.iter().map(|process| process.memory_kib()).collect();
        let memory = sizes.filter(|sizes| !sizes.is_empty()).map(|sizes| sizes.iter().sum());
        self.memory.peak = self.memory.peak.max(memory);
        memory
    }
}

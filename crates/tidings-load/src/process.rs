//! CPU time, memory and listening ports of processes, read from `/proc`. On other systems than Linux nothing is
//! known.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A process and its descendants.
#[derive(Debug, Clone, Copy)]
pub struct ProcessTree(pub u32);

impl ProcessTree {
    /// CPU time of the tree so far: to the nanosecond if the kernel counts threads so, else in clock ticks (mostly 10
    /// ms).
    ///
    /// `None` if there is no such process.
    pub fn cpu(self) -> Option<Duration> {
        let children = self.children();
        Some(self.own_cpu()? + children.iter().filter_map(|child| child.own_cpu()).sum::<Duration>())
    }

    /// Proportional set size of the tree, in KiB: each shared page is divided among its users.
    ///
    /// `None` if there is no such process, or this user may not read it.
    pub fn memory_kib(self) -> Option<u64> {
        let own_kib = |process: &Self| process.field_kib("smaps_rollup", "Pss:");
        Some(own_kib(&self)? + self.children().iter().filter_map(own_kib).sum::<u64>())
    }

    /// A field of a file of the process itself, in KiB, such as `VmRSS:` of `status`.
    pub fn field_kib(self, file: &str, field: &str) -> Option<u64> {
        let text = fs::read_to_string(self.file(file)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().trim_end_matches("kB").trim().parse().ok()
    }

    /// CPU time of the live threads by the scheduler. Ended threads are missing there, so clock ticks are used if the
    /// two disagree.
    fn own_cpu(self) -> Option<Duration> {
        let in_steps = cpu_of(&self.file("stat"))?;
        let threads = fs::read_dir(self.file("task")).into_iter().flatten().flatten();
        let nanoseconds = threads.filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        let exact = Duration::from_nanos(nanoseconds.sum());
        // User and system time are each rounded down to whole ticks.
        let is_whole = (in_steps..in_steps + of_ticks(3)).contains(&exact);
        Some(if is_whole { exact } else { in_steps })
    }

    /// All descendants.
    pub fn children(self) -> Vec<Self> {
        let parents = parents();
        let mut found: Vec<Self> = Vec::new();
        let mut at = 0;
        let mut parent = self.0;
        loop {
            found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| Self(*id)));
            let Some(next) = found.get(at) else { return found };
            parent = next.0;
            at += 1;
        }
    }

    /// A file of the process in `/proc`.
    pub fn file(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }
}

/// CPU time of this process so far.
pub fn own_cpu() -> Option<Duration> {
    cpu_of(Path::new("/proc/self/stat"))
}

/// CPU time of all processes of this machine so far, and its number of cores.
pub fn machine_cpu() -> Option<(Duration, usize)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let cores = text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
    let first = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = first.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq: all but idle and iowait.
    let ticks: u64 = fields.iter().take(7).sum::<u64>() - fields.get(3)? - fields.get(4)?;
    Some((of_ticks(ticks), cores))
}

/// User and system time of all threads, from `/proc/PID/stat`.
fn cpu_of(stat: &Path) -> Option<Duration> {
    let text = fs::read_to_string(stat).ok()?;
    // The process name may hold any character, so fields are counted from its closing bracket.
    let fields = text.rsplit_once(')')?.1;
    let times = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Some(of_ticks(times.sum()))
}

/// Every process and its parent. Not every kernel lists children by their parent.
fn parents() -> Vec<(u32, u32)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parent = |entry: fs::DirEntry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let text = fs::read_to_string(entry.path().join("stat")).ok()?;
        Some((id, text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?))
    };
    processes.filter_map(parent).collect()
}

/// Converts clock ticks.
fn of_ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Processes that listen on a TCP port of this machine, without descendants of another of them. Processes that this
/// user may not read are missing.
pub fn listeners(port: u16) -> Vec<ProcessTree> {
    let sockets: BTreeSet<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|table| listening(&table, port))
        .collect();
    if sockets.is_empty() {
        return Vec::new();
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let found: Vec<ProcessTree> = ids.map(ProcessTree).filter(|process| holds(*process, &sockets)).collect();
    let started: BTreeSet<u32> =
        found.iter().flat_map(|process| process.children()).map(|child| child.0).collect();
    found.into_iter().filter(|process| !started.contains(&process.0)).collect()
}

/// Inodes of sockets that listen on a port, from the text of `/proc/net/tcp`.
fn listening(table: &str, port: u16) -> Vec<u64> {
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter_map(|row| {
        let local = row.get(1)?.rsplit_once(':')?.1;
        // State 0A is LISTEN.
        let is_it = row.get(3) == Some(&"0A") && u16::from_str_radix(local, 16) == Ok(port);
        if is_it { row.get(9)?.parse().ok() } else { None }
    })
    .collect()
}

fn holds(process: ProcessTree, sockets: &BTreeSet<u64>) -> bool {
    let links = fs::read_dir(process.file("fd")).into_iter().flatten().flatten();
    links.filter_map(|link| fs::read_link(link.path()).ok()).any(|link| {
        let socket =
            link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        socket.is_some_and(|socket: u64| sockets.contains(&socket))
    })
}

#[cfg(test)]
mod tests;

//! What a run does, checked before it begins.

use std::time::Duration;

use rand::RngExt;
use tidings_load::Process;

use super::Args;
use super::endpoint::Endpoint;
use super::load::Rate;
use super::requests::Requests;
use crate::fd_limit;

/// Longest run, in seconds: a day.
const SECONDS_MAX: f64 = 86_400.0;
/// Descriptors of the process besides its connections.
const DESCRIPTORS_BESIDES: usize = 32;

/// A run that can be made.
pub(super) struct Plan {
    pub(super) requests: Requests,
    /// Tells the run's events from all others.
    pub(super) run: u32,
    pub(super) connections: usize,
    pub(super) slow: usize,
    pub(super) stuck: usize,
    pub(super) channels: u32,
    pub(super) rate: Rate,
    pub(super) publishers: usize,
    pub(super) batch: usize,
    pub(super) window: u64,
    pub(super) size: usize,
    pub(super) seconds: Duration,
    pub(super) warm_up: Duration,
    pub(super) open_rate: Option<u32>,
    pub(super) storm: Option<Storm>,
    /// The server's processes; empty where they are not known.
    pub(super) processes: Vec<Process>,
    pub(super) has_token: bool,
}

/// Connections that are cut again and again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storm {
    pub(super) every: Duration,
    /// In percent.
    pub(super) share: u8,
}

impl Plan {
    /// Checks what was asked for.
    ///
    /// # Errors
    /// What cannot be done, with the way out.
    pub(super) fn new(args: &Args) -> Result<Self, String> {
        let requests = requests(args)?;
        let streams = args.connections + args.slow + args.stuck;
        if streams == 0 {
            return Err("no streams; give at least one by --connections".to_owned());
        }
        check_descriptors(streams, usize::from(args.publishers))?;
        let storm = match args.storm {
            Some(every) => Some(Storm { every: seconds("--storm", every, 0.1)?, share: args.storm_share }),
            None => None,
        };
        Ok(Self {
            processes: processes(args, &requests.subscribe)?,
            requests,
            run: rand::rng().random(),
            connections: args.connections,
            slow: args.slow,
            stuck: args.stuck,
            channels: args.channels,
            rate: args.rate,
            publishers: usize::from(args.publishers),
            batch: usize::from(args.batch),
            window: u64::from(args.window),
            size: args.size as usize,
            seconds: seconds("--seconds", args.seconds, 0.1)?,
            warm_up: seconds("--warm-up", args.warm_up, 0.0)?,
            open_rate: args.open_rate,
            storm,
            has_token: args.hub.has_token(),
        })
    }

    /// Publishers of one channel: each has numbers of its own there, since only its own order is known.
    pub(super) fn lanes_each(&self) -> usize {
        self.publishers.div_ceil(self.channels as usize)
    }
}

fn requests(args: &Args) -> Result<Requests, String> {
    let token = args.hub.bearer();
    match (&args.subscribe, &args.publish) {
        (Some(subscribe), Some(publish)) => {
            if args.batch > 1 {
                return Err("--batch is a hub's own; other servers get one event a request".to_owned());
            }
            let (subscribe, publish) =
                (Endpoint::new("--subscribe", subscribe)?, Endpoint::new("--publish", publish)?);
            Requests::new(args, subscribe, publish, token)
        }
        _ => {
            let base = args.hub.url.trim_end_matches('/');
            let channel = format!("{base}/api/v1/events/{{channel}}");
            let subscribe = Endpoint::new("--url", &format!("{channel}?position=id"))?;
            let publish = if args.batch > 1 { format!("{base}/api/v1/publish") } else { channel };
            Requests::new(args, subscribe, Endpoint::new("--url", &publish)?, token)
        }
    }
}

fn seconds(flag: &str, seconds: f64, least: f64) -> Result<Duration, String> {
    if (least..=SECONDS_MAX).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("{flag} is {seconds}; it takes {least} to {SECONDS_MAX} seconds"))
    }
}

/// Raises the limit of descriptors, and sees that it will do.
fn check_descriptors(streams: usize, publishers: usize) -> Result<(), String> {
    // Where it cannot be raised, what it is now is what counts.
    let _unchanged = fd_limit::raise();
    let needed = streams + publishers + DESCRIPTORS_BESIDES;
    match fd_limit::allowed() {
        Some(allowed) if (allowed as usize) < needed => {
            let most = (allowed as usize).saturating_sub(publishers + DESCRIPTORS_BESIDES);
            Err(format!(
                "{streams} streams take {needed} open files; this process may have {allowed}: raise it by `ulimit -n {needed}`, or ask for at most {most} streams"
            ))
        }
        _ => Ok(()),
    }
}

/// The server's processes: those named, or those that listen where streams go to, on this machine.
fn processes(args: &Args, subscribe: &Endpoint) -> Result<Vec<Process>, String> {
    for pid in &args.pids {
        if Process(*pid).cpu().is_none() {
            return Err(format!("--pid {pid} is no process that can be looked into"));
        }
    }
    let address = subscribe.target.address;
    match args.pid_of_port {
        Some(port) => match tidings_load::listeners(port) {
            found if found.is_empty() => Err(format!(
                "--pid-of-port {port}: no process that can be looked into listens there; give --pid, or run as its user"
            )),
            found => Ok(found),
        },
        None if args.pids.is_empty() && address.ip().is_loopback() => {
            Ok(tidings_load::listeners(address.port()))
        }
        None => Ok(args.pids.iter().copied().map(Process).collect()),
    }
}

#[cfg(test)]
mod tests;

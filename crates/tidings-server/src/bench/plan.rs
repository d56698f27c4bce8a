//! Plan of a run: checked arguments.

use std::time::Duration;

use rand::RngExt;
use tidings_load::ProcessTree;

use super::args::{Args, PublishRate};
use super::endpoint::Endpoint;
use super::requests::RequestBuilder;
use crate::fd_limit;

/// Longest run, in seconds: a day.
const SECONDS_MAX: f64 = 86_400.0;
/// Descriptors of the process besides its connections.
const DESCRIPTORS_BESIDES: usize = 32;

/// A checked plan.
pub(super) struct BenchPlan {
    pub(super) requests: RequestBuilder,
    /// Number that marks the events of this run.
    pub(super) run: u32,
    pub(super) connections: usize,
    pub(super) slow: usize,
    pub(super) stuck: usize,
    pub(super) channels: u32,
    pub(super) rate: PublishRate,
    pub(super) publishers: usize,
    pub(super) batch: usize,
    pub(super) window: u64,
    pub(super) size: usize,
    pub(super) seconds: Duration,
    pub(super) warm_up: Duration,
    pub(super) open_rate: Option<u32>,
    pub(super) storm: Option<ReconnectStorm>,
    /// The server's processes, if known.
    pub(super) processes: Vec<ProcessTree>,
    pub(super) has_token: bool,
}

/// Repeated cuts of many connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReconnectStorm {
    pub(super) every: Duration,
    /// Share of the streams, in percent.
    pub(super) share: u8,
}

impl BenchPlan {
    /// Checks the arguments.
    ///
    /// # Errors
    /// The argument that cannot be met, with a hint.
    pub(super) fn new(args: &Args) -> Result<Self, String> {
        let requests = requests(args)?;
        let streams = args.connections + args.slow + args.stuck;
        if streams == 0 {
            return Err("no streams; give at least one by --connections".to_owned());
        }
        check_descriptors(streams, usize::from(args.publishers))?;
        let storm = match args.storm {
            Some(every) => {
                Some(ReconnectStorm { every: seconds("--storm", every, 0.1)?, share: args.storm_share })
            }
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
}

fn requests(args: &Args) -> Result<RequestBuilder, String> {
    let token = args.hub.bearer();
    match (&args.subscribe, &args.publish) {
        (Some(subscribe), Some(publish)) => {
            if args.batch > 1 {
                return Err("--batch is a hub's own; other servers get one event a request".to_owned());
            }
            let (subscribe, publish) =
                (Endpoint::new("--subscribe", subscribe)?, Endpoint::new("--publish", publish)?);
            RequestBuilder::new(args, subscribe, publish, token)
        }
        _ => {
            let base = args.hub.url.trim_end_matches('/');
            let channel = format!("{base}/api/v1/events/{{channel}}");
            let subscribe = Endpoint::new("--url", &format!("{channel}?position=id"))?;
            let publish = if args.batch > 1 { format!("{base}/api/v1/publish") } else { channel };
            RequestBuilder::new(args, subscribe, Endpoint::new("--url", &publish)?, token)
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

/// Raises the limit of open files, and checks that it suffices.
fn check_descriptors(streams: usize, publishers: usize) -> Result<(), String> {
    // If the limit cannot be raised, the present one counts.
    let _unchanged = fd_limit::raise();
    let needed = streams + publishers + DESCRIPTORS_BESIDES;
    match fd_limit::maximum() {
        Some(allowed) if (allowed as usize) < needed => {
            let most = (allowed as usize).saturating_sub(publishers + DESCRIPTORS_BESIDES);
            Err(format!(
                "{streams} streams take {needed} open files; this process may have {allowed}: raise it by `ulimit -n {needed}`, or ask for at most {most} streams"
            ))
        }
        _ => Ok(()),
    }
}

/// The server's processes: the named ones, or the listeners of the stream's port on this machine.
fn processes(args: &Args, subscribe: &Endpoint) -> Result<Vec<ProcessTree>, String> {
    for pid in &args.pids {
        if ProcessTree(*pid).cpu().is_none() {
            return Err(format!("--pid {pid} is no process that can be looked into"));
        }
    }
    let address = subscribe.address;
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
        None => Ok(args.pids.iter().copied().map(ProcessTree).collect()),
    }
}

#[cfg(test)]
mod tests;

//! Arguments of `tidings bench`.

use std::str::FromStr;

use crate::help::number;
use crate::hub_args::{BearerToken, HubArgs};

/// Highest rate, in events per second.
const RATE_MAX: f64 = 10_000_000.0;

/// Load a server with streams and events, and measure it.
///
/// Opens streams, publishes numbered events, and checks every receipt: lost, doubled and reordered events, latency,
/// and the server's CPU and memory. Works on a hub as it is, and on any other server by URL templates. Ends with 0 if
/// no event was lost silently, doubled or reordered, and every stream was served.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) hub: HubArgs,
    #[arg(long, value_name = "URL", requires = "publish", help = concat!(
        "Another server's streams: a URL in which {channel} and ", number!(), ", the stream's number, are filled in"
    ))]
    pub(super) subscribe: Option<String>,
    #[arg(long, value_name = "URL", requires = "subscribe", help = concat!(
        "Another server's publishing: a URL in which {channel} and ", number!(), ", the request's number, are filled in"
    ))]
    pub(super) publish: Option<String>,
    /// Method of a publish.
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    pub(super) publish_method: String,
    #[arg(long, value_name = "TEXT", default_value = "{data}", help = concat!(
        "Body of a publish: {data}, {data_json} within a JSON string, {data_url} within a form, {channel}, ", number!()
    ))]
    pub(super) body: String,
    /// Header of every stream's request.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(super) headers: Vec<BearerToken>,
    /// Header of every publish.
    #[arg(long = "publish-header", value_name = "NAME: VALUE")]
    pub(super) publish_headers: Vec<BearerToken>,
    /// Streams.
    #[arg(long, short = 'c', value_name = "N", default_value_t = 100)]
    pub(super) connections: usize,
    /// Channels that the streams are spread over.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) channels: u32,
    /// Prefix of channel names; a number follows.
    #[arg(long, value_name = "TEXT", default_value = "bench.")]
    pub(super) prefix: String,
    /// Events a second over all channels; max for as fast as possible, 0 for none.
    #[arg(long, short = 'r', value_name = "N|max", default_value = "10")]
    pub(super) rate: PublishRate,
    /// Publishing connections, each with one request at a time.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) publishers: u16,
    /// Events in one publish, for Tidings hubs only.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(super) batch: u16,
    /// With --rate max: publishers wait while streams are this many events behind on average.
    #[arg(long, value_name = "EVENTS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) window: u32,
    /// Bytes of an event's data.
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    pub(super) size: u32,
    /// Measured seconds.
    #[arg(long, short = 's', value_name = "SECONDS", default_value_t = 10.0)]
    pub(super) seconds: f64,
    /// Seconds of load before the measured ones.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(super) warm_up: f64,
    /// New streams a second at the start; by default as fast as they are answered.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) open_rate: Option<u32>,
    /// Further streams, read at 10 KiB/s.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) slow: usize,
    /// Further streams, never read.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) stuck: usize,
    /// Interval in seconds at which a share of the streams is cut; all of them come back at once.
    #[arg(long, value_name = "SECONDS")]
    pub(super) storm: Option<f64>,
    /// Share of the streams that a storm cuts, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(super) storm_share: u8,
    /// The server's process, with its descendants; may be given several times. Found by the port if it runs on this
    /// machine.
    #[arg(long = "pid", value_name = "PID")]
    pub(super) pids: Vec<u32>,
    /// The server's process is the listener of this port.
    #[arg(long, value_name = "PORT", conflicts_with = "pids")]
    pub(super) pid_of_port: Option<u16>,
    /// Print one JSON object in place of the summary.
    #[arg(long)]
    pub(super) json: bool,
}

/// Publish rate, in events per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PublishRate {
    Paced(f64),
    Max,
}

impl FromStr for PublishRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Self::Max),
            Ok(rate) if (0.0..=RATE_MAX).contains(&rate) => Ok(Self::Paced(rate)),
            _ => Err(format!("is neither max nor a number of events a second from 0 to {RATE_MAX}")),
        }
    }
}

//! Every channel is served, and no two publishers share its numbers.

use std::collections::BTreeMap;

use clap::Parser;
use tidings_load::Swarm;

use super::{Load, Rate};
use crate::bench::Args;
use crate::bench::plan::Plan;

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    args: Args,
}

#[test]
fn each_lane_of_each_channel_has_one_publisher() {
    for (channels, publishers) in [(1, 1), (1, 8), (3, 8), (8, 8), (9, 8), (100, 8), (1_000, 7)] {
        let (channels_text, publishers_text) = (channels.to_string(), publishers.to_string());
        let arguments = ["bench", "--channels", &channels_text, "--publishers", &publishers_text];
        let plan = Plan::new(&CommandLine::try_parse_from(arguments).unwrap().args).unwrap();
        let mut swarm = Swarm::new(1, channels, plan.lanes_each()).unwrap();
        let mut load = Load::new(&plan, &mut swarm);
        let mut owners = BTreeMap::new();
        for publisher in 0..publishers {
            for _ in 0..channels {
                let lane = load.next_lane(&plan, publisher);
                assert!(usize::from(lane.1) < plan.lanes_each());
                assert_eq!(*owners.entry(lane).or_insert(publisher), publisher, "{channels} {publishers}");
            }
        }
        let served: std::collections::BTreeSet<u32> = owners.keys().map(|(channel, _)| *channel).collect();
        assert_eq!(served.len(), channels);
    }
}

#[test]
fn rate_is_a_number_or_max() {
    assert_eq!("max".parse(), Ok(Rate::Max));
    assert_eq!("0.5".parse(), Ok(Rate::Paced(0.5)));
    for text in ["", "fast", "-1", "nan", "inf", "1e9"] {
        assert!(text.parse::<Rate>().unwrap_err().contains("neither max nor"), "{text}");
    }
}

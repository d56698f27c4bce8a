//! Every channel gets events, and no two publishers share a sequence.

use std::collections::BTreeMap;

use tidings_load::ClientFleet;

use super::{PublishLoad, PublishRate};
use crate::bench::plan::BenchPlan;
use crate::bench::tests::parse;

#[test]
fn each_lane_of_each_channel_has_one_publisher() {
    for (channels, publishers) in [(1, 1), (1, 8), (3, 8), (8, 8), (9, 8), (100, 8), (1_000, 7)] {
        let arguments = format!("--channels {channels} --publishers {publishers}");
        let plan = BenchPlan::new(&parse(&arguments)).unwrap();
        let mut fleet = ClientFleet::new(1, channels, plan.producers_per_channel()).unwrap();
        let mut load = PublishLoad::new(&plan, &mut fleet);
        let mut owners = BTreeMap::new();
        for publisher in 0..publishers {
            for _ in 0..channels {
                let producer = load.next_producer(&plan, publisher);
                assert!(usize::from(producer.1) < plan.producers_per_channel());
                assert_eq!(
                    *owners.entry(producer).or_insert(publisher),
                    publisher,
                    "{channels} {publishers}"
                );
            }
        }
        let served: std::collections::BTreeSet<u32> = owners.keys().map(|(channel, _)| *channel).collect();
        assert_eq!(served.len(), channels);
    }
}

#[test]
fn rate_is_a_number_or_max() {
    assert_eq!("max".parse(), Ok(PublishRate::Max));
    assert_eq!("0.5".parse(), Ok(PublishRate::Paced(0.5)));
    for text in ["", "fast", "-1", "nan", "inf", "1e9"] {
        assert!(text.parse::<PublishRate>().unwrap_err().contains("neither max nor"), "{text}");
    }
}

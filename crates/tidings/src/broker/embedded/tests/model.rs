//! A publish in every order with a scrape and a trim, with the real subscribers.

use futures_util::FutureExt;
use tidings_log::testing::{TestWorld, memory_log};
use tidings_sync::model;

use super::*;
use crate::{hub::Subscribers, metrics::tests::metrics};

#[test]
fn a_publish_a_scrape_and_a_trim_do_not_stop_each_other() {
    model::check(2, || {
        let log = Arc::new(memory_log(&LogSettings::default(), &TestWorld::new(1)));
        let (broker, _writer) = embedded(log.clone(), Arc::new(Subscribers::default()), metrics());
        let trimmer = model::spawn({
            let log = log.clone();
            move || log.trim()
        });
        let scraper = model::spawn(move || log.usage().head);
        // The committer is free, so the publish is appended on this thread.
        let outcome = broker.append(vec![keyed("k", "1")]).now_or_never().expect("it waits for nothing");
        assert_eq!(offsets(outcome), [Some(1)]);
        assert!(scraper.join().expect("it ends") <= 1);
        trimmer.join().expect("it ends");
    });
}

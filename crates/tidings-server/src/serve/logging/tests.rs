//! What is never logged.

use super::*;

#[test]
fn filter_that_asks_for_what_is_never_logged_is_known() {
    for more in
        ["trace", "debug", "5", "info,h2=debug", "h2", "h2::server=trace,warn", " tidings=info , TRACE"]
    {
        assert!(asks_for_more(more), "{more}");
    }
    for enough in ["info", "tidings=debug,info", "tidings", "h2=info", "off", "hyper=trace"] {
        assert!(!asks_for_more(enough), "{enough}");
    }
}

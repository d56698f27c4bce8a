//! The cap of the log level.

use super::*;

#[test]
fn filter_above_the_cap_is_found() {
    for more in
        ["trace", "debug", "5", "info,h2=debug", "h2", "h2::server=trace,warn", " tidings=info , TRACE"]
    {
        assert!(exceeds_cap(more), "{more}");
    }
    for enough in ["info", "tidings=debug,info", "tidings", "h2=info", "off", "hyper=trace"] {
        assert!(!exceeds_cap(enough), "{enough}");
    }
}

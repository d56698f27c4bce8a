//! The greeting.

use super::*;

fn plain(addresses: &[&str]) -> String {
    let addresses: Vec<SocketAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    greeting(&addresses, Paint::plain())
}

#[test]
fn every_address_is_named_and_the_first_is_tried() {
    let text = plain(&["127.0.0.1:1", "[::1]:2"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with(" http://127.0.0.1:1/"), "{text}");
    assert!(lines[1].ends_with(" http://[::1]:2/"), "{text}");
    assert!(lines[3].ends_with("curl -N http://127.0.0.1:1/api/v1/events/hello"), "{text}");
}

#[test]
fn address_that_stands_for_all_is_shown_as_one_that_can_be_asked() {
    assert!(plain(&["0.0.0.0:3"]).contains("http://127.0.0.1:3/"));
    assert!(plain(&["[::]:4"]).contains("http://[::1]:4/"));
}

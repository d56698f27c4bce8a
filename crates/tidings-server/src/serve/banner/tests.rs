//! The banner.

use tidings::config::{AuthSettings, Secret, TlsSettings};

use super::*;

const PLAIN: Paint = Paint { coloured: false };

fn plain(addresses: &[&str], settings: &Settings) -> String {
    let addresses: Vec<SocketAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    banner(&addresses, settings, None, PLAIN)
}

#[test]
fn every_address_is_named_and_the_first_is_tried() {
    let text = plain(&["127.0.0.1:1", "[::1]:2"], &Settings::default());
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with(" http://127.0.0.1:1/"), "{text}");
    assert!(lines[1].ends_with(" http://[::1]:2/"), "{text}");
    assert!(lines[3].ends_with("curl -N http://127.0.0.1:1/api/v1/events/hello"), "{text}");
    assert!(!text.contains("TOKEN"), "{text}");
}

#[test]
fn address_that_stands_for_all_is_shown_as_one_that_can_be_asked() {
    assert!(plain(&["0.0.0.0:3"], &Settings::default()).contains("http://127.0.0.1:3/"));
    assert!(plain(&["[::]:4"], &Settings::default()).contains("http://[::1]:4/"));
}

#[test]
fn hub_with_tls_is_greeted_by_its_https_address() {
    let mut settings = Settings::default();
    settings.server.tls = Some(TlsSettings { cert_file: "c".into(), key_file: "k".into() });
    let text = plain(&["127.0.0.1:1"], &settings);
    assert!(text.contains("curl -N https://127.0.0.1:1/") && !text.contains("http://"), "{text}");
}

#[test]
fn protected_hub_says_how_to_get_a_token() {
    let mut settings = Settings { auth: Some(AuthSettings::default()), ..Settings::default() };
    let text = plain(&["127.0.0.1:1"], &settings);
    assert_eq!(text.matches("-H \"Authorization: Bearer $TOKEN\"").count(), 2, "{text}");
    assert!(text.contains("tidings key --name me --publish hello --subscribe hello\n"), "{text}");
    settings.auth = Some(AuthSettings { secret: Some(Secret::new("s3cret")), ..AuthSettings::default() });
    let addresses = ["127.0.0.1:1".parse().unwrap()];
    let text = banner(&addresses, &settings, Some(Path::new("my hub.toml")), PLAIN);
    let line = "TOKEN=$(tidings token --sub me --publish hello --subscribe hello --config 'my hub.toml')\n";
    assert!(text.contains(line) && !text.contains("s3cret"), "{text}");
}

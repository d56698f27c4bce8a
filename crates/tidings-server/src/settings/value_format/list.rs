//! Formats of lists. An unknown word that may be a secret is in no message.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tidings::config::{Algorithm, KeySettings};
use tidings::protocol::Pattern;

use super::base::{RawValue, ValueFormat, list, shortened, suggest_word, toml_text};

pub(crate) struct AddressesFormat;
pub(crate) struct TextsFormat;
pub(crate) struct PatternsFormat;
pub(crate) struct AlgorithmsFormat;
pub(crate) struct KeysFormat;

impl ValueFormat for AddressesFormat {
    type Value = Vec<SocketAddr>;
    const NAME: &'static str = "list of addresses";

    fn read(raw: &RawValue) -> Result<Vec<SocketAddr>, String> {
        let mut addresses = Vec::new();
        for text in list(raw)? {
            let address = read_address(&text)?;
            if address.port() != 0 && addresses.contains(&address) {
                return Err(format!("has {address} twice; once is enough"));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }

    fn show(value: &Vec<SocketAddr>) -> String {
        show_texts(value)
    }
}

/// Reads an address. Of all host names only `localhost` is accepted, because it needs no resolver.
fn read_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    // A port alone listens on loopback: an address that other machines reach is written in full.
    let port = text.strip_prefix("localhost:").or(text.strip_prefix(':')).unwrap_or(text);
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if let (true, Ok(port)) = (is_port, port.parse()) {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let found = shortened(text);
    let advice = match text.parse::<IpAddr>() {
        Ok(address) => format!("it has no port, write {}", SocketAddr::new(address, 8000)),
        Err(_) if is_port => format!("a port is at most {}", u16::MAX),
        Err(_) if text == "localhost" => "it has no port, write localhost:8000".to_owned(),
        Err(_) if text.starts_with("*:") => "every address is written 0.0.0.0 or [::]".to_owned(),
        Err(_) if text.contains("://") => "write it without the scheme and without a path".to_owned(),
        Err(_) => "host names but localhost are not looked up, write the address itself".to_owned(),
    };
    Err(format!("has {found}, which is not an address and a port; {advice}"))
}

impl ValueFormat for TextsFormat {
    type Value = Vec<String>;
    const NAME: &'static str = "list of texts";

    fn read(raw: &RawValue) -> Result<Vec<String>, String> {
        list(raw)
    }

    fn show(value: &Vec<String>) -> String {
        show_texts(value)
    }
}

impl ValueFormat for PatternsFormat {
    type Value = Vec<Pattern>;
    const NAME: &'static str = "list of patterns";

    fn read(raw: &RawValue) -> Result<Vec<Pattern>, String> {
        let parse = |text: String| {
            let pattern = Pattern::parse(&text);
            pattern.map_err(|error| format!("has {}, which is not a pattern: {error}", shortened(&text)))
        };
        list(raw)?.into_iter().map(parse).collect()
    }

    fn show(value: &Vec<Pattern>) -> String {
        show_texts(value)
    }
}

impl ValueFormat for AlgorithmsFormat {
    type Value = Vec<Algorithm>;
    const NAME: &'static str = "list of algorithms";

    fn read(raw: &RawValue) -> Result<Vec<Algorithm>, String> {
        let mut algorithms = Vec::new();
        for word in list(raw)? {
            if word.eq_ignore_ascii_case("none") {
                let text = "has \"none\", which is never accepted: such tokens have no signature; an empty list accepts \
                            every algorithm that the keys support";
                return Err(text.to_owned());
            }
            let algorithm = word.parse().map_err(|_| {
                // A word this short is no secret.
                let shown =
                    if word.len() <= 8 { format!("{word:?}") } else { "an unknown algorithm".to_owned() };
                let near = suggest_word(&word, Algorithm::WORDS);
                format!("has {shown}; one of {}{near}", Algorithm::WORDS.join(", "))
            })?;
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        Ok(algorithms)
    }

    fn show(value: &Vec<Algorithm>) -> String {
        show_texts(value)
    }
}

impl ValueFormat for KeysFormat {
    type Value = Vec<KeySettings>;
    const NAME: &'static str = "list of tables";

    fn read(raw: &RawValue) -> Result<Vec<KeySettings>, String> {
        match raw {
            RawValue::Keys(keys) => Ok(keys.clone()),
            RawValue::Text(_) | RawValue::Bare(_) | RawValue::List(_) | RawValue::Nothing => Err(
                "is not a list of keys; make one with `tidings key --name N`, which prints the lines to keep"
                    .to_owned(),
            ),
        }
    }

    /// Shows the keys without their hashes.
    fn show(value: &Vec<KeySettings>) -> String {
        let show_key = |key: &KeySettings| {
            let mut members = vec![
                format!("name = {}", toml_text(&key.name)),
                format!("rights = {}", show_texts(&key.rights)),
            ];
            for (member, patterns) in [("subscribe", &key.subscribe), ("publish", &key.publish)] {
                if !patterns.is_empty() {
                    members.push(format!("{member} = {}", show_texts(patterns)));
                }
            }
            format!("{{ {} }}", members.join(", "))
        };
        format!("[{}]", value.iter().map(show_key).collect::<Vec<_>>().join(", "))
    }
}

/// Shows values as a TOML list of texts.
fn show_texts<T: ToString>(values: &[T]) -> String {
    let texts: Vec<String> = values.iter().map(|value| toml_text(&value.to_string())).collect();
    format!("[{}]", texts.join(", "))
}

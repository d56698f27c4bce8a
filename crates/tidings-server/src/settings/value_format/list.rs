//! Formats of lists. An unknown word that may be a secret is in no message.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tidings::config::{Algorithm, KeySettings};
use tidings::protocol::Pattern;

use super::base::{RawValue, ValueFormat, list, shortened, suggest_word, toml_text};

/// Declares a format of a list, with the function that reads its texts.
macro_rules! list_format {
    ($format:ident, $entry:ty, $name:literal, $read:expr) => {
        pub(crate) struct $format;

        impl ValueFormat for $format {
            type Value = Vec<$entry>;
            const NAME: &'static str = $name;

            fn read(raw: &RawValue) -> Result<Vec<$entry>, String> {
                list(raw).and_then($read)
            }

            fn show(value: &Vec<$entry>) -> String {
                show_texts(value)
            }
        }
    };
}

list_format!(AddressesFormat, SocketAddr, "list of addresses", read_addresses);
list_format!(TextsFormat, String, "list of texts", Ok);
list_format!(PatternsFormat, Pattern, "list of patterns", read_patterns);
list_format!(AlgorithmsFormat, Algorithm, "list of algorithms", read_algorithms);

pub(crate) struct KeysFormat;

fn read_addresses(texts: Vec<String>) -> Result<Vec<SocketAddr>, String> {
    let mut addresses = Vec::new();
    for text in texts {
        let address = read_address(&text)?;
        if address.port() != 0 && addresses.contains(&address) {
            return Err(format!("has {address} twice; once is enough"));
        }
        addresses.push(address);
    }
    Ok(addresses)
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

fn read_patterns(texts: Vec<String>) -> Result<Vec<Pattern>, String> {
    let parse = |text: String| {
        let pattern = Pattern::parse(&text);
        pattern.map_err(|error| format!("has {}, which is not a pattern: {error}", shortened(&text)))
    };
    texts.into_iter().map(parse).collect()
}

fn read_algorithms(words: Vec<String>) -> Result<Vec<Algorithm>, String> {
    let mut algorithms = Vec::new();
    for word in words {
        if word.eq_ignore_ascii_case("none") {
            let text = "has \"none\", which is never accepted: such tokens have no signature; an empty list accepts \
                        every algorithm that the keys support";
            return Err(text.to_owned());
        }
        let algorithm = word.parse().map_err(|_| {
            // A word this short is no secret.
            let shown = if word.len() <= 8 { format!("{word:?}") } else { "an unknown algorithm".to_owned() };
            let near = suggest_word(&word, Algorithm::WORDS);
            format!("has {shown}; one of {}{near}", Algorithm::WORDS.join(", "))
        })?;
        if !algorithms.contains(&algorithm) {
            algorithms.push(algorithm);
        }
    }
    Ok(algorithms)
}

impl ValueFormat for KeysFormat {
    type Value = Vec<KeySettings>;
    const NAME: &'static str = "list of tables";

    fn read(raw: &RawValue) -> Result<Vec<KeySettings>, String> {
        let RawValue::Keys(keys) = raw else {
            let text =
                "is not a list of keys; make one with `tidings key --name N`, which prints the lines to keep";
            return Err(text.to_owned());
        };
        Ok(keys.clone())
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

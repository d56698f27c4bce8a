//! The banner of a hub that has started: its URL, and commands to try.

use std::net::SocketAddr;
use std::path::Path;

use tidings::config::Settings;

use crate::terminal::{Paint, Style};
use crate::url::{channel_url, page_url};

/// Returns the banner. Its first line holds the URL of the page, which programs wait for, too.
pub(super) fn banner(
    addresses: &[SocketAddr],
    settings: &Settings,
    config: Option<&Path>,
    paint: Paint,
) -> String {
    let tls = settings.server.tls.is_some();
    let mut text = String::new();
    for address in addresses {
        let url = page_url(*address, tls);
        text.push_str(&format!(
            "tidings {} listens on {}\n",
            env!("CARGO_PKG_VERSION"),
            paint.paint(Style::Bold, &url)
        ));
    }
    let Some(first) = addresses.first() else { return text };
    let url = page_url(*first, tls);
    let channel = channel_url(&url, "hello");
    let bearer = match settings.auth {
        Some(_) => " -H \"Authorization: Bearer $TOKEN\"",
        None => "",
    };
    let mut lines = vec![
        ("page", url),
        ("watch", format!("curl -N{bearer} {channel}")),
        ("publish", format!("curl{bearer} -d 'Hello, world' {channel}")),
    ];
    lines.extend(settings.auth.as_ref().map(|auth| ("token", token_command(auth.secret.is_some(), config))));
    for (label, line) in lines {
        text.push_str(&format!("  {}  {line}\n", paint.paint(Style::Dim, &format!("{label:7}"))));
    }
    text
}

/// Returns the command that makes a credential for the other commands.
fn token_command(can_sign: bool, config: Option<&Path>) -> String {
    if !can_sign {
        return "tidings key --name me --publish hello --subscribe hello".to_owned();
    }
    let config = config.map_or_else(String::new, |path| format!(" --config '{}'", path.display()));
    format!("TOKEN=$(tidings token --sub me --publish hello --subscribe hello{config})")
}

#[cfg(test)]
mod tests;

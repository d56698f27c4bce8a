//! Bounds of `cors.origins`.

use super::super::Settings;
use super::text::SettingErrors;

pub(super) fn check(settings: &Settings, errors: &mut SettingErrors) {
    for origin in &settings.cors.origins {
        errors.add("cors.origins", if origin == "*" { any_fault(settings) } else { fault(origin) });
    }
}

/// Returns the problem of `*`, which must not be combined with credentials that a browser adds by itself.
fn any_fault(settings: &Settings) -> Option<String> {
    const LIST: &str = "list each origin, for example https://app.example.com";
    match &settings.auth {
        None => Some(format!(
            "has \"*\"; a hub without credentials answers pages with credentials allowed, so {LIST}"
        )),
        Some(auth) if auth.cookie.is_some() => Some(format!(
            "has \"*\"; with auth.cookie pages are answered with credentials allowed, and every page of the web would \
             act as whoever has the cookie, so {LIST}"
        )),
        Some(_) if settings.cors.origins.len() > 1 => Some(
            "has \"*\" among others; it stands for all of them, so list it alone, or the others".to_owned(),
        ),
        Some(_) => None,
    }
}

/// Returns the problem of an origin. A browser sends scheme, host and, unless it is the scheme's own, the port.
fn fault(origin: &str) -> Option<String> {
    let parts = origin.split_once("://").filter(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    let Some((scheme, rest)) = parts else {
        return Some(format!(
            "has {origin:?}; an origin is scheme and host, for example https://app.example.com"
        ));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    let own_port = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let bare = authority.strip_suffix(own_port).unwrap_or(authority);
    let sent = format!("{scheme}://{bare}").to_ascii_lowercase();
    let plain = sent.bytes().all(|byte| byte.is_ascii_graphic());
    match () {
        () if bare.is_empty() || !plain => Some(
            "has an entry that no browser sends; an origin is scheme and host in ASCII, for example \
                  https://app.example.com"
                .to_owned(),
        ),
        () if sent != origin => Some(format!("has an entry that no browser sends; write {sent:?}")),
        () => None,
    }
}

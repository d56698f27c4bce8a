//! URL of a Redis: servers, login and database.

use std::{fmt, str::FromStr};

use percent_encoding::percent_decode_str;
use tidings_protocol::Secret;

/// Default ports of a Redis and of a Sentinel.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// Hosts in one URL.
const HOSTS_MAX: usize = 16;
/// Query parameters of a URL, for the login at Sentinels.
const SENTINEL_USERNAME: &str = "sentinel_username";
const SENTINEL_PASSWORD: &str = "sentinel_password";

/// URL of a Redis as given. Its `Display` and `Debug` mask the password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RedisUrl(String);

/// Parts of a Redis URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// Whether the scheme asks for TLS: `rediss`.
    pub tls: bool,
    /// Servers in the order of attempts, at least one; Sentinels if `sentinel` is given.
    pub hosts: Vec<RedisHost>,
    /// Service behind the Sentinels; `None` if the hosts are servers.
    pub sentinel: Option<RedisSentinel>,
    /// User; `None` for a login by password alone.
    pub user: Option<String>,
    /// Password; `None` for no login.
    pub password: Option<Secret>,
    /// Number of the database.
    pub database: u32,
}

/// Address of a server or a Sentinel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisHost {
    /// Name or address, without brackets.
    pub name: String,
    /// Port. Default: 6379, or 26379 for a Sentinel.
    pub port: u16,
}

/// Service name and login for Sentinels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSentinel {
    /// Name of the primary and its replicas at the Sentinels.
    pub service: String,
    /// User at the Sentinels; `None` for a login by password alone.
    pub user: Option<String>,
    /// Password at the Sentinels.
    pub password: Option<Secret>,
}

impl RedisUrl {
    /// Wraps a URL without a check; [`RedisUrl::address`] returns its errors.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// Returns the URL with its password.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether the URL is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the URL contains a password, or text that may be one.
    pub fn has_password(&self) -> bool {
        self.address().map_or(!self.is_empty(), |address| address.has_password())
    }

    /// Reads the URL: `redis://[[user]:password@]host[:port][,host[:port]…][/database]`, `rediss` for TLS; or
    /// `redis+sentinel` or `rediss+sentinel` with `/service[/database][?sentinel_username=…&sentinel_password=…]` after the
    /// hosts. Escapes such as `%2F` in user and passwords are decoded.
    ///
    /// # Errors
    /// A text to follow the name of the setting. It contains no part of the URL, which may be a password.
    pub fn address(&self) -> Result<RedisAddress, &'static str> {
        let (scheme, rest) = self.0.split_once("://").ok_or("is not a URL")?;
        let (tls, by_sentinel) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis+sentinel" => (false, true),
            "rediss+sentinel" => (true, true),
            _ => {
                return Err(
                    "is neither a redis nor a rediss (TLS) URL, nor one with +sentinel after the scheme",
                );
            }
        };
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        if rest.contains('#') || query.is_some_and(|query| !by_sentinel || query.contains('#')) {
            return Err(
                "has a query or a fragment, which this scheme does not allow; write ? and # in a password as %3F and %23",
            );
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, places) = match authority.rsplit_once('@') {
            Some((login, places)) => (Some(login), places),
            None => (None, authority),
        };
        let (user, password) = login.map_or(Ok((None, None)), read_login)?;
        let port = if by_sentinel { SENTINEL_PORT } else { PORT };
        let hosts: Vec<_> =
            places.split(',').map(|place| read_place(place, port)).collect::<Result<_, _>>()?;
        if hosts.len() > HOSTS_MAX {
            return Err("names more than 16 hosts");
        }
        let (sentinel, database) = match path.split_once('/').unwrap_or((path, "")) {
            (service, database) if by_sentinel => (Some(read_sentinel(service, query)?), database),
            _ => (None, path),
        };
        let database = match database {
            "" => 0,
            digits if is_number(digits) => {
                digits.parse().map_err(|_| "has a database number that is too large")?
            }
            _ => return Err("has a path that is no database number; write / in a password as %2F"),
        };
        Ok(RedisAddress { tls, hosts, sentinel, user, password, database })
    }
}

impl FromStr for RedisUrl {
    type Err = std::convert::Infallible;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(url))
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL that cannot be read may have its password anywhere.
        let Ok(address) = self.address() else {
            return formatter.write_str(if self.is_empty() { "" } else { "***" });
        };
        let (url, query) = self.0.split_once('?').unwrap_or((&self.0[..], ""));
        let query = masked(query);
        match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, login)), Some((_, place))) if address.password.is_some() => {
                let user = login.split(':').next().unwrap_or_default();
                write!(formatter, "{scheme}://{user}:***@{place}{query}")
            }
            _ => write!(formatter, "{url}{query}"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl RedisAddress {
    fn has_password(&self) -> bool {
        let of_sentinels = self.sentinel.as_ref().and_then(|sentinel| sentinel.password.as_ref());
        self.password.is_some() || of_sentinels.is_some()
    }
}

impl fmt::Display for RedisAddress {
    /// Writes the hosts without the login.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(sentinel) = &self.sentinel {
            write!(formatter, "{} by ", sentinel.service)?;
        }
        for (number, host) in self.hosts.iter().enumerate() {
            write!(formatter, "{}{host}", if number == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl RedisHost {
    /// Returns the first `max` hosts, each once.
    pub(crate) fn distinct<'a>(hosts: impl Iterator<Item = &'a Self>, max: usize) -> Vec<Self> {
        let mut distinct: Vec<Self> = Vec::new();
        for host in hosts {
            if !distinct.contains(host) && distinct.len() < max {
                distinct.push(host.clone());
            }
        }
        distinct
    }
}

impl fmt::Display for RedisHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(formatter, "[{}]:{}", self.name, self.port),
            false => write!(formatter, "{}:{}", self.name, self.port),
        }
    }
}

fn read_sentinel(service: &str, query: Option<&str>) -> Result<RedisSentinel, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if service.is_empty() || !service.bytes().all(is_plain) {
        return Err("names no service behind the Sentinels; write redis+sentinel://host:26379/mymaster");
    }
    let (mut user, mut password) = (None, None);
    for pair in query.iter().flat_map(|query| query.split('&')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = unescape(value)?;
        match name {
            _ if value.is_empty() => return Err(QUERY_FAULT),
            SENTINEL_USERNAME if user.is_none() => user = Some(value),
            SENTINEL_PASSWORD if password.is_none() => password = Some(Secret::new(value)),
            _ => return Err(QUERY_FAULT),
        }
    }
    if user.is_some() && password.is_none() {
        return Err("has a sentinel_username without a sentinel_password");
    }
    Ok(RedisSentinel { service: service.to_owned(), user, password })
}

const QUERY_FAULT: &str = "has a query that is not sentinel_username=…&sentinel_password=…, or sentinel_password=… alone; \
                           write ? and & in a password as %3F and %26";

/// Returns a query with its question mark and a masked password; empty for an empty query.
fn masked(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs: Vec<String> = pairs
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if name == SENTINEL_PASSWORD => format!("{name}=***"),
            _ => pair.to_owned(),
        })
        .collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn read_login(login: &str) -> Result<(Option<String>, Option<Secret>), &'static str> {
    // `redis://word@host` is a user to some programs and a password to others.
    let (user, password) = login
        .split_once(':')
        .ok_or("has a name before @ without a colon; write user:password@ or :password@")?;
    let user = unescape(user)?;
    let password = unescape(password)?;
    Ok((Some(user).filter(|user| !user.is_empty()), Some(Secret::new(password))))
}

fn unescape(text: &str) -> Result<String, &'static str> {
    let text =
        percent_decode_str(text).decode_utf8().map_err(|_| "has a user or password that is not UTF-8")?;
    Ok(text.into_owned())
}

fn read_place(place: &str, default_port: u16) -> Result<RedisHost, &'static str> {
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (host, port),
        Some(_) => return Err("has brackets around a host that is no IPv6 address"),
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if host.is_empty() {
        return Err("names no host");
    }
    if host.len() > 253 || !host.bytes().all(is_plain) {
        return Err(
            "has a host that is neither a name nor an address; escape @ and : in a password as %40 and %3A",
        );
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port,
        Some(digits) if is_number(digits) => {
            digits.parse().ok().filter(|port| *port != 0).ok_or("has a port outside 1 to 65535")?
        }
        _ => return Err("has a port that is no number; an IPv6 address stands in brackets"),
    };
    Ok(RedisHost { name: host.to_owned(), port })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;

//! Finds the credential of a request and has it authenticated before anything else is read.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::{HeaderMap, Method, header, request::Parts};

use super::{error::ErrorResponse, origin_check, parameters::Query};
use crate::auth::{Credential, Identity, denied};
use crate::config::{AuthSettings, Secret};
use crate::error::{Code, Error};
use crate::hub::Hub;
use crate::transport::socket::PeerInfo;

/// A client whose credential was good, or that has none.
pub(super) struct Authenticated {
    identity: Arc<Identity>,
    credential: Option<Credential>,
    /// Set if the origin of the page forbids acting on its cookie alone.
    cookie_fault: Option<Error>,
}

impl Authenticated {
    /// Returns the identity for opening a stream.
    ///
    /// # Errors
    /// 403 if a page of another origin has nothing but a cookie.
    pub(super) fn for_stream(self) -> Result<Arc<Identity>, Error> {
        self.cookie_fault.map_or(Ok(self.identity), Err)
    }

    /// Takes the credential of the request.
    pub(super) fn take_credential(&mut self) -> Option<Credential> {
        self.credential.take()
    }

    /// Returns the identity for one read. CORS keeps pages of other origins from the response.
    ///
    /// # Errors
    /// 403 for a ticket: it only opens streams.
    pub(super) fn for_reading(self) -> Result<Arc<Identity>, Error> {
        if self.identity.is_ticket() { Err(denied(&self.identity)) } else { Ok(self.identity) }
    }

    /// Returns the identity for a change.
    ///
    /// # Errors
    /// Those of [`Authenticated::for_stream`] and [`Authenticated::for_reading`].
    pub(super) fn for_writing(mut self) -> Result<Arc<Identity>, Error> {
        self.cookie_fault.take().map_or_else(|| self.for_reading(), Err)
    }
}

impl FromRequestParts<Hub> for Authenticated {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, ErrorResponse> {
        let CarriedCredential { credential, is_cookie } =
            carried(hub.authorizer().settings().as_deref(), parts)?;
        let is_tls = parts.extensions.get().is_some_and(|arrival: &PeerInfo| arrival.is_tls);
        let identity = match parts.method {
            Method::HEAD => hub.authorizer().authenticate_readonly(credential.as_ref()).await?,
            _ => hub.authorizer().authenticate(credential.as_ref()).await?,
        };
        let origins = &hub.settings().cors.origins;
        let cookie_fault = is_cookie.then(|| origin_check::cookie_fault(parts, origins, is_tls)).flatten();
        Ok(Self { identity, credential, cookie_fault })
    }
}

struct CarriedCredential {
    credential: Option<Credential>,
    is_cookie: bool,
}

/// Finds the credential. The first one present decides; later carriers are ignored. An open hub reads none.
fn carried(settings: Option<&AuthSettings>, parts: &Parts) -> Result<CarriedCredential, Error> {
    let by = |credential| Ok(CarriedCredential { credential: Some(credential), is_cookie: false });
    let authorization = authorization(&parts.headers)?;
    let Some(settings) = settings else {
        return Ok(CarriedCredential { credential: None, is_cookie: false });
    };
    let query = Query::of(&parts.uri);
    if let Some(bearer) = authorization {
        return by(Credential::Bearer(bearer));
    }
    let session = only_header(&parts.headers, "x-session-id")?.or(only_parameter(&query, "sessionId")?);
    if session.is_some() {
        return by(Credential::Session);
    }
    if let Some(ticket) = only_parameter(&query, "ticket")? {
        return by(Credential::Ticket(ticket));
    }
    if let Some(token) = settings.cookie.as_ref().and_then(|name| cookie(&parts.headers, name)) {
        return Ok(CarriedCredential { credential: Some(Credential::Token(token)), is_cookie: true });
    }
    if settings.query_token
        && let Some(token) = only_parameter(&query, "access_token")?
    {
        return by(Credential::Token(token));
    }
    Ok(CarriedCredential { credential: None, is_cookie: false })
}

/// Returns the token after `Bearer`. Another scheme counts as an empty token.
fn authorization(headers: &HeaderMap) -> Result<Option<Secret>, Error> {
    let Some(value) = only_header(headers, header::AUTHORIZATION.as_str())? else { return Ok(None) };
    let token = value.reveal().split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    Ok(Some(Secret::new(token.map_or("", |(_, token)| token.trim()))))
}

/// Returns the value of a header that may appear once. An empty value is present.
fn only_header(headers: &HeaderMap, name: &str) -> Result<Option<Secret>, Error> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::new(Code::BadHeader, format!("two {name} headers; send one")));
    }
    Ok(Some(Secret::new(String::from_utf8_lossy(value.as_bytes()))))
}

fn only_parameter(query: &Query, name: &str) -> Result<Option<Secret>, Error> {
    let mut values = query.all(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::new(
            Code::BadQuery,
            format!("query parameter `{name}` stands twice; give it once"),
        ));
    }
    Ok(Some(Secret::new(value)))
}

/// Returns the value of a cookie. Two different values of one name count as an empty value.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<Secret> {
    let lines = headers.get_all(header::COOKIE).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let mut found: Option<String> = None;
    for line in lines {
        for (other, value) in line.split(';').filter_map(|pair| pair.trim().split_once('=')) {
            let value = value.trim_matches('"');
            match &found {
                _ if other != name => {}
                Some(first) if first != value => return Some(Secret::new("")),
                _ => found = Some(value.to_owned()),
            }
        }
    }
    found.map(Secret::new)
}

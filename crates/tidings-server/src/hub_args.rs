//! Arguments that name a hub and its credential, and the client that they make.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use tidings_client::{Client, Error};

/// URL of a hub that runs with default settings on this machine.
pub(crate) const URL_DEFAULT: &str = "http://127.0.0.1:8000";

/// Arguments that name a hub and its credential.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct HubArgs {
    /// URL of the hub.
    #[arg(long, env = "TIDINGS_URL", default_value = URL_DEFAULT, value_name = "URL")]
    pub(crate) url: String,
    /// Token or API key.
    #[arg(long, env = "TIDINGS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<BearerToken>,
}

impl HubArgs {
    /// Returns whether a token is sent.
    pub(crate) fn has_token(&self) -> bool {
        self.bearer().is_some()
    }

    /// Returns the token that is sent. An empty token is none, because an unset variable often arrives as an empty one.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.token.as_ref().and_then(BearerToken::non_empty)
    }

    /// Builds the client of this hub.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        client_of(&self.url, self.token.as_ref())
    }
}

/// A token that `Debug` masks.
#[derive(Clone)]
pub(crate) struct BearerToken(String);

impl BearerToken {
    /// Returns the token's text.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    fn non_empty(&self) -> Option<&str> {
        Some(self.text()).filter(|token| !token.is_empty())
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FromStr for BearerToken {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

/// Builds a client of the hub at `url`. An empty token is none.
pub(crate) fn client_of(url: &str, token: Option<&BearerToken>) -> Result<Client, Error> {
    let mut builder = Client::builder(url);
    if let Some(token) = token.and_then(BearerToken::non_empty) {
        builder = builder.token(token);
    }
    builder.build()
}

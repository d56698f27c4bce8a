//! Authentication: a credential becomes an identity.

use std::sync::Arc;

use tracing::debug;

use super::credential::{Credential, CredentialError};
use super::identity::{AuthMethod, Identity, Principal};
use super::policy::{AuthenticationError, Policy, ProviderKeys};
use super::state::Authorizer;
use super::token::VerificationKey;
use crate::error::Error;

impl Authorizer {
    /// Authenticates the client of a request, and redeems a ticket.
    ///
    /// # Errors
    /// 401 for a refused credential, 503 if the credential cannot be checked.
    pub(crate) async fn authenticate(&self, credential: Option<&Credential>) -> Result<Arc<Identity>, Error> {
        self.authenticate_with(credential, false).await
    }

    /// Authenticates the client of a `HEAD` request; a ticket stays valid.
    ///
    /// # Errors
    /// As [`Authorizer::authenticate`].
    pub(crate) async fn authenticate_readonly(
        &self,
        credential: Option<&Credential>,
    ) -> Result<Arc<Identity>, Error> {
        self.authenticate_with(credential, true).await
    }

    async fn authenticate_with(
        &self,
        credential: Option<&Credential>,
        is_readonly: bool,
    ) -> Result<Arc<Identity>, Error> {
        let generation = self.generation();
        let Some(policy) = self.policy() else { return Ok(self.open_hub_identity.clone()) };
        let keys = policy.jwks.as_ref().and_then(|jwks| jwks.newest());
        let found = self.identify(&policy, credential, is_readonly).await;
        // An unknown key id may have fetched new keys, and so removed old ones.
        if let Some(jwks) = &policy.jwks {
            self.notify_if_replaced(keys.as_ref(), jwks);
        }
        let (principal, method) = found.map_err(|error| self.authentication_error(error))?;
        policy
            .check(&method, &self.revocations, self.now())
            .map_err(|credential_error| self.credential_error(credential_error))?;
        let permissions = policy.permissions(&method);
        Ok(Arc::new(Identity { principal, permissions, method, generation }))
    }

    async fn identify(
        &self,
        policy: &Policy,
        credential: Option<&Credential>,
        is_readonly: bool,
    ) -> Result<(Principal, AuthMethod), AuthenticationError> {
        match credential {
            None => Ok((Principal::Anonymous, AuthMethod::Anonymous)),
            Some(Credential::Bearer(secret)) if secret.reveal().starts_with("tk_") => {
                Ok(policy.api_key(secret.reveal())?)
            }
            Some(Credential::Bearer(secret) | Credential::Token(secret)) => {
                policy.token(secret.reveal()).await
            }
            Some(Credential::Ticket(secret)) => {
                let (issuer, subscriptions) =
                    self.redeem_ticket(policy, secret.reveal(), is_readonly).await?;
                Ok((issuer.principal.clone(), AuthMethod::Ticket { issuer, subscriptions }))
            }
            // No route creates sessions yet.
            Some(Credential::Session) => Err(CredentialError::Session.into()),
        }
    }

    /// Fetches the keys of the identity provider, if there is one; has streams reauthorized if the keys changed.
    pub(crate) async fn refresh_jwks(&self) {
        let Some(jwks) = self.policy().and_then(|policy| policy.jwks.clone()) else { return };
        let before = jwks.newest();
        jwks.refresh().await;
        self.notify_if_replaced(before.as_ref(), &jwks);
    }

    fn notify_if_replaced(&self, before: Option<&Arc<Vec<VerificationKey>>>, jwks: &ProviderKeys) {
        let newest = jwks.newest();
        let is_replaced = before.zip(newest.as_ref()).is_some_and(|(old, new)| !Arc::ptr_eq(old, new));
        if is_replaced {
            self.notify_change();
        }
    }

    pub(super) fn authentication_error(&self, error: AuthenticationError) -> Error {
        match error {
            AuthenticationError::Credential(credential_error) => self.credential_error(credential_error),
            AuthenticationError::Unavailable(error) => error,
        }
    }

    /// Logs and counts a refused credential; returns the error for the client.
    pub(super) fn credential_error(&self, credential_error: CredentialError) -> Error {
        debug!(?credential_error, "credentials refused");
        self.metrics.auth.failed(credential_error.as_str());
        credential_error.client_error()
    }
}

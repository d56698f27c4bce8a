//! Issue and redemption of tickets. A ticket permits one stream of exactly its subscriptions.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tidings_protocol::Subscription;

use super::{Ticket, store};
use crate::auth::authorizer::ReadKind;
use crate::auth::credential::{Credential, CredentialError};
use crate::auth::denial::{DeniedAction, DeniedBy, denied, denied_by};
use crate::auth::identity::{AuthMethod, Identity, Principal};
use crate::auth::policy::{AuthenticationError, Policy};
use crate::auth::state::Authorizer;
use crate::config::Secret;
use crate::error::Error;

/// A redeemed ticket.
enum RedeemedTicket {
    /// Issued at this node to this identity.
    Local(Arc<Identity>, Vec<Subscription>),
    /// Issued at any node for this credential.
    Shared(Secret, Vec<Subscription>),
}

impl Authorizer {
    /// Issues a ticket for a stream of exactly these subscriptions. `credential` is the one of the request.
    ///
    /// # Errors
    /// As [`Authorizer::subscribe`]; 401 or 403 for a client without credentials or with a ticket, 429 for too many
    /// tickets, 503 if the ticket cannot be stored.
    pub(crate) async fn issue_ticket(
        &self,
        identity: &Arc<Identity>,
        credential: Option<&Credential>,
        subscriptions: Vec<Subscription>,
    ) -> Result<Ticket, Error> {
        if identity.is_ticket() || identity.principal == Principal::Anonymous {
            return Err(denied(identity));
        }
        let permit = self.subscribe(identity, subscriptions, ReadKind::Stream).await?;
        let now = self.now_millis();
        let Some(ticket_store) = self.ticket_store.get() else {
            return self.tickets.issue(identity, permit.subscriptions().to_vec(), now);
        };
        let secret = match credential {
            Some(Credential::Bearer(secret) | Credential::Token(secret)) => secret.clone(),
            // An open hub asks for no credential.
            _ => Secret::new(""),
        };
        let ticket = self.tickets.issue_shared(identity, now)?;
        let text = ticket.text.reveal();
        let sealed = store::seal(text, &secret, permit.subscriptions());
        let life = Duration::from_millis(ticket.expires_at.saturating_sub(now));
        ticket_store.put(store::name(text), sealed, life).await?;
        Ok(ticket)
    }

    /// Redeems a ticket: returns the identity that it was issued to, and its subscriptions. A readonly call leaves it valid.
    pub(in crate::auth) async fn redeem_ticket(
        &self,
        policy: &Policy,
        text: &str,
        is_readonly: bool,
    ) -> Result<(Arc<Identity>, Vec<Subscription>), AuthenticationError> {
        let generation = self.generation();
        let (credential, subscriptions) = match self.take_ticket(text, is_readonly).await? {
            RedeemedTicket::Local(issuer, subscriptions) => return Ok((issuer, subscriptions)),
            RedeemedTicket::Shared(credential, subscriptions) => (credential, subscriptions),
        };
        let (principal, method) = match credential.reveal() {
            key if key.starts_with("tk_") => policy.api_key(key)?,
            token => policy.token(token).await?,
        };
        let permissions = policy.permissions(&method);
        Ok((Arc::new(Identity { principal, permissions, method, generation }), subscriptions))
    }

    async fn take_ticket(
        &self,
        text: &str,
        is_readonly: bool,
    ) -> Result<RedeemedTicket, AuthenticationError> {
        let Some(ticket_store) = self.ticket_store.get() else {
            let (tickets, now) = (&self.tickets, self.now_millis());
            let found = if is_readonly { tickets.peek(text, now) } else { tickets.redeem(text, now) };
            let (issuer, subscriptions) = found.ok_or(CredentialError::Ticket)?;
            return Ok(RedeemedTicket::Local(issuer, subscriptions));
        };
        let name = store::name(text);
        let sealed =
            if is_readonly { ticket_store.look(name).await? } else { ticket_store.take(name).await? };
        let opened = sealed.and_then(|sealed| store::open(text, sealed));
        let (credential, subscriptions) = opened.ok_or(CredentialError::Ticket)?;
        Ok(RedeemedTicket::Shared(credential, subscriptions))
    }

    /// Returns the channels of a stream request that names none: those of its ticket; `None` without a ticket.
    ///
    /// An open hub authenticates nothing, so it redeems the `ticket` of the request here. A readonly call leaves it valid.
    ///
    /// # Errors
    /// 401 for an invalid or redeemed ticket, 503 if the ticket cannot be checked.
    pub(crate) async fn ticket_channels(
        &self,
        identity: &Identity,
        ticket: Option<&str>,
        is_readonly: bool,
    ) -> Result<Option<Vec<Subscription>>, Error> {
        if let AuthMethod::Ticket { subscriptions, .. } = &identity.method {
            return Ok(Some(subscriptions.clone()));
        }
        let Some(text) = ticket.filter(|_| self.policy.is_none()) else { return Ok(None) };
        match self.take_ticket(text, is_readonly).await {
            Ok(RedeemedTicket::Local(_, subscriptions) | RedeemedTicket::Shared(_, subscriptions)) => {
                Ok(Some(subscriptions))
            }
            Err(error) => Err(self.authentication_error(error)),
        }
    }

    /// Checks that a ticket is used for a stream of exactly its subscriptions.
    pub(in crate::auth) fn check_ticket(
        &self,
        identity: &Identity,
        requested: &[Subscription],
        read_kind: ReadKind,
    ) -> Result<(), Error> {
        let AuthMethod::Ticket { subscriptions, .. } = &identity.method else { return Ok(()) };
        let is_exact = requested.iter().collect::<HashSet<_>>() == subscriptions.iter().collect();
        if is_exact && read_kind == ReadKind::Stream {
            return Ok(());
        }
        let other = requested.iter().find(|one| !subscriptions.contains(one)).or(requested.first());
        let action = DeniedAction::Subscribe(other.map_or("", Subscription::as_str));
        Err(denied_by(DeniedBy::Pattern, identity, action, &self.metrics))
    }
}

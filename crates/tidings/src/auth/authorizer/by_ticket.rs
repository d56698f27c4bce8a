//! Tickets at the gate: it issues and spends them, and admits them only to the channels that they name.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tidings_protocol::Subscription;

use super::Authorizer;
use crate::{
    auth::{
        Credential, CredentialError, Identity, Principal, ReadKind, Ticket,
        denial::{DeniedAction, DeniedBy, denied, denied_by},
        identity::AuthMethod,
        policy::{Policy, PolicyError},
        tickets::store,
    },
    config::Secret,
    error::Error,
};

/// A ticket that was spent.
enum RedeemedTicket {
    /// Issued at this node, with the caller that it was issued to.
    Here(Arc<Identity>, Vec<Subscription>),
    /// Made at any node, on a credential.
    Shared(Secret, Vec<Subscription>),
}

impl Authorizer {
    /// Makes a ticket for a stream of exactly these channels; `credential` is what the caller was admitted on.
    ///
    /// # Errors
    /// As [`Authorizer::subscribe`]; 429 for too many, 503 where it could not be kept. A ticket makes no ticket, and who has no
    /// credentials needs none.
    pub(crate) async fn ticket(
        &self,
        identity: &Arc<Identity>,
        credential: Option<&Credential>,
        subscriptions: Vec<Subscription>,
    ) -> Result<Ticket, Error> {
        if identity.is_ticket() || identity.principal == Principal::Anonymous {
            return Err(denied(identity));
        }
        let permit = self.subscribe(identity, subscriptions, ReadKind::Stream).await?;
        let now = (self.clock)();
        let Some(ticket_store) = self.ticket_store.get() else {
            return self.tickets.make(identity, permit.subscriptions().to_vec(), now);
        };
        let secret = match credential {
            Some(Credential::Bearer(secret) | Credential::Token(secret)) => secret.clone(),
            // An open hub asks for none, and a hub with `[auth]` takes an empty one for none.
            _ => Secret::new(""),
        };
        let ticket = self.tickets.issue(identity, now)?;
        let text = ticket.text.reveal();
        let sealed = store::seal(text, &secret, permit.subscriptions());
        let life = Duration::from_millis(ticket.expires_at.saturating_sub(now));
        ticket_store.put(store::name(text), sealed, life).await?;
        Ok(ticket)
    }

    /// Takes a ticket out, or only looks at it: who made it, and what it is for.
    pub(super) async fn redeem(
        &self,
        rules: &Policy,
        text: &str,
        only_looks: bool,
    ) -> Result<(Arc<Identity>, Vec<Subscription>), PolicyError> {
        let admitted_at = *self.changes.borrow();
        let (credential, subscriptions) = match self.take_ticket(text, only_looks).await? {
            RedeemedTicket::Here(maker, subscriptions) => return Ok((maker, subscriptions)),
            RedeemedTicket::Shared(credential, subscriptions) => (credential, subscriptions),
        };
        let (principal, basis) = match credential.reveal() {
            key if key.starts_with("tk_") => rules.api_key(key)?,
            token => rules.token(token).await?,
        };
        let permissions = rules.permissions(&basis);
        Ok((Arc::new(Identity { principal, permissions, basis, admitted_at }), subscriptions))
    }

    /// Takes a ticket from where it lies, so that it is spent, or only looks at it.
    async fn take_ticket(&self, text: &str, only_looks: bool) -> Result<RedeemedTicket, PolicyError> {
        let Some(ticket_store) = self.ticket_store.get() else {
            let (tickets, now) = (&self.tickets, (self.clock)());
            let found = if only_looks { tickets.look(text, now) } else { tickets.redeem(text, now) };
            let (maker, subscriptions) = found.ok_or(CredentialError::Ticket)?;
            return Ok(RedeemedTicket::Here(maker, subscriptions));
        };
        let name = store::name(text);
        let sealed =
            if only_looks { ticket_store.look(name).await? } else { ticket_store.take(name).await? };
        let opened = sealed.and_then(|sealed| store::open(text, sealed));
        let (credential, subscriptions) = opened.ok_or(CredentialError::Ticket)?;
        Ok(RedeemedTicket::Shared(credential, subscriptions))
    }

    /// Returns the channels of a stream that names none: those of its caller's ticket. An open hub admits nobody on a
    /// ticket, so the one that is `shown` is spent here, unless the caller only looks. None without a ticket.
    ///
    /// # Errors
    /// 401 for a ticket that is none or is spent, 503 where that cannot be told.
    pub(crate) async fn ticket_channels(
        &self,
        identity: &Identity,
        shown: Option<&str>,
        only_looks: bool,
    ) -> Result<Option<Vec<Subscription>>, Error> {
        if let AuthMethod::Ticket { subscriptions, .. } = &identity.basis {
            return Ok(Some(subscriptions.clone()));
        }
        let Some(text) = shown.filter(|_| self.rules.is_none()) else { return Ok(None) };
        match self.take_ticket(text, only_looks).await {
            Ok(RedeemedTicket::Here(_, subscriptions) | RedeemedTicket::Shared(_, subscriptions)) => {
                Ok(Some(subscriptions))
            }
            Err(PolicyError::Flaw(credential_error)) => Err(self.credential_error(credential_error)),
            Err(PolicyError::Error(error)) => Err(error),
        }
    }

    /// Refuses a ticket for anything but a stream of exactly its channels.
    pub(super) fn check_ticket(
        &self,
        identity: &Identity,
        asked: &[Subscription],
        reading: ReadKind,
    ) -> Result<(), Error> {
        let AuthMethod::Ticket { subscriptions, .. } = &identity.basis else { return Ok(()) };
        let is_exact = asked.iter().collect::<HashSet<_>>() == subscriptions.iter().collect();
        if is_exact && reading == ReadKind::Stream {
            return Ok(());
        }
        let foreign = asked.iter().find(|asked| !subscriptions.contains(asked)).or(asked.first());
        let wanted = DeniedAction::Subscribe(foreign.map_or("", Subscription::as_str));
        Err(denied_by(DeniedBy::Pattern, identity, wanted, &self.metrics))
    }
}

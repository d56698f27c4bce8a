//! Tickets at the gate: it issues and spends them, and admits them only to the channels that they name.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tidings_protocol::Subscription;

use super::Gate;
use crate::{
    auth::{
        Caller, Credential, Flaw, Principal, Reading, Ticket,
        denial::{By, Wanted, denied, denied_by},
        identity::Basis,
        policy::{Refused, Rules},
        tickets::store,
    },
    config::Secret,
    error::Error,
};

/// A ticket that was spent.
enum Taken {
    /// Issued at this node, with the caller that it was issued to.
    Here(Arc<Caller>, Vec<Subscription>),
    /// Made at any node, on a credential.
    Shared(Secret, Vec<Subscription>),
}

impl Gate {
    /// Makes a ticket for a stream of exactly these channels; `credential` is what the caller was admitted on.
    ///
    /// # Errors
    /// As [`Gate::subscribe`]; 429 for too many, 503 where it could not be kept. A ticket makes no ticket, and who has no
    /// credentials needs none.
    pub(crate) async fn ticket(
        &self,
        caller: &Arc<Caller>,
        credential: Option<&Credential>,
        subscriptions: Vec<Subscription>,
    ) -> Result<Ticket, Error> {
        if caller.is_ticket() || caller.principal == Principal::Anonymous {
            return Err(denied(caller));
        }
        let permit = self.subscribe(caller, subscriptions, Reading::Stream).await?;
        let now = (self.clock)();
        let Some(shelf) = self.shelf.get() else {
            return self.tickets.make(caller, permit.subscriptions().to_vec(), now);
        };
        let secret = match credential {
            Some(Credential::Bearer(secret) | Credential::Token(secret)) => secret.clone(),
            // An open hub asks for none, and a hub with `[auth]` takes an empty one for none.
            _ => Secret::new(""),
        };
        let ticket = self.tickets.draw(caller, now)?;
        let text = ticket.text.reveal();
        let sealed = store::seal(text, &secret, permit.subscriptions());
        let life = Duration::from_millis(ticket.expires_at.saturating_sub(now));
        shelf.put(store::name(text), sealed, life).await?;
        Ok(ticket)
    }

    /// Takes a ticket out, or only looks at it: who made it, and what it is for.
    pub(super) async fn redeem(
        &self,
        rules: &Rules,
        text: &str,
        only_looks: bool,
    ) -> Result<(Arc<Caller>, Vec<Subscription>), Refused> {
        let admitted_at = *self.changes.borrow();
        let (credential, subscriptions) = match self.take_ticket(text, only_looks).await? {
            Taken::Here(maker, subscriptions) => return Ok((maker, subscriptions)),
            Taken::Shared(credential, subscriptions) => (credential, subscriptions),
        };
        let (principal, basis) = match credential.reveal() {
            key if key.starts_with("tk_") => rules.api_key(key)?,
            token => rules.token(token).await?,
        };
        let rights = rules.rights(&basis);
        Ok((Arc::new(Caller { principal, rights, basis, admitted_at }), subscriptions))
    }

    /// Takes a ticket from where it lies, so that it is spent, or only looks at it.
    async fn take_ticket(&self, text: &str, only_looks: bool) -> Result<Taken, Refused> {
        let Some(shelf) = self.shelf.get() else {
            let (tickets, now) = (&self.tickets, (self.clock)());
            let found = if only_looks { tickets.look(text, now) } else { tickets.spend(text, now) };
            let (maker, subscriptions) = found.ok_or(Flaw::Ticket)?;
            return Ok(Taken::Here(maker, subscriptions));
        };
        let name = store::name(text);
        let sealed = if only_looks { shelf.look(name).await? } else { shelf.take(name).await? };
        let opened = sealed.and_then(|sealed| store::open(text, sealed));
        let (credential, subscriptions) = opened.ok_or(Flaw::Ticket)?;
        Ok(Taken::Shared(credential, subscriptions))
    }

    /// Returns the channels of a stream that names none: those of its caller's ticket. An open hub admits nobody on a
    /// ticket, so the one that is `shown` is spent here, unless the caller only looks. None without a ticket.
    ///
    /// # Errors
    /// 401 for a ticket that is none or is spent, 503 where that cannot be told.
    pub(crate) async fn ticket_channels(
        &self,
        caller: &Caller,
        shown: Option<&str>,
        only_looks: bool,
    ) -> Result<Option<Vec<Subscription>>, Error> {
        if let Basis::Ticket { subscriptions, .. } = &caller.basis {
            return Ok(Some(subscriptions.clone()));
        }
        let Some(text) = shown.filter(|_| self.rules.is_none()) else { return Ok(None) };
        match self.take_ticket(text, only_looks).await {
            Ok(Taken::Here(_, subscriptions) | Taken::Shared(_, subscriptions)) => Ok(Some(subscriptions)),
            Err(Refused::Flaw(flaw)) => Err(self.refused(flaw)),
            Err(Refused::Error(error)) => Err(error),
        }
    }

    /// Refuses a ticket for anything but a stream of exactly its channels.
    pub(super) fn check_ticket(
        &self,
        caller: &Caller,
        asked: &[Subscription],
        reading: Reading,
    ) -> Result<(), Error> {
        let Basis::Ticket { subscriptions, .. } = &caller.basis else { return Ok(()) };
        let is_exact = asked.iter().collect::<HashSet<_>>() == subscriptions.iter().collect();
        if is_exact && reading == Reading::Stream {
            return Ok(());
        }
        let foreign = asked.iter().find(|asked| !subscriptions.contains(asked)).or(asked.first());
        let wanted = Wanted::Subscribe(foreign.map_or("", Subscription::as_str));
        Err(denied_by(By::Pattern, caller, wanted, &self.metrics))
    }
}

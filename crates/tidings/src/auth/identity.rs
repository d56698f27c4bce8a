//! Identities: the principal of a request, its permissions, and how it authenticated.

use std::{sync::Arc, time::Duration};

use tidings_protocol::Subscription;

use super::hook::Subject;
use super::permissions::Permissions;
use super::token::{Claims, KeyFingerprint};
use crate::config::Algorithm;
use crate::config::bounds::{KEY_NAME_BYTES_MAX, USER_NAME_BYTES_MAX};

const OF_USER: &str = "user:";
const OF_KEY: &str = "key:";

/// Longest name that [`Principal::publisher`] returns.
pub(crate) const PUBLISHER_BYTES_MAX: usize = {
    let (user, key) = (OF_USER.len() + USER_NAME_BYTES_MAX, OF_KEY.len() + KEY_NAME_BYTES_MAX);
    if user > key { user } else { key }
};

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Principal {
    /// The host application, or any client of an open hub.
    Local,
    /// A client without credentials.
    Anonymous,
    /// A user, by the name in the token.
    User(Arc<str>),
    /// A backend, by the name of its key.
    Key(Arc<str>),
}

/// An authenticated client.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(super) principal: Principal,
    pub(super) permissions: Permissions,
    pub(super) method: AuthMethod,
    /// Number of changes that the authorizer had counted at authentication.
    pub(super) generation: u64,
}

/// How a client authenticated. An open stream is checked again by it.
#[derive(Debug, Clone)]
pub(super) enum AuthMethod {
    /// The call comes from within the process.
    Process,
    /// The hub is open.
    OpenHub,
    /// The request has no credentials.
    Anonymous,
    /// An API key, by the hash of its secret.
    Key([u8; 32]),
    /// A token, and the key that signed it.
    Token { claims: Box<Claims>, algorithm: Algorithm, key: KeyFingerprint },
    /// A ticket for exactly these subscriptions.
    Ticket { issuer: Arc<Identity>, subscriptions: Vec<Subscription> },
}

impl Principal {
    /// Returns the name that idempotency keys and publish rates are counted by.
    pub(crate) fn publisher(&self) -> Arc<str> {
        match self {
            Self::Local | Self::Anonymous => "".into(),
            Self::User(name) => format!("{OF_USER}{name}").into(),
            Self::Key(name) => format!("{OF_KEY}{name}").into(),
        }
    }
}

impl Identity {
    /// Returns the identity of the host application, or of a client of an open hub.
    pub(super) fn local(method: AuthMethod) -> Self {
        Self { principal: Principal::Local, permissions: Permissions::EVERYTHING, method, generation: 0 }
    }

    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Returns the user whose streams are counted together.
    pub(crate) fn user(&self) -> Option<&Arc<str>> {
        match &self.principal {
            Principal::User(name) => Some(name),
            _ => None,
        }
    }

    /// Whether this identity is the principal `other`. Anonymous clients are no one principal.
    pub(crate) fn is_owner_of(&self, other: &Principal) -> bool {
        self.principal != Principal::Anonymous && self.principal == *other
    }

    /// Whether the client authenticated by a ticket, which permits only a stream.
    pub(crate) fn is_ticket(&self) -> bool {
        matches!(self.method, AuthMethod::Ticket { .. })
    }

    /// Returns the end of the credentials, in seconds since 1970.
    pub(super) fn expires_at(&self) -> Option<f64> {
        match &self.method {
            AuthMethod::Token { claims, .. } => Some(claims.expires_at),
            AuthMethod::Ticket { issuer, .. } => issuer.expires_at(),
            _ => None,
        }
    }

    /// Returns the subject for the hook, which is not asked about API keys and the host application.
    pub(super) fn hook_subject(&self) -> HookSubject {
        match (&self.principal, &self.method) {
            (Principal::User(name), _) => HookSubject::Ask(Some(Subject::User(name.clone()))),
            (_, AuthMethod::Anonymous | AuthMethod::OpenHub) => HookSubject::Ask(None),
            _ => HookSubject::Skip,
        }
    }
}

/// Subject of a hook request.
pub(super) enum HookSubject {
    /// The hook is not asked.
    Skip,
    /// `None` stands for a client without credentials.
    Ask(Option<Subject>),
}

/// Returns the time until `at`, in seconds since 1970; zero if it has passed.
pub(super) fn time_until(at: f64, now_millis: u64) -> Duration {
    // The upper bound keeps the conversion from panicking for a far `exp`.
    const YEARS: f64 = 100.0 * 365.0 * 86_400.0;
    Duration::from_secs_f64((at - now_millis as f64 / 1000.0).clamp(0.0, YEARS))
}

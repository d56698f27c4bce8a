//! Who asks, what they may do, and what that rests on, so that it can be judged again while a stream is open.

use std::{sync::Arc, time::Duration};

use tidings_protocol::Subscription;

use super::{
    hook::Subject,
    permissions::Permissions,
    token::{Claims, KeyFingerprint},
};
use crate::config::{
    Algorithm,
    bounds::{KEY_NAME_BYTES_MAX, USER_NAME_BYTES_MAX},
};

const OF_USER: &str = "user:";
const OF_KEY: &str = "key:";

/// Longest name that [`Principal::publisher`] returns.
pub(crate) const PUBLISHER_BYTES_MAX: usize = {
    let (user, key) = (OF_USER.len() + USER_NAME_BYTES_MAX, OF_KEY.len() + KEY_NAME_BYTES_MAX);
    if user > key { user } else { key }
};

/// Who is on the other end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Principal {
    /// The hub's own process, or any program where the hub is open.
    Local,
    /// Somebody whom nobody vouches for.
    Anonymous,
    /// A user, by the name that the token has.
    User(Arc<str>),
    /// A backend, by the name of its key.
    Key(Arc<str>),
}

/// Somebody who was admitted.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(super) principal: Principal,
    pub(super) permissions: Permissions,
    pub(super) basis: AuthMethod,
    /// How often the rules had changed by then.
    pub(super) admitted_at: u64,
}

/// What somebody was admitted on.
#[derive(Debug, Clone)]
pub(super) enum AuthMethod {
    /// The call comes from within the process.
    Process,
    /// The hub is open.
    OpenHub,
    /// No credentials were there.
    Nothing,
    /// An API key, by the hash of its secret.
    Key([u8; 32]),
    /// A token, and the key that signed it.
    Token { claims: Box<Claims>, algorithm: Algorithm, key: KeyFingerprint },
    /// A ticket for exactly these subscriptions.
    Ticket { maker: Arc<Identity>, subscriptions: Vec<Subscription> },
}

impl Principal {
    /// Whose idempotency keys and rates these are.
    pub(crate) fn publisher(&self) -> Arc<str> {
        match self {
            Self::Local | Self::Anonymous => "".into(),
            Self::User(name) => format!("{OF_USER}{name}").into(),
            Self::Key(name) => format!("{OF_KEY}{name}").into(),
        }
    }
}

impl Identity {
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The user whose streams are counted together.
    pub(crate) fn user(&self) -> Option<&Arc<str>> {
        match &self.principal {
            Principal::User(name) => Some(name),
            _ => None,
        }
    }

    /// Whether what belongs to the other belongs to this one, too. Anonymous clients own nothing by name.
    pub(crate) fn is_owner_of(&self, other: &Principal) -> bool {
        self.principal != Principal::Anonymous && self.principal == *other
    }

    /// Whether it was admitted on a ticket, which is for a stream and nothing else.
    pub(crate) fn is_ticket(&self) -> bool {
        matches!(self.basis, AuthMethod::Ticket { .. })
    }

    /// When what it was admitted on ends, in seconds since 1970.
    pub(super) fn expires_at(&self) -> Option<f64> {
        match &self.basis {
            AuthMethod::Token { claims, .. } => Some(claims.expires_at),
            AuthMethod::Ticket { maker, .. } => maker.expires_at(),
            _ => None,
        }
    }

    /// How the hook is told of it; API keys and the process itself are not asked about.
    pub(super) fn subject(&self) -> SubjectOwned {
        match (&self.principal, &self.basis) {
            (Principal::User(name), _) => SubjectOwned::As(Some(Subject::User(name.clone()))),
            (_, AuthMethod::Nothing | AuthMethod::OpenHub) => SubjectOwned::As(None),
            _ => SubjectOwned::Not,
        }
    }
}

/// Whether the hook is asked about somebody, and by what name.
pub(super) enum SubjectOwned {
    Not,
    As(Option<Subject>),
}

/// How long until a time in seconds since 1970; nothing where it has passed.
pub(super) fn until(at: f64, now_millis: u64) -> Duration {
    // A token of the year 10,000 is as good as one for ever.
    const YEARS: f64 = 100.0 * 365.0 * 86_400.0;
    Duration::from_secs_f64((at - now_millis as f64 / 1000.0).clamp(0.0, YEARS))
}

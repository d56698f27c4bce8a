//! The one table of settings: file, environment, `tidings check` and the manual all follow it.

use tidings::config::{Settings, bounds};

use super::form::{
    Addresses, Count, Directory, DurabilityWord, Duration, EnvelopeWord, Form, OptionalDuration, Raw, Size,
    Switch, Texts, between,
};

/// A setting of this version.
pub(crate) struct Setting {
    /// Its name: section and key, as in the file.
    pub(crate) name: &'static str,
    /// Who may give it.
    pub(crate) given: Given,
    /// How its values are written, in words.
    pub(crate) form: &'static str,
    /// Its bound in words; empty where every value of the form will do.
    pub(crate) bound: fn() -> String,
    /// A good value, as in the file.
    pub(crate) example: &'static str,
    /// What it does.
    pub(crate) doc: &'static str,
    /// Reads a value into the settings; the error goes on after the name.
    pub(crate) read: fn(&mut Settings, &Raw) -> Result<(), String>,
    /// Shows the value as the file has it.
    pub(crate) show: fn(&Settings) -> String,
}

/// Who may give a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    /// The file and the environment, by its name; some by a flag, too.
    Anywhere,
    /// This variable only.
    Variable(&'static str),
    /// This flag only.
    Flag(&'static str),
}

/// A setting that a later version brings. It is refused, since who sets it counts on it.
pub(crate) struct Later {
    /// Its name, or that of its section.
    pub(crate) name: &'static str,
    /// What to do until then.
    pub(crate) way_out: &'static str,
}

impl Later {
    /// What to do about a variable until then.
    pub(crate) fn way_out_of_environment(&self) -> String {
        self.way_out.replacen("remove", "unset", 1)
    }
}

impl Setting {
    /// Its name in the environment, if it may be given there.
    pub(crate) fn variable(&self) -> Option<String> {
        match self.given {
            Given::Anywhere => Some(variable_of(self.name)),
            Given::Variable(name) => Some(name.to_owned()),
            Given::Flag(_) => None,
        }
    }

    /// Whether a settings file may hold it.
    pub(crate) fn can_stand_in_file(&self) -> bool {
        self.given == Given::Anywhere
    }
}

/// The name in the environment of a setting: `log.retention_age` is `TIDINGS_LOG_RETENTION_AGE`.
pub(crate) fn variable_of(name: &str) -> String {
    format!("TIDINGS_{}", name.replace('.', "_").to_uppercase())
}

/// One row. The name is the field, so the two cannot drift apart.
macro_rules! setting {
    ($($field:ident).+, $form:ident, $bound:expr, $example:literal, $doc:literal) => {
        setting!(Given::Anywhere, $($field).+, $form, $bound, $example, $doc)
    };
    ($given:expr, $($field:ident).+, $form:ident, $bound:expr, $example:literal, $doc:literal) => {
        Setting {
            name: dotted!($($field).+),
            given: $given,
            form: <$form as Form>::NAME,
            bound: $bound,
            example: $example,
            doc: $doc,
            read: |settings, raw| {
                settings.$($field).+ = <$form as Form>::read(raw)?;
                Ok(())
            },
            show: |settings| <$form as Form>::show(&settings.$($field).+),
        }
    };
}

macro_rules! dotted {
    ($only:ident) => {
        stringify!($only)
    };
    ($section:ident . $key:ident) => {
        concat!(stringify!($section), ".", stringify!($key))
    };
}

/// Every setting of this version, in the order of the manual.
pub(crate) static SETTINGS: &[Setting] = &[
    setting!(
        listen,
        Addresses,
        || "at least one".into(),
        r#"["127.0.0.1:8000"]"#,
        "Addresses to listen on, each with its port; port 0 takes a free one, `localhost` is `127.0.0.1`."
    ),
    setting!(
        data_dir,
        Directory,
        String::new,
        r#""tidings-data""#,
        "The directory that holds the log, made where it is missing; `--memory` keeps everything in memory."
    ),
    setting!(
        Given::Flag("--insecure"),
        insecure,
        Switch,
        String::new,
        "true",
        "Lets a hub without credentials listen on more than loopback, where whoever reaches it may do everything."
    ),
    setting!(
        Given::Variable("TEST_MODE"),
        test_mode,
        Switch,
        String::new,
        "true",
        "`GET /api/v1/events/{channel}` sends one test event and ends, for the tests of a client."
    ),
    setting!(
        log.durability,
        DurabilityWord,
        String::new,
        r#""interval""#,
        "What an answered publish survives. `memory`: nothing, events live in memory only. `interval`: a crash of the \
         hub; written before the answer, synced every second. `fsync`: a crash of the machine; synced before the answer."
    ),
    setting!(
        log.retention_age,
        Duration,
        || between::<Duration>(&bounds::RETENTION_AGE),
        r#""24h""#,
        "How long an event is kept."
    ),
    setting!(
        log.retention_bytes,
        Size,
        || between::<Size>(&bounds::RETENTION_BYTES),
        r#""1GiB""#,
        "How many bytes of events, with their index, are kept. The directory stays within 1.5 times that and 128 MiB."
    ),
    setting!(
        log.retention_events,
        Count,
        || between::<Count>(&bounds::RETENTION_EVENTS),
        "10000",
        "How many events of each channel are kept."
    ),
    setting!(
        log.ring_bytes,
        Size,
        || between::<Size>(&bounds::RING_BYTES),
        r#""64MiB""#,
        "How many bytes of the newest events are held in memory, to be read without the disk."
    ),
    setting!(
        log.idempotency_window,
        Duration,
        || between::<Duration>(&bounds::IDEMPOTENCY_WINDOW),
        r#""10m""#,
        "How long a repeated `Idempotency-Key` gets the first one's answer."
    ),
    setting!(
        log.idempotency_keys,
        Count,
        || between::<Count>(&bounds::IDEMPOTENCY_KEYS),
        "1000000",
        "How many idempotency keys are remembered; past it a publish with a key is refused with 429."
    ),
    setting!(
        stream.enabled,
        Switch,
        String::new,
        "true",
        "Whether streams are served; if not, stream routes answer 204, which stops an `EventSource`."
    ),
    setting!(
        stream.keep_alive,
        Duration,
        || between::<Duration>(&bounds::KEEP_ALIVE),
        r#""15s""#,
        "How long a stream may be silent before a keep-alive is sent. Keep it below the shortest timeout of your proxies."
    ),
    setting!(
        stream.write_timeout,
        Duration,
        || between::<Duration>(&bounds::WRITE_TIMEOUT),
        r#""30s""#,
        "How long a socket with bytes waiting may take none before it is closed."
    ),
    setting!(
        stream.max_age,
        OptionalDuration,
        || between::<Duration>(&bounds::MAX_AGE),
        r#""1h""#,
        "How long a stream may last before its client is asked to reconnect, which loses nothing."
    ),
    setting!(
        channels.envelope,
        EnvelopeWord,
        String::new,
        r#""strict""#,
        "What the data of an event may be. `any`: any text. `strict`: JSON of exactly `type` and `object`, or 422."
    ),
    setting!(
        channels.types,
        Texts,
        String::new,
        r#"["task_created", "task_updated"]"#,
        "The values of `type` that a strict envelope may have; empty allows all."
    ),
    setting!(
        server.head_timeout,
        Duration,
        || between::<Duration>(&bounds::HEAD_TIMEOUT),
        r#""10s""#,
        "How long a client may take to send the head of a request."
    ),
    setting!(
        server.body_timeout,
        Duration,
        || between::<Duration>(&bounds::BODY_TIMEOUT),
        r#""30s""#,
        "How long a client may take to send the body of a request."
    ),
    setting!(
        limits.connections,
        Count,
        || between::<Count>(&bounds::CONNECTIONS),
        "15000",
        "How many streams may be open at once; further ones get 503. The default is lower where the process may \
         open fewer descriptors."
    ),
    setting!(
        limits.channels_per_connection,
        Count,
        || between::<Count>(&bounds::CHANNELS_PER_CONNECTION),
        "256",
        "How many channels and patterns one stream may carry."
    ),
    setting!(
        limits.event_bytes,
        Size,
        || format!("{}, and at most `limits.body_bytes`", between::<Size>(&bounds::EVENT_BYTES)),
        r#""256KiB""#,
        "How many bytes the data of one event may have. Not set, it follows a lower `limits.body_bytes`."
    ),
    setting!(
        limits.body_bytes,
        Size,
        || between::<Size>(&bounds::BODY_BYTES),
        r#""8MiB""#,
        "How many bytes the body of one request may have. Not set, it follows a higher `limits.event_bytes`."
    ),
    setting!(
        cors.origins,
        Texts,
        || "each as a browser sends it; no `*`".into(),
        r#"["https://app.example.com"]"#,
        "Origins whose pages may call the hub from another address."
    ),
    setting!(
        metrics.public,
        Switch,
        String::new,
        "true",
        "Whether `/metrics` is served without credentials where a hub asks for them."
    ),
    setting!(
        shutdown.window,
        Duration,
        || between::<Duration>(&bounds::SHUTDOWN_WINDOW),
        r#""5s""#,
        "Over how long the ends of open streams are spread at shutdown, so that clients do not all return at once."
    ),
];

const NO_AUTH: &str = "remove it, and let a proxy in front decide who may ask; without it the hub is open";
const NO_REDIS: &str = "remove it; this version runs as one node with its own log";
const NO_TLS: &str = "remove it, and let a proxy in front speak TLS";
const NO_LIMIT: &str = "remove it; limits.connections bounds all streams together";

macro_rules! later {
    ($($way_out:ident: $($name:literal)+;)+) => {
        &[$($(Later { name: $name, way_out: $way_out },)+)+]
    };
}

/// Every setting that is known, and refused in this version.
pub(crate) static LATER: &[Later] = later! {
    NO_AUTH: "auth" "auth.secret" "auth.key_file" "auth.jwks_url" "auth.algorithms" "auth.audience" "auth.issuer"
        "auth.leeway" "auth.cookie" "auth.query_token" "auth.user_claim" "auth.hook" "auth.hook_timeout"
        "auth.hook_ttl" "auth.hook_recheck" "auth.hook_private" "auth.token_max_age" "auth.user"
        "auth.user.subscribe" "auth.anonymous" "auth.anonymous.subscribe" "auth.keys";
    NO_TLS: "server.tls" "server.tls.cert_file" "server.tls.key_file";
    NO_LIMIT: "limits.connections_per_user" "limits.connections_per_address" "limits.trusted_proxies"
        "limits.publishes_per_second";
    NO_REDIS: "redis" "redis.url" "redis.prefix" "redis.listen" "redis.capture" "redis.mirror" "redis.deadline"
        "redis.lease" "redis.replicas_min";
};

/// Variables without the prefix `TIDINGS_` that are known, and refused in this version unless they are empty.
pub(crate) static LATER_VARIABLES: &[Later] = later! {
    NO_REDIS: "REDIS_URL" "NATS_URL";
};

/// The setting of this name.
pub(crate) fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The setting of a later version of this name.
pub(crate) fn later(name: &str) -> Option<&'static Later> {
    LATER.iter().find(|later| later.name == name)
}

/// Whether there are settings below this name.
pub(crate) fn is_section(name: &str) -> bool {
    let below = |known: &str| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    SETTINGS.iter().any(|setting| below(setting.name)) || LATER.iter().any(|later| below(later.name))
}

//! The rows of the table, in the order of the manual.

use tidings::config::{Algorithm, bounds};

use super::super::setting::{AcceptedFrom, Setting};
use super::super::value_format::{
    AddressesFormat, AlgorithmsFormat, BoolFormat, CountFormat, DirectoryFormat, DurabilityFormat,
    DurationFormat, EnvelopeFormat, KeysFormat, Optional, PathFormat, PatternsFormat, RedisUrlFormat,
    SecretFormat, SizeFormat, TextFormat, TextsFormat, TlsPathFormat, ValueFormat, name_of, range,
};

/// Builds the table. A row is: doc, `{AcceptedFrom}` unless file and environment accept it, path, format, `[values]`, example.
///
/// - The path is both the setting's name and its field in `Settings`, so that they cannot differ. `section?.field` is a field
///   of an optional section: the first setting of the section creates it, and without it the defaults are shown.
///   `as` gives a name that differs from the field.
/// - The values are `Format in BOUND` or a text; both end in the manual. `[]` accepts every value of the format.
macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])+
        $({$from:expr})? $($key:ident).+ $(? . $field:ident $(as $name:literal)?)?: $format:ty, [$($values:tt)*], $example:literal;
    )+) => {
        /// Every setting of this version, in the order of the manual.
        pub(crate) static SETTINGS: &[Setting] = &[$(Setting {
            name: settings!(@name [$($key)+] $($field $($name)?)?),
            accepted_from: settings!(@from $($from)?),
            format: name_of::<$format>,
            values: settings!(@values $($values)*),
            example: $example,
            doc: concat!($($doc),+),
            read: |settings, raw| {
                let value = <$format as ValueFormat>::read(raw)?;
                settings!(@field settings [$($key)+] $($field)?) = value;
                Ok(())
            },
            show: |settings| settings!(@show $format, settings [$($key)+] $($field)?),
            differs: |one, other| {
                settings!(@compared one [$($key)+] $($field)?) != settings!(@compared other [$($key)+] $($field)?)
            },
        }),+];
    };
    (@name [$first:ident $($key:ident)*]) => { concat!(stringify!($first), $(".", stringify!($key)),*) };
    (@name [$($key:ident)+] $field:ident) => { concat!($(stringify!($key), ".",)+ stringify!($field)) };
    (@name [$($key:ident)+] $field:ident $name:literal) => { $name };
    (@from) => { AcceptedFrom::FileOrEnvironment };
    (@from $from:expr) => { $from };
    (@values) => { String::new };
    (@values $format:ident in $bound:ident $(, $text:literal)?) => {
        || range::<$format>(&bounds::$bound) $(+ $text)?
    };
    (@values $text:expr) => { || $text.into() };
    (@field $settings:ident [$($key:ident)+]) => { $settings.$($key).+ };
    (@field $settings:ident [$($key:ident)+] $field:ident) => { $settings.$($key).+.get_or_insert_default().$field };
    (@show $format:ty, $settings:ident [$($key:ident)+]) => { <$format as ValueFormat>::show(&$settings.$($key).+) };
    (@show $format:ty, $settings:ident [$($key:ident)+] $field:ident) => {{
        let defaults = Default::default();
        <$format as ValueFormat>::show(&$settings.$($key).+.as_ref().unwrap_or(&defaults).$field)
    }};
    (@compared $settings:ident [$($key:ident)+]) => { &$settings.$($key).+ };
    (@compared $settings:ident [$($key:ident)+] $field:ident) => {
        $settings.$($key).+.as_ref().map(|section| &section.$field)
    };
}

settings! {
    /// Addresses to listen on, each with its port. Port 0 takes a free port. `localhost:9000`, `:9000` and `9000` are
    /// `127.0.0.1:9000`.
    listen: AddressesFormat, ["at least one"], r#"["127.0.0.1:8000"]"#;
    /// Directory that holds the log. The hub creates it if it is missing. `--memory` keeps everything in memory.
    data_dir: DirectoryFormat, [], r#""tidings-data""#;
    /// Lets a hub without credentials listen beyond loopback. Every client that reaches it may then do everything.
    {AcceptedFrom::Flag("--insecure")} insecure: BoolFormat, [], "true";
    /// Test mode: `GET /api/v1/events/{channel}` sends one test event and ends, for the tests of a client.
    {AcceptedFrom::Variable("TEST_MODE")} test_mode: BoolFormat, [], "true";

    /// Guarantee of an answered publish. `memory`: none; events live in memory only. `interval`: survives a crash of the hub;
    /// written before the answer, synced every second. `fsync`: survives a crash of the machine; synced before the answer.
    log.durability: DurabilityFormat, [], r#""interval""#;
    /// Time for which an event is kept.
    log.retention_age: DurationFormat, [DurationFormat in RETENTION_AGE], r#""24h""#;
    /// Bytes of events that are kept, index included. The directory stays within 1.5 times that and 128 MiB.
    log.retention_bytes: SizeFormat, [SizeFormat in RETENTION_BYTES], r#""1GiB""#;
    /// Events that are kept in each channel.
    log.retention_events: CountFormat, [CountFormat in RETENTION_EVENTS], "10000";
    /// Bytes of the newest events that are held in memory, so that reading them needs no disk.
    log.cache_bytes: SizeFormat, [SizeFormat in CACHE_BYTES], r#""64MiB""#;
    /// Time for which a repeated `Idempotency-Key` gets the answer of the first publish.
    log.idempotency_window: DurationFormat, [DurationFormat in IDEMPOTENCY_WINDOW], r#""10m""#;
    /// Idempotency keys that are remembered. When they are used up, a publish with a key gets 429.
    log.idempotency_keys: CountFormat, [CountFormat in IDEMPOTENCY_KEYS], "1000000";

    /// Serves streams. With `false` stream routes answer 204, which stops an `EventSource`.
    stream.enabled: BoolFormat, [], "true";
    /// Time for which a stream may be silent before the hub sends a keep-alive. Keep it below the shortest timeout of your
    /// proxies.
    stream.keep_alive: DurationFormat, [DurationFormat in KEEP_ALIVE], r#""15s""#;
    /// Time for which a socket with bytes to send may accept none. The hub then closes it.
    stream.write_timeout: DurationFormat, [DurationFormat in WRITE_TIMEOUT], r#""30s""#;
    /// Longest life of a stream. The hub then asks the client to reconnect, and no event is lost.
    stream.max_age: Optional<DurationFormat>, [DurationFormat in MAX_AGE], r#""1h""#;

    /// Rule for the data of an event. `any`: any text. `strict`: JSON with exactly `type` and `object`; other data gets 422.
    channels.envelope: EnvelopeFormat, [], r#""strict""#;
    /// Values of `type` that a strict envelope may have. An empty list allows all.
    channels.types: TextsFormat, [], r#"["task_created", "task_updated"]"#;

    /// Time in which a client has to send the head of a request. It runs from the first byte of the head, or from the start
    /// of the connection.
    server.head_timeout: DurationFormat, [DurationFormat in HEAD_TIMEOUT], r#""10s""#;
    /// Time for which a kept-alive connection may send no request. HTTP/1.1 clients learn it from `Keep-Alive: timeout=`; the
    /// hub waits 2 s longer.
    server.idle_timeout: DurationFormat, [DurationFormat in IDLE_TIMEOUT], r#""75s""#;
    /// Time in which a client has to send the body of a request.
    server.body_timeout: DurationFormat, [DurationFormat in BODY_TIMEOUT], r#""30s""#;
    /// Certificate chain for TLS: PEM, the hub's own certificate first. Read again at `SIGHUP`, and within 30 s after it
    /// changes.
    server.tls?.cert_file: TlsPathFormat, ["both files or neither"], r#""/etc/tidings/cert.pem""#;
    /// Private key of the certificate: PEM. Read again at `SIGHUP`, and within 30 s after it changes.
    server.tls?.key_file: TlsPathFormat, ["both files or neither"], r#""/etc/tidings/key.pem""#;

    /// Key that signs HS256, HS384 and HS512 tokens; `tidings token` signs with it, too. Prefer `TIDINGS_AUTH_SECRET` to a
    /// file that other users can read.
    auth?.secret: Optional<SecretFormat>, ["at least 32 random bytes, for example from `openssl rand -base64 48`"], "";
    /// PEM file of public keys that verify RS, PS, ES and EdDSA tokens. Read again at `SIGHUP`.
    auth?.key_file: Optional<PathFormat>, [], r#""/etc/tidings/issuer.pem""#;
    /// URL of the public keys of an identity provider.
    auth?.jwks_url: Optional<TextFormat>, ["https, or http to this machine"], r#""https://id.example.com/.well-known/jwks.json""#;
    /// Algorithms that tokens may have. An empty list accepts every algorithm that the keys support.
    auth?.algorithms: AlgorithmsFormat, [format!("{}; each needs a key that supports it", Algorithm::WORDS.join(", "))], r#"["ES256"]"#;
    /// Audiences: a token must name one of them as `aud`. An empty list skips the check. One audience may be written as a text.
    auth?.audience: TextsFormat, [], r#"["tidings"]"#;
    /// Issuers: a token must name one of them as `iss`. An empty list skips the check. One issuer may be written as a text.
    auth?.issuer: TextsFormat, [], r#"["https://id.example.com/"]"#;
    /// Allowed difference between the clock of the hub and that of an issuer of tokens.
    auth?.leeway: DurationFormat, [DurationFormat in LEEWAY], r#""5s""#;
    /// Cookie that may carry a token. Pages of `cors.origins` may then send it.
    auth?.cookie: Optional<TextFormat>, ["a cookie's name"], r#""session""#;
    /// Accepts a token as `?access_token=`. Proxies write such a token into their logs; prefer tickets.
    auth?.query_token: BoolFormat, [], "true";
    /// Claim of a token that holds the user's name.
    auth?.user_claim: TextFormat, [], r#""sub""#;
    /// URL of your backend. The hub asks it after the patterns have allowed a request; it can only deny.
    auth?.hook: Optional<TextFormat>, ["http or https, no password, no fragment"], r#""http://127.0.0.1:3000/tidings/allow""#;
    /// Time in which the hook has to answer. Without an answer the request gets 503.
    auth?.hook_timeout: DurationFormat, [DurationFormat in HOOK_TIMEOUT], r#""2s""#;
    /// Time for which an answer of the hook is cached. `0s` asks the hook every time.
    auth?.hook_ttl: DurationFormat, [DurationFormat in HOOK_TTL], r#""10s""#;
    /// Interval at which the hook is asked again for an open stream.
    auth?.hook_recheck: DurationFormat, [DurationFormat in HOOK_RECHECK], r#""1m""#;
    /// Lets the host name of the hook resolve to a private address. IP addresses and `localhost` are always allowed.
    auth?.hook_private: BoolFormat, [], "true";
    /// Longest life of a token; a token with a longer life is refused. It is also the life of a revocation without an end.
    auth?.token_max_age: DurationFormat, [DurationFormat in TOKEN_MAX_AGE], r#""24h""#;
    /// API keys of backends, each under `[[auth.keys]]`. `tidings key` makes one and prints the lines to keep. When a key is
    /// removed here, it ends at `SIGHUP`, with its streams.
    {AcceptedFrom::File} auth?.keys: KeysFormat, ["`name`, `hash`, `rights` (`publish`, `subscribe`, `manage`), and patterns as `subscribe` and `publish`"], "";
    /// Patterns that every user may subscribe to. In the name, bytes outside `A-Za-z0-9_-` become `~` and two hexadecimal
    /// digits: `a@b.c` is `a~40b~2ec`.
    auth?.user_subscribe as "auth.user.subscribe": TextsFormat, ["patterns; `{sub}` is the user's name as one segment"], r#"["user.{sub}", "user.{sub}.**", "user:{sub}", "user:{sub}:**"]"#;
    /// Patterns that clients without credentials may subscribe to.
    auth?.anonymous_subscribe as "auth.anonymous.subscribe": TextsFormat, ["patterns"], r#"["public.**"]"#;

    /// Streams that may be open at once. Further ones get 503. The default is lower if the process may open fewer file
    /// descriptors.
    limits.connections: CountFormat, [CountFormat in CONNECTIONS], "15000";
    /// Streams that one user or one API key may have open. Further ones get 429.
    limits.connections_per_user: CountFormat, [CountFormat in CONNECTIONS_PER_USER], "100";
    /// Streams that one address may have open; an IPv6 network of 64 bits counts as one address. Further ones get 429.
    limits.connections_per_address: Optional<CountFormat>, [CountFormat in CONNECTIONS_PER_ADDRESS], "50";
    /// Proxies whose `X-Forwarded-For` is trusted. The client's address is the last hop in it that is no such proxy.
    limits.trusted_proxies: TextsFormat, ["networks or addresses"], r#"["127.0.0.1", "10.0.0.0/8"]"#;
    /// Channels and patterns that one stream may carry.
    limits.channels_per_connection: CountFormat, [CountFormat in CHANNELS_PER_CONNECTION], "256";
    /// Events that one API key or user may publish per second. Further ones get 429; a batch that is larger gets 413.
    limits.publishes_per_second: Optional<CountFormat>, [CountFormat in PUBLISHES_PER_SECOND], "1000";
    /// Streams that one user may open per second; without a user, one address. `HEAD` does not count. Further ones get 429.
    limits.streams_per_second: Optional<CountFormat>, [CountFormat in STREAMS_PER_SECOND], "1000";
    /// Bytes that the data of one event may have. If it is not set, it follows a lower `limits.body_bytes`.
    limits.event_bytes: SizeFormat, [SizeFormat in EVENT_BYTES, ", and at most `limits.body_bytes`"], r#""256KiB""#;
    /// Bytes that the body of one request may have. If it is not set, it follows a higher `limits.event_bytes`.
    limits.body_bytes: SizeFormat, [SizeFormat in BODY_BYTES], r#""8MiB""#;

    /// Origins whose pages may call a hub at another origin.
    cors.origins: TextsFormat, ["each as a browser sends it; `*` only alone, with `[auth]` and without `auth.cookie`"], r#"["https://app.example.com"]"#;
    /// Further request headers that pages of other origins may send. Those of the hub and of tracing libraries are always
    /// allowed.
    cors.headers: TextsFormat, ["names of headers"], r#"["X-Request-Id"]"#;
    /// Serves `/metrics` without credentials, on a hub that asks for them elsewhere.
    metrics.public: BoolFormat, [], "true";

    /// Redis that carries one log for several nodes. `none` is one node with a log of its own. If neither the file nor
    /// `TIDINGS_REDIS_URL` sets it, `REDIS_URL` does. The flag is `--redis`.
    redis?.url: RedisUrlFormat, [
        "`redis://[[user]:password@]host[:port][,host[:port]…][/database]`, or `rediss` for TLS; \
         `redis+sentinel://[[user]:password@]host[:port][,…]/service[/database][?sentinel_username=…&sentinel_password=…]`"
    ], r#""rediss://redis.example.com:6379/0""#;
    /// Certificate authorities that verify the certificate of Redis, instead of the public ones. `none` uses the public ones.
    redis?.ca_file: Optional<PathFormat>, ["PEM; `redis.url` has to begin with `rediss`"], r#""/etc/tidings/redis-ca.pem""#;
    /// Client certificate for a Redis or Sentinel that asks for one (`tls-auth-clients`). `none` sends none.
    redis?.cert_file: Optional<PathFormat>, ["PEM, with the chain; `redis.url` has to begin with `rediss`, and `redis.key_file` to be set"], r#""/etc/tidings/redis.cert.pem""#;
    /// Private key of the certificate in `redis.cert_file`.
    redis?.key_file: Optional<PathFormat>, ["PEM (PKCS#8, PKCS#1 or SEC1), not encrypted"], r#""/etc/tidings/redis.key.pem""#;
    /// Prefix of the names of all keys in Redis. Nodes with the same prefix share a log.
    redis?.prefix: TextFormat, [format!("1 to {} bytes of `A-Za-z0-9_.:@~/-`", bounds::REDIS_PREFIX_BYTES_MAX)], r#""tidings""#;
    /// Redis channels on which the hub may receive messages that other programs `PUBLISH`. The hub subscribes only to
    /// channels that have subscribers. An empty list receives nothing.
    redis?.listen: PatternsFormat, ["patterns; `__key…` never"], r#"["**"]"#;
    /// Redis channels whose messages from other programs enter the log, get ids and can be resumed. It has to be the same on
    /// all nodes.
    redis?.capture: PatternsFormat, ["patterns that `redis.listen` covers"], r#"["project.**"]"#;
    /// Channels whose events the hub also sends with `PUBLISH`, for programs that subscribe to Redis.
    redis?.mirror: PatternsFormat, ["patterns; `__key…` never"], r#"["project.**"]"#;
    /// Time for which a publish may wait for Redis. After it the answer is 503 `not_stored` or `outcome_unknown`.
    redis?.deadline: DurationFormat, [DurationFormat in REDIS_DEADLINE], r#""5s""#;
    /// Time after which another node takes over the capturing of a node that no longer answers.
    redis?.lease: DurationFormat, [DurationFormat in REDIS_LEASE], r#""5s""#;
    /// Replicas of Redis that have to hold an event before its publish is answered.
    redis?.replicas_min: CountFormat, [CountFormat in REDIS_REPLICAS_MIN], "1";

    /// Time over which a shutdown spreads the ends of open streams, so that clients do not all reconnect at once.
    shutdown.window: DurationFormat, [DurationFormat in SHUTDOWN_WINDOW], r#""5s""#;
}

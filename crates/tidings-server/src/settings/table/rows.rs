//! The rows of the table, in the order of the manual.

use tidings::config::{Algorithm, TlsSettings, bounds};

use super::super::value_format::{
    AddressesFormat, AlgorithmsFormat, CountFormat, DirectoryFormat, DurabilityWordFormat, DurationFormat,
    EnvelopeWordFormat, KeysFormat, OptionalCountFormat, OptionalDurationFormat, OptionalFileFormat,
    OptionalTextFormat, PatternsFormat, RedisUrlTextFormat, SecretTextFormat, SizeFormat, SwitchFormat,
    TextFormat, TextsFormat, ValueFormat, between,
};
use super::{AcceptedFrom, Setting};

/// Every setting of this version, in the order of the manual.
pub(crate) static SETTINGS: &[Setting] = &[
    setting!(
        listen,
        AddressesFormat,
        || "at least one".into(),
        r#"["127.0.0.1:8000"]"#,
        "Addresses to listen on, each with its port; port 0 takes a free one. `localhost:9000`, `:9000` and `9000` are `127.0.0.1:9000`."
    ),
    setting!(
        data_dir,
        DirectoryFormat,
        String::new,
        r#""tidings-data""#,
        "The directory that holds the log, made where it is missing; `--memory` keeps everything in memory."
    ),
    setting!(
        AcceptedFrom::Flag("--insecure"),
        insecure,
        SwitchFormat,
        String::new,
        "true",
        "Lets a hub without credentials listen on more than loopback, where whoever reaches it may do everything."
    ),
    setting!(
        AcceptedFrom::Variable("TEST_MODE"),
        test_mode,
        SwitchFormat,
        String::new,
        "true",
        "`GET /api/v1/events/{channel}` sends one test event and ends, for the tests of a client."
    ),
    setting!(
        log.durability,
        DurabilityWordFormat,
        String::new,
        r#""interval""#,
        "What an answered publish survives. `memory`: nothing, events live in memory only. `interval`: a crash of the \
         hub; written before the answer, synced every second. `fsync`: a crash of the machine; synced before the answer."
    ),
    setting!(
        log.retention_age,
        DurationFormat,
        || between::<DurationFormat>(&bounds::RETENTION_AGE),
        r#""24h""#,
        "How long an event is kept."
    ),
    setting!(
        log.retention_bytes,
        SizeFormat,
        || between::<SizeFormat>(&bounds::RETENTION_BYTES),
        r#""1GiB""#,
        "How many bytes of events, with their index, are kept. The directory stays within 1.5 times that and 128 MiB."
    ),
    setting!(
        log.retention_events,
        CountFormat,
        || between::<CountFormat>(&bounds::RETENTION_EVENTS),
        "10000",
        "How many events of each channel are kept."
    ),
    setting!(
        log.cache_bytes,
        SizeFormat,
        || between::<SizeFormat>(&bounds::CACHE_BYTES),
        r#""64MiB""#,
        "How many bytes of the newest events are held in memory, to be read without the disk."
    ),
    setting!(
        log.idempotency_window,
        DurationFormat,
        || between::<DurationFormat>(&bounds::IDEMPOTENCY_WINDOW),
        r#""10m""#,
        "How long a repeated `Idempotency-Key` gets the first one's answer."
    ),
    setting!(
        log.idempotency_keys,
        CountFormat,
        || between::<CountFormat>(&bounds::IDEMPOTENCY_KEYS),
        "1000000",
        "How many idempotency keys are remembered; past it a publish with a key is refused with 429."
    ),
    setting!(
        stream.enabled,
        SwitchFormat,
        String::new,
        "true",
        "Whether streams are served; if not, stream routes answer 204, which stops an `EventSource`."
    ),
    setting!(
        stream.keep_alive,
        DurationFormat,
        || between::<DurationFormat>(&bounds::KEEP_ALIVE),
        r#""15s""#,
        "How long a stream may be silent before a keep-alive is sent. Keep it below the shortest timeout of your proxies."
    ),
    setting!(
        stream.write_timeout,
        DurationFormat,
        || between::<DurationFormat>(&bounds::WRITE_TIMEOUT),
        r#""30s""#,
        "How long a socket with bytes waiting may take none before it is closed."
    ),
    setting!(
        stream.max_age,
        OptionalDurationFormat,
        || between::<DurationFormat>(&bounds::MAX_AGE),
        r#""1h""#,
        "How long a stream may last before its client is asked to reconnect, which loses nothing."
    ),
    setting!(
        channels.envelope,
        EnvelopeWordFormat,
        String::new,
        r#""strict""#,
        "What the data of an event may be. `any`: any text. `strict`: JSON of exactly `type` and `object`, or 422."
    ),
    setting!(
        channels.types,
        TextsFormat,
        String::new,
        r#"["task_created", "task_updated"]"#,
        "The values of `type` that a strict envelope may have; empty allows all."
    ),
    setting!(
        server.head_timeout,
        DurationFormat,
        || between::<DurationFormat>(&bounds::HEAD_TIMEOUT),
        r#""10s""#,
        "How long a client may take to send the head of a request, from its first byte, or from the connection's start."
    ),
    setting!(
        server.idle_timeout,
        DurationFormat,
        || between::<DurationFormat>(&bounds::IDLE_TIMEOUT),
        r#""75s""#,
        "How long a kept-alive connection may ask nothing. HTTP/1.1 clients are told by `Keep-Alive: timeout=`; the hub waits 2 s longer."
    ),
    setting!(
        server.body_timeout,
        DurationFormat,
        || between::<DurationFormat>(&bounds::BODY_TIMEOUT),
        r#""30s""#,
        "How long a client may take to send the body of a request."
    ),
    tls!(
        "cert_file",
        cert_file,
        r#""/etc/tidings/cert.pem""#,
        "The certificate chain to speak TLS with, PEM, the hub's own certificate first. Read again at `SIGHUP`, and within 30 s when it changes."
    ),
    tls!(
        "key_file",
        key_file,
        r#""/etc/tidings/key.pem""#,
        "The private key of the certificate, PEM. Read again at `SIGHUP`, and within 30 s when it changes."
    ),
    auth!(
        "secret",
        secret,
        SecretTextFormat,
        || "32 random bytes and more, for example by `openssl rand -base64 48`".into(),
        "",
        "What HS256, HS384 and HS512 tokens are signed with; `tidings token` signs with it, too. Better kept in \
         `TIDINGS_AUTH_SECRET` than in a file that others read."
    ),
    auth!(
        "key_file",
        key_file,
        OptionalFileFormat,
        String::new,
        r#""/etc/tidings/issuer.pem""#,
        "A PEM file of public keys that RS, PS, ES and EdDSA tokens are verified with. Read again at `SIGHUP`."
    ),
    auth!(
        "jwks_url",
        jwks_url,
        OptionalTextFormat,
        || "https, or http to this machine".into(),
        r#""https://id.example.com/.well-known/jwks.json""#,
        "Where an identity provider keeps its public keys."
    ),
    auth!(
        "algorithms",
        algorithms,
        AlgorithmsFormat,
        || format!("{}; each needs a key that can do it", Algorithm::WORDS.join(", ")),
        r#"["ES256"]"#,
        "The algorithms that tokens may have; empty takes all that the keys can do."
    ),
    auth!(
        "audience",
        audience,
        TextsFormat,
        String::new,
        r#"["tidings"]"#,
        "Audiences, one of which a token must name as `aud`; empty does not look. One may be written as one text."
    ),
    auth!(
        "issuer",
        issuer,
        TextsFormat,
        String::new,
        r#"["https://id.example.com/"]"#,
        "Issuers, one of which a token must name as `iss`; empty does not look. One may be written as one text."
    ),
    auth!(
        "leeway",
        leeway,
        DurationFormat,
        || between::<DurationFormat>(&bounds::LEEWAY),
        r#""5s""#,
        "By how much the clocks of the hub and of those who issue tokens may differ."
    ),
    auth!(
        "cookie",
        cookie,
        OptionalTextFormat,
        || "a cookie's name".into(),
        r#""session""#,
        "The cookie that may carry a token. Pages of listed origins may then send it along."
    ),
    auth!(
        "query_token",
        query_token,
        SwitchFormat,
        String::new,
        "true",
        "Whether `?access_token=` may carry a token, which then stands in the log of every proxy. Tickets are the better way."
    ),
    auth!(
        "user_claim",
        user_claim,
        TextFormat,
        String::new,
        r#""sub""#,
        "The claim of a token that says who the user is."
    ),
    auth!(
        "hook",
        hook,
        OptionalTextFormat,
        || "http or https, no password, no fragment".into(),
        r#""http://127.0.0.1:3000/tidings/allow""#,
        "A URL of your backend that is asked after the patterns have allowed; it can only narrow."
    ),
    auth!(
        "hook_timeout",
        hook_timeout,
        DurationFormat,
        || between::<DurationFormat>(&bounds::HOOK_TIMEOUT),
        r#""2s""#,
        "How long the hook may take; without an answer the request gets 503."
    ),
    auth!(
        "hook_ttl",
        hook_ttl,
        DurationFormat,
        || between::<DurationFormat>(&bounds::HOOK_TTL),
        r#""10s""#,
        "How long an answer of the hook is kept; `0s` asks every time."
    ),
    auth!(
        "hook_recheck",
        hook_recheck,
        DurationFormat,
        || between::<DurationFormat>(&bounds::HOOK_RECHECK),
        r#""1m""#,
        "How often the hook is asked again for an open stream."
    ),
    auth!(
        "hook_private",
        hook_private,
        SwitchFormat,
        String::new,
        "true",
        "Whether the hook's host, given as a name, may resolve to a private address. Addresses and `localhost` always may."
    ),
    auth!(
        "token_max_age",
        token_max_age,
        DurationFormat,
        || between::<DurationFormat>(&bounds::TOKEN_MAX_AGE),
        r#""24h""#,
        "The longest life of a token, and of a revocation that does not say until when; longer tokens are refused."
    ),
    auth!(
        AcceptedFrom::File,
        "keys",
        keys,
        KeysFormat,
        || {
            "`name`, `hash`, `rights` (`publish`, `subscribe`, `manage`), and patterns as `subscribe` and `publish`".into()
        },
        "",
        "The API keys of backends, each headed `[[auth.keys]]`. `tidings key` makes one and prints the lines to keep. A key \
         that is removed here is dropped at `SIGHUP`, with its streams."
    ),
    auth!(
        "user.subscribe",
        user_subscribe,
        TextsFormat,
        || "patterns; `{sub}` is the user's name as one segment".into(),
        r#"["user.{sub}", "user.{sub}.**", "user:{sub}", "user:{sub}:**"]"#,
        "Patterns that every user may subscribe to. In the name, bytes outside `A-Za-z0-9_-` become `~` and two \
         hexadecimal digits: `a@b.c` is `a~40b~2ec`."
    ),
    auth!(
        "anonymous.subscribe",
        anonymous_subscribe,
        TextsFormat,
        || "patterns".into(),
        r#"["public.**"]"#,
        "Patterns that anyone may subscribe to without credentials."
    ),
    setting!(
        limits.connections,
        CountFormat,
        || between::<CountFormat>(&bounds::CONNECTIONS),
        "15000",
        "How many streams may be open at once; further ones get 503. The default is lower where the process may \
         open fewer descriptors."
    ),
    setting!(
        limits.connections_per_user,
        CountFormat,
        || between::<CountFormat>(&bounds::CONNECTIONS_PER_USER),
        "100",
        "How many streams one user or one API key may have open; further ones get 429."
    ),
    setting!(
        limits.connections_per_address,
        OptionalCountFormat,
        || between::<CountFormat>(&bounds::CONNECTIONS_PER_ADDRESS),
        "50",
        "How many streams one address may have open, an IPv6 network of 64 bits counting as one; further ones get 429."
    ),
    setting!(
        limits.trusted_proxies,
        TextsFormat,
        || "networks or addresses".into(),
        r#"["127.0.0.1", "10.0.0.0/8"]"#,
        "Proxies whose `X-Forwarded-For` is believed; the last hop in it that is none of them is the client's address."
    ),
    setting!(
        limits.channels_per_connection,
        CountFormat,
        || between::<CountFormat>(&bounds::CHANNELS_PER_CONNECTION),
        "256",
        "How many channels and patterns one stream may carry."
    ),
    setting!(
        limits.publishes_per_second,
        OptionalCountFormat,
        || between::<CountFormat>(&bounds::PUBLISHES_PER_SECOND),
        "1000",
        "How many events one API key or user may publish per second; further ones get 429, and a batch that is larger 413."
    ),
    setting!(
        limits.streams_per_second,
        OptionalCountFormat,
        || between::<CountFormat>(&bounds::STREAMS_PER_SECOND),
        "1000",
        "How many streams one user, or without a user one address, may open each second, `HEAD` not counted; further ones get 429."
    ),
    setting!(
        limits.event_bytes,
        SizeFormat,
        || format!("{}, and at most `limits.body_bytes`", between::<SizeFormat>(&bounds::EVENT_BYTES)),
        r#""256KiB""#,
        "How many bytes the data of one event may have. Not set, it follows a lower `limits.body_bytes`."
    ),
    setting!(
        limits.body_bytes,
        SizeFormat,
        || between::<SizeFormat>(&bounds::BODY_BYTES),
        r#""8MiB""#,
        "How many bytes the body of one request may have. Not set, it follows a higher `limits.event_bytes`."
    ),
    setting!(
        cors.origins,
        TextsFormat,
        || "each as a browser sends it; `*` only alone, with `[auth]` and without `auth.cookie`".into(),
        r#"["https://app.example.com"]"#,
        "Origins whose pages may call the hub from another address."
    ),
    setting!(
        cors.headers,
        TextsFormat,
        || "names of headers".into(),
        r#"["X-Request-Id"]"#,
        "Request headers that pages of other origins may send, besides those that the hub and tracing libraries use."
    ),
    setting!(
        metrics.public,
        SwitchFormat,
        String::new,
        "true",
        "Whether `/metrics` is served without credentials where a hub asks for them."
    ),
    redis!(
        "url",
        url,
        RedisUrlTextFormat,
        || {
            "`redis://[[user]:password@]host[:port][,host[:port]…][/database]`, or `rediss` for TLS; \
            `redis+sentinel://[[user]:password@]host[:port][,…]/service[/database][?sentinel_username=…&sentinel_password=…]`"
            .into()
        },
        r#""rediss://redis.example.com:6379/0""#,
        "The Redis that carries one log for several nodes; `none` is one node with a log of its own. `REDIS_URL` gives it, \
         too, where neither the file nor `TIDINGS_REDIS_URL` does; the flag is `--redis`."
    ),
    redis!(
        "ca_file",
        ca_file,
        OptionalFileFormat,
        || "PEM; `redis.url` has to begin with `rediss`".into(),
        r#""/etc/tidings/redis-ca.pem""#,
        "Certificate authorities that the certificate of a Redis is judged by, and nothing else is; `none` is those of the web."
    ),
    redis!(
        "cert_file",
        cert_file,
        OptionalFileFormat,
        || "PEM, with the chain; `redis.url` has to begin with `rediss`, and `redis.key_file` to be set"
            .into(),
        r#""/etc/tidings/redis.cert.pem""#,
        "The certificate that the hub shows a Redis or a Sentinel that asks for one (`tls-auth-clients`); `none` shows none."
    ),
    redis!(
        "key_file",
        key_file,
        OptionalFileFormat,
        || "PEM (PKCS#8, PKCS#1 or SEC1), not encrypted".into(),
        r#""/etc/tidings/redis.key.pem""#,
        "The private key of the certificate in `redis.cert_file`."
    ),
    redis!(
        "prefix",
        prefix,
        TextFormat,
        || format!("1 to {} bytes of `A-Za-z0-9_.:@~/-`", bounds::REDIS_PREFIX_BYTES_MAX),
        r#""tidings""#,
        "What the names of all keys in Redis begin with. Nodes with the same one share a log."
    ),
    redis!(
        "listen",
        listen,
        PatternsFormat,
        || "patterns; `__key…` never".into(),
        r#"["**"]"#,
        "Redis channels on which the hub may hear what other programs `PUBLISH`; it asks only for those that somebody is \
         subscribed to. An empty list hears nothing."
    ),
    redis!(
        "capture",
        capture,
        PatternsFormat,
        || "patterns that `redis.listen` takes in".into(),
        r#"["project.**"]"#,
        "Redis channels whose messages of other programs enter the log, so that they get ids and are resumed. The same on all \
         nodes."
    ),
    redis!(
        "mirror",
        mirror,
        PatternsFormat,
        || "patterns; `__key…` never".into(),
        r#"["project.**"]"#,
        "Channels whose events the hub also sends with `PUBLISH`, for subscribers of old."
    ),
    redis!(
        "deadline",
        deadline,
        DurationFormat,
        || between::<DurationFormat>(&bounds::REDIS_DEADLINE),
        r#""5s""#,
        "How long a publish may wait for Redis; past it the answer is 503 `not_stored` or `outcome_unknown`."
    ),
    redis!(
        "lease",
        lease,
        DurationFormat,
        || between::<DurationFormat>(&bounds::REDIS_LEASE),
        r#""5s""#,
        "After how long another node takes over the capturing of one that no longer answers."
    ),
    redis!(
        "replicas_min",
        replicas_min,
        CountFormat,
        || between::<CountFormat>(&bounds::REDIS_REPLICAS_MIN),
        "1",
        "How many replicas of Redis have to have an event before its publish is answered."
    ),
    setting!(
        shutdown.window,
        DurationFormat,
        || between::<DurationFormat>(&bounds::SHUTDOWN_WINDOW),
        r#""5s""#,
        "Over how long the ends of open streams are spread at shutdown, so that clients do not all return at once."
    ),
];

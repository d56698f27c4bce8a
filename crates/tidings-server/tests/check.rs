//! `tidings check`.

use tidings_testkit::TempDirectory;

use crate::hub::RunTidings;

/// Output in the first test, with one space between value and origin.
const LISTING: &[&str] = &[
    r#"listen = ["127.0.0.1:0"] # flag --listen"#,
    r#"data_dir = "tidings-data" # default"#,
    "# insecure = false # default",
    "# test_mode = false # default",
    r#"log.durability = "memory" # environment TIDINGS_LOG_DURABILITY"#,
    r#"log.retention_age = "2h" # tidings.toml:2"#,
    r#"log.retention_bytes = "1GiB" # default"#,
    "log.retention_events = 10000 # default",
    r#"log.cache_bytes = "64MiB" # default"#,
    r#"log.idempotency_window = "10m" # default"#,
    "log.idempotency_keys = 1000000 # default",
    "stream.enabled = true # default",
    r#"stream.keep_alive = "15s" # default"#,
    r#"stream.write_timeout = "30s" # default"#,
    r#"stream.max_age = "none" # default"#,
    r#"channels.envelope = "any" # default"#,
    "channels.types = [] # default",
    r#"server.head_timeout = "10s" # default"#,
    r#"server.idle_timeout = "75s" # default"#,
    r#"server.body_timeout = "30s" # default"#,
    r#"server.tls.cert_file = "none" # default"#,
    r#"server.tls.key_file = "none" # default"#,
    r##"# auth.secret = "none" # default"##,
    r##"# auth.key_file = "none" # default"##,
    r##"# auth.jwks_url = "none" # default"##,
    "# auth.algorithms = [] # default",
    "# auth.audience = [] # default",
    "# auth.issuer = [] # default",
    r##"# auth.leeway = "5s" # default"##,
    r##"# auth.cookie = "none" # default"##,
    "# auth.query_token = false # default",
    r##"# auth.user_claim = "sub" # default"##,
    r##"# auth.hook = "none" # default"##,
    r##"# auth.hook_timeout = "2s" # default"##,
    r##"# auth.hook_ttl = "10s" # default"##,
    r##"# auth.hook_recheck = "1m" # default"##,
    "# auth.hook_private = false # default",
    r##"# auth.token_max_age = "24h" # default"##,
    "# auth.keys = [] # default",
    r##"# auth.user.subscribe = ["user.{sub}", "user.{sub}.**", "user:{sub}", "user:{sub}:**"] # default"##,
    "# auth.anonymous.subscribe = [] # default",
    "limits.connections = 10 # environment TIDINGS_LIMITS_CONNECTIONS",
    "limits.connections_per_user = 100 # default",
    r#"limits.connections_per_address = "none" # default"#,
    "limits.trusted_proxies = [] # default",
    "limits.channels_per_connection = 256 # default",
    r#"limits.publishes_per_second = "none" # default"#,
    r#"limits.streams_per_second = "none" # default"#,
    r#"limits.event_bytes = "256KiB" # default"#,
    r#"limits.body_bytes = "8MiB" # default"#,
    "cors.origins = [] # default",
    "cors.headers = [] # default",
    "metrics.public = false # default",
    r#"redis.url = "none" # default"#,
    r##"# redis.ca_file = "none" # default"##,
    r##"# redis.cert_file = "none" # default"##,
    r##"# redis.key_file = "none" # default"##,
    r##"# redis.prefix = "tidings" # default"##,
    r##"# redis.listen = ["**"] # default"##,
    "# redis.capture = [] # default",
    "# redis.mirror = [] # default",
    r##"# redis.deadline = "5s" # default"##,
    r##"# redis.lease = "5s" # default"##,
    "# redis.replicas_min = 0 # default",
    r#"shutdown.window = "5s" # default"#,
];

#[test]
fn check_prints_every_setting_with_value_and_origin() {
    let directory = TempDirectory::create();
    directory.write("tidings.toml", "[log]\nretention_age = \"2h\"\ndurability = \"fsync\"\n");
    let variables = [("TIDINGS_LOG_DURABILITY", "memory"), ("TIDINGS_LIMITS_CONNECTIONS", "10")];
    let outcome = directory.run(&["check", "--listen", "localhost:0"], &variables);
    outcome.assert(0, &[]);
    // A single space stands for the padding between value and origin.
    let lines: Vec<String> =
        outcome.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines, LISTING);
}

#[test]
fn check_prints_a_file_that_reads_back() {
    let directory = TempDirectory::create();
    let variables =
        [("TIDINGS_CORS_ORIGINS", "https://a.example, http://b.example:81"), ("TIDINGS_DATA_DIR", "d \"é\"")];
    let first = directory.run(&["check"], &variables);
    directory.write("tidings.toml", &first.stdout);
    let second = directory.run(&["check"], &[]);
    second.assert(0, &[]);
    let values =
        |text: &str| text.lines().map(|line| line.split("  ").next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(values(&first.stdout), values(&second.stdout));
}

#[test]
fn check_prints_that_memory_has_no_setting_in_a_file() {
    let outcome = TempDirectory::create().run(&["check", "--memory"], &[]);
    let line = outcome.stdout.lines().find(|line| line.contains("data_dir")).unwrap();
    assert!(line.starts_with("# data_dir = none") && line.ends_with("# flag --memory"), "{line}");
}

#[test]
fn check_masks_passwords() {
    let variables =
        [("TIDINGS_CHANNELS_TYPES", "a://user:s3cret@host"), ("TIDINGS_CHANNELS_ENVELOPE", "strict")];
    let outcome = TempDirectory::create().run(&["check"], &variables);
    outcome.assert(0, &[]);
    assert!(outcome.stdout.contains("a://user:***@host"), "{outcome:?}");
    assert!(!outcome.stdout.contains("s3cret"), "{outcome:?}");
}

#[test]
fn check_shows_the_address_of_redis_and_masks_its_password() {
    let variables = [("REDIS_URL", "redis://user:s3cret@host:1"), ("TIDINGS_REDIS_PREFIX", "shop")];
    let outcome = TempDirectory::create().run(&["check"], &variables);
    let stdout = &outcome.assert(0, &[]).stdout;
    let lines: Vec<&str> = stdout.lines().filter(|line| line.contains("redis.")).collect();
    assert!(lines[0].starts_with("# redis.url = \"redis://user:***@host:1\""), "{lines:?}");
    assert!(lines[0].ends_with("# environment REDIS_URL"), "{lines:?}");
    assert!(lines[4].starts_with("redis.prefix = \"shop\""), "{lines:?}");
    assert!(![outcome.stdout, outcome.stderr].concat().contains("s3cret"));
}

#[test]
fn check_shows_names_of_api_keys_and_masks_the_secret() {
    let directory = TempDirectory::create();
    let hash = "ab".repeat(32);
    directory.write(
        "tidings.toml",
        &format!(
            "[auth]\nsecret = \"s3cret\"\n[[auth.keys]]\nname = \"back\"\nhash = \"sha256:{hash}\"\nrights = \
             [\"publish\", \"manage\"]\npublish = [\"a.**\"]\n"
        ),
    );
    let outcome = directory.run(&["check"], &[]);
    let stdout = &outcome.assert(0, &["auth.secret has 6 bytes"]).stdout;
    let lines: Vec<&str> = stdout.lines().filter(|line| !line.ends_with("# default")).collect();
    let key = "# auth.keys = [{ name = \"back\", rights = [\"publish\", \"manage\"], publish = [\"a.**\"] }]";
    for (line, (value, origin)) in lines.iter().zip([("# auth.secret = \"***\"", 2), (key, 3)]) {
        assert!(line.starts_with(value) && line.ends_with(&format!("# tidings.toml:{origin}")), "{line}");
    }
    assert!(lines.len() >= 2, "{lines:?}");
    assert!(![outcome.stdout, outcome.stderr].concat().contains("s3cret"));
}

#[test]
fn check_warns_of_settings_without_effect() {
    let outcome = TempDirectory::create().run(&["check"], &[("TIDINGS_CHANNELS_TYPES", "a,b")]);
    outcome.assert(0, &["channels.types has no effect"]);
}

#[test]
fn page_of_settings_in_the_manual_is_made_from_the_table() {
    let outcome = TempDirectory::create().run(&["check", "--markdown"], &[]);
    let page = include_str!("../../../docs/settings.md");
    assert!(outcome.stdout == page, "docs/settings.md is old; make it with `tidings check --markdown`");
}

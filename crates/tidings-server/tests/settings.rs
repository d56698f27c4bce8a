//! Invalid settings, and the precedence of their sources.

use crate::prelude::*;

/// Asserts that `serve` and `check` refuse these settings with these texts.
#[track_caller]
fn refused(directory: &TempDirectory, arguments: &[&str], variables: &[(&str, &str)], expected: &[&str]) {
    for command in ["serve", "check"] {
        let outcome = directory.run(&[&[command], arguments].concat(), variables);
        assert_eq!(outcome.assert(2, expected).stdout, "");
    }
}

/// Asserts that `check` prints a line that begins so.
#[track_caller]
fn effective(directory: &TempDirectory, arguments: &[&str], variables: &[(&str, &str)], expected: &str) {
    let outcome = directory.run(&[&["check"], arguments].concat(), variables);
    let stdout = &outcome.assert(0, &[]).stdout;
    assert!(stdout.lines().any(|line| line.starts_with(expected)), "{expected:?} in {stdout}");
}

#[test]
fn misspelt_setting_is_refused_with_a_suggestion() {
    let directory = TempDirectory::create();
    refused(&directory, &["--listn", "127.0.0.1:0"], &[], &["--listen"]);
    let variables = [("TIDINGS_LOG_RETENTION_AEG", "1h")];
    let variable = "TIDINGS_LOG_RETENTION_AEG: not a setting; did you mean TIDINGS_LOG_RETENTION_AGE?";
    refused(&directory, &[], &variables, &[variable]);
    directory.write("tidings.toml", "[log]\n  retenton_age = \"1h\"\n");
    let key = "tidings.toml:2:3: log.retenton_age is not a setting; did you mean log.retention_age?";
    refused(&directory, &[], &[], &[key]);
    directory.write("tidings.toml", "[[auth.keys]]\nname = \"a\"\nhsh = \"sha256:00\"\n");
    refused(&directory, &[], &[], &["tidings.toml:3:1: auth.keys has no hsh; did you mean hash?"]);
}

#[test]
fn variables_of_the_client_commands_are_no_error() {
    let variables = [("TIDINGS_URL", "http://127.0.0.1:1"), ("TIDINGS_TOKEN", "t")];
    effective(&TempDirectory::create(), &[], &variables, "stream.keep_alive = \"15s\"");
}

#[test]
fn environment_wins_over_the_file_and_flags_win_over_both() {
    let directory = TempDirectory::create();
    let file = "listen = [\"127.0.0.1:1\"]\nstream.keep_alive = \"1s\"\nlog.retention_events = 5\n";
    directory.write("tidings.toml", file);
    let variables = [("TIDINGS_LISTEN", "127.0.0.1:2"), ("TIDINGS_STREAM_KEEP_ALIVE", "200ms")];
    effective(&directory, &[], &[], "listen = [\"127.0.0.1:1\"]");
    effective(&directory, &[], &variables, "listen = [\"127.0.0.1:2\"]");
    effective(&directory, &["--listen", "127.0.0.1:3"], &variables, "listen = [\"127.0.0.1:3\"]");
    effective(&directory, &[], &variables, "stream.keep_alive = \"200ms\"");
    effective(&directory, &[], &variables, "log.retention_events = 5");
}

#[test]
fn file_given_by_a_flag_is_read_instead_and_has_to_exist() {
    let directory = TempDirectory::create();
    directory.write("tidings.toml", "nonsense");
    directory.write("other.toml", "data_dir = \"other\"");
    effective(&directory, &["--config", "other.toml"], &[], "data_dir = \"other\"");
    refused(&directory, &["--config", "missing.toml"], &[], &["missing.toml: cannot be read: "]);
    refused(&directory, &[], &[], &["tidings.toml:1:9: "]);
}

#[test]
fn all_errors_are_reported_at_once() {
    let directory = TempDirectory::create();
    directory.write("tidings.toml", "[stream]\nkeep_alive = \"1ms\"\nwrite_timeout = \"soon\"\n");
    let expected = [
        "tidings: the settings have 3 errors",
        "tidings.toml:2:14: stream.keep_alive is 1ms; at least 50ms, for example \"15s\"",
        "tidings.toml:3:17: stream.write_timeout is \"soon\", which is not a duration",
        "TIDINGS_LIMITS_EVENT_BYTES: limits.event_bytes is \"big\", which is not a size",
    ];
    refused(&directory, &[], &[("TIDINGS_LIMITS_EVENT_BYTES", "big")], &expected);
}

#[test]
fn address_beyond_loopback_is_refused_without_insecure() {
    let directory = TempDirectory::create();
    let arguments = ["--listen", "0.0.0.0:0"];
    refused(&directory, &arguments, &[], &["--listen: listen has 0.0.0.0:0", "--insecure"]);
    effective(&directory, &["--listen", "0.0.0.0:0", "--insecure"], &[], "listen = [\"0.0.0.0:0\"]");
}

#[test]
fn settings_of_later_versions_are_refused() {
    let directory = TempDirectory::create();
    directory.write("tidings.toml", "[nats]\nurl = \"nats://h\"\n");
    let expected = [
        "tidings.toml:2:1: nats.url is not available in this version; remove it",
        "NATS_URL: not available in this version",
    ];
    refused(&directory, &[], &[("NATS_URL", "nats://h")], &expected);
}

#[test]
fn redis_url_comes_from_flag_then_own_variable_then_file_then_common_variable() {
    let directory = TempDirectory::create();
    let shared = ("REDIS_URL", "redis://shared");
    let own = ("TIDINGS_REDIS_URL", "redis://own");
    effective(&directory, &[], &[shared], "redis.url = \"redis://shared\"");
    directory.write("tidings.toml", "redis.url = \"redis://file\"");
    effective(&directory, &[], &[shared], "redis.url = \"redis://file\"");
    effective(&directory, &[], &[shared, own], "redis.url = \"redis://own\"");
    effective(&directory, &["--redis", "redis://flag"], &[shared, own], "redis.url = \"redis://flag\"");
    effective(&directory, &["--redis", "none"], &[shared, own], "redis.url = \"none\"");
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn credentials_are_set_in_the_file_and_by_variables() {
    let directory = TempDirectory::create();
    directory.write(
        "tidings.toml",
        "[auth]\naudience = \"a\"\nissuer = [\"b\", \"c\"]\n[auth.user]\nsubscribe = [\"mine.{sub}\"]\n\
         [server.tls]\ncert_file = \"c.pem\"\nkey_file = \"k.pem\"\n[limits]\nconnections_per_user = 3\n\
         connections_per_address = 4\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\npublishes_per_second = \"none\"\n",
    );
    let variables = [
        ("TIDINGS_AUTH_SECRET", SECRET),
        ("TIDINGS_AUTH_ANONYMOUS_SUBSCRIBE", "public.**, news"),
        ("TIDINGS_AUTH_QUERY_TOKEN", "true"),
        ("TIDINGS_LIMITS_PUBLISHES_PER_SECOND", "100"),
    ];
    for expected in [
        "auth.audience = [\"a\"]",
        "auth.issuer = [\"b\", \"c\"]",
        "auth.user.subscribe = [\"mine.{sub}\"]",
        "auth.anonymous.subscribe = [\"public.**\", \"news\"]",
        "auth.query_token = true",
        "# auth.secret = \"***\"",
        "server.tls.cert_file = \"c.pem\"",
        "limits.connections_per_user = 3",
        "limits.connections_per_address = 4",
        "limits.trusted_proxies = [\"10.0.0.0/8\", \"::1\"]",
        "limits.publishes_per_second = 100",
    ] {
        effective(&directory, &[], &variables, expected);
    }
}

#[test]
fn value_given_in_the_wrong_place_is_refused_with_a_remedy() {
    let directory = TempDirectory::create();
    refused(&directory, &["--memory", "--data-dir", "d"], &[], &["--memory", "--data-dir"]);
    let expected = ["TIDINGS_AUTH_KEYS: not a setting of the environment", "`tidings key --name N`"];
    refused(&directory, &[], &[("TIDINGS_AUTH_KEYS", "tk_s3cret")], &expected);
}

#[test]
fn hub_with_credentials_may_listen_beyond_loopback_and_needs_no_insecure() {
    let directory = TempDirectory::create();
    let secret = [("TIDINGS_AUTH_SECRET", SECRET)];
    let beyond = directory.run(&["check", "--listen", "0.0.0.0:0"], &secret);
    beyond.assert(0, &["tokens travel there in clear"]);
    directory.run(&["check", "--insecure"], &secret).assert(0, &["--insecure has no effect"]);
}

#[test]
fn no_message_shows_a_misplaced_secret() {
    let directory = TempDirectory::create();
    for text in [
        "[auth]\nsecret = [\"s3cret\"]\n",
        "[auth]\nsecret = s3cret\n",
        "[auth]\nhook = \"https://u:s3cret@h/\"\n",
        "[redis]\nurl = \"redis://u:s3cret@h/x\"\n",
        "[redis]\nurl = \"redis://:s3cret/@h\"\n",
        "[redis]\nurl = [\"redis://:s3cret@h\"]\n",
    ] {
        directory.write("tidings.toml", text);
        let outcome = directory.run(&["serve"], &[]);
        outcome.assert(2, &[]);
        assert!(!outcome.stderr.contains("s3cret"), "{outcome:?}");
    }
}

#[test]
fn test_mode_is_read_from_the_environment() {
    let directory = TempDirectory::create();
    effective(&directory, &[], &[("TEST_MODE", "true")], "# test_mode = true");
    effective(&directory, &[], &[("TEST_MODE", "False")], "# test_mode = false");
    let expected = ["TEST_MODE: test_mode is \"perhaps\""];
    refused(&directory, &[], &[("TEST_MODE", "perhaps")], &expected);
}

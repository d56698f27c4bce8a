//! Settings of credentials: values, warnings, and messages without secrets.

use super::*;

const HASH: &str = "sha256:00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

/// Loads the text of a file: settings with warnings, or diagnostics.
fn load_text(text: &str) -> Result<Loaded, Vec<String>> {
    let path = std::env::temp_dir().join(format!(
        "tidings-settings-{}-{:?}.toml",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&path, text).expect("a file of a test");
    let loaded = load(Sources { config: Some(path.clone()), ..Sources::default() });
    std::fs::remove_file(&path).expect("a file of a test");
    let place = |problem: &Diagnostic| problem.to_string().replace(path.to_str().expect("a path"), "t.toml");
    loaded.map_err(|problems| problems.iter().map(place).collect())
}

fn warnings(text: &str) -> Vec<String> {
    load_text(text).expect(text).warnings
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    assert_eq!(
        load_text(text).map(|loaded| loaded.warnings),
        Err(expected.iter().map(ToString::to_string).collect())
    );
}

#[test]
fn hub_has_credentials_as_soon_as_anything_of_auth_is_given() {
    for text in [
        "[auth]",
        "auth.leeway = \"5s\"",
        "[auth.user]",
        "[auth.anonymous]\nsubscribe = []",
        "auth.keys = []",
    ] {
        assert!(load_text(text).expect(text).settings.auth.is_some(), "{text}");
    }
    assert!(load_text("").expect("nothing").settings.auth.is_none());
    let loaded = load_with(&[("TIDINGS_AUTH_QUERY_TOKEN", "false")], Vec::new(), None).expect("good");
    assert!(loaded.settings.auth.is_some());
}

#[test]
fn keys_are_read_in_full() {
    let text = format!(
        "[[auth.keys]]\nname = \"backend\"\nhash = \"{HASH}\"\nrights = [\"publish\", \"manage\"]\npublish = \
         [\"orders.**\"]\n[[auth.keys]]\nname = \"b\"\nhash = \"{}\"\nrights = [\"subscribe\"]\nsubscribe = [\"*\"]\n",
        HASH.replace("00", "11")
    );
    let loaded = load_text(&text).expect("good keys");
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let auth = loaded.settings.auth.expect("credentials");
    let names: Vec<&str> = auth.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["backend", "b"]);
    assert_eq!(auth.keys[0].hash, HASH);
    assert_eq!(
        auth.keys[0].rights,
        ["publish".parse().expect("a right"), "manage".parse().expect("a right")]
    );
    assert_eq!(auth.keys[0].publish, ["orders.**"]);
    assert_eq!(auth.keys[1].subscribe, ["*"]);
}

#[test]
fn faults_of_keys_name_line_and_nearest() {
    refused(
        &format!(
            "[[auth.keys]]\nname = \"a\"\nhash = \"{HASH}\"\nrigths = []\n\n[[auth.keys]]\nname = 1\nrights = [\"publsh\"]\n"
        ),
        &[
            "t.toml:4:1: auth.keys has no rigths; did you mean rights?",
            "t.toml:6:1: auth.keys: hash is missing; make a key with `tidings key --name N`, which prints it",
            "t.toml:7:8: auth.keys: name is a text, not this integer",
            "t.toml:8:10: auth.keys: rights has \"publsh\"; one of publish, subscribe, manage; did you mean publish?",
        ],
    );
    refused(
        "[auth.keys]\n",
        &["t.toml:1:1: auth.keys is a list of tables; head each key with [[auth.keys]]"],
    );
}

#[test]
fn keys_that_are_not_to_be_told_apart_are_refused() {
    let key = |name: &str, hash: &str| {
        format!("[[auth.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\nrights = [\"manage\"]\n")
    };
    refused(
        &[
            key("a", HASH),
            key("a", &HASH.replace("00", "11")),
            key("c", &HASH.to_lowercase()),
            key("d d", HASH),
        ]
        .concat(),
        &[
            "t.toml:1:8: auth.keys has two keys named \"a\"; rename one",
            "t.toml:1:8: auth.keys has the hash of \"c\" twice; each key has a secret of its own",
            "t.toml:1:8: auth.keys has a name that is \"d d\"; 1 to 250 bytes of A-Za-z0-9_.-",
        ],
    );
}

#[test]
fn no_message_shows_a_secret() {
    let misplaced = [
        "[auth]\nsecret = 5237\n",
        "[auth]\nsecret = 52.37\n",
        "[auth]\nsecret = [\"s5237t\"]\n",
        "[auth]\nsecret = { is = \"s5237t\" }\n",
        "[auth]\nsecret = s5237t\n",
        "[auth]\nsecret = \"s5237t\n",
        "[auth]\nhook = \"http://u:s5237t@h/\"\n",
        "[auth]\nhook = \"s5237t\"\n",
        "[auth]\njwks_url = \"https://s5237t@h/\"\n",
        "[auth]\nkeys = \"tk_s5237t\"\n",
        "[[auth.keys]]\nname = \"a\"\nhash = \"tk_s5237t\"\n",
        "[[auth.keys]]\nname = \"a\"\nhash = 5237\n",
        "[[auth.keys]]\nname = \"a\"\nrights = [\"tk_s5237t-s5237t-s5237t\"]\n",
        "[auth]\nalgorithms = \"s5237t-s5237t-s5237t\"\n",
        "[auth]\ncookie = \"s 5237 t\"\n",
    ];
    for text in misplaced {
        let problems = load_text(text).map(|loaded| loaded.warnings).expect_err(text);
        assert!(problems.iter().all(|problem| !problem.contains("5237")), "{text}: {problems:?}");
    }
    let loaded = load_text("[auth]\nsecret = \"s5237t\"\n").expect("good");
    assert!(loaded.warnings.iter().all(|warning| !warning.contains("5237")), "{:?}", loaded.warnings);
    assert!(!format!("{:?}", loaded.settings).contains("5237"));
    for setting in SETTINGS {
        assert!(!(setting.show)(&loaded.settings).contains("5237"), "{}", setting.name);
    }
}

#[test]
fn algorithm_needs_a_key_that_can_do_it() {
    refused(
        "[auth]\nalgorithms = [\"HS256\"]\nkey_file = \"k.pem\"\n",
        &[
            "t.toml:2:14: auth.algorithms has HS256, which no given key can do; give auth.secret, or remove it, for \
           example [\"ES256\"]",
        ],
    );
    let text = "[auth]\nalgorithms = [\"RS256\"]\nsecret = \"0123456789abcdef0123456789abcdef\"\n";
    let problems = load_text(text).map(|_| ()).expect_err("no key");
    assert!(problems[0].contains("RS256") && problems[0].contains("auth.key_file"), "{problems:?}");
    let none = load_text("[auth]\nalgorithms = [\"None\"]\n").map(|_| ()).expect_err("no signature");
    assert!(none[0].contains("never accepted"), "{none:?}");
    let text = "[auth]\nalgorithms = [\"HS256\", \"EdDSA\"]\nsecret = \"0123456789abcdef0123456789abcdef\"\nkey_file = \"k.pem\"\n";
    assert_eq!(warnings(text), Vec::<String>::new());
}

#[test]
fn bounds_of_auth_are_kept() {
    let problems = load_text(
        "[auth]\nleeway = \"6m\"\nhook_timeout = \"49ms\"\nhook_ttl = \"2h\"\nhook_recheck = \"99ms\"\ntoken_max_age = \
         \"366d\"\nuser_claim = \"exp\"\n[limits]\nconnections_per_user = 0\nconnections_per_address = \"none\"\n",
    )
    .map(|_| ())
    .expect_err("out of bounds");
    let starts: Vec<&str> =
        problems.iter().filter_map(|problem| problem.split(", for example").next()).collect();
    assert_eq!(
        starts,
        [
            "t.toml:9:24: limits.connections_per_user is 0; at least 1",
            "t.toml:2:10: auth.leeway is 6m; at most 5m",
            "t.toml:3:16: auth.hook_timeout is 49ms; at least 50ms",
            "t.toml:4:12: auth.hook_ttl is 2h; at most 1h",
            "t.toml:5:16: auth.hook_recheck is 99ms; at least 100ms",
            "t.toml:6:17: auth.token_max_age is 366d; at most 365d",
            "t.toml:7:14: auth.user_claim is \"exp\", which says something else than who the user is",
        ]
    );
}

#[test]
fn keys_are_fetched_over_https_or_from_this_machine() {
    for good in [
        "https://id.example.com/keys",
        "http://localhost:1/k",
        "http://127.9.9.9/k",
        "http://[::1]:80/",
        "none",
    ] {
        assert!(load_text(&format!("[auth]\njwks_url = \"{good}\"\n")).is_ok(), "{good}");
    }
    for bad in [
        "http://id.example.com/keys",
        "http://10.0.0.1/",
        "ftp://localhost/",
        "https:///",
        "keys",
        "https://h/#k",
    ] {
        assert!(load_text(&format!("[auth]\njwks_url = \"{bad}\"\n")).is_err(), "{bad}");
    }
}

#[test]
fn protected_hub_may_listen_beyond_loopback_and_is_told_about_clear_text() {
    let key = format!(
        "[[auth.keys]]\nname = \"a\"\nhash = \"{HASH}\"\nrights = [\"publish\"]\npublish = [\"**\"]\n"
    );
    let beyond = "listen = [\"127.0.0.1:1\", \"0.0.0.0:2\"]\n";
    let found = warnings(&format!("{beyond}{key}"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("0.0.0.0:2") && found[0].contains("in clear"), "{found:?}");
    let tls = "[server.tls]\ncert_file = \"c.pem\"\nkey_file = \"k.pem\"\n";
    assert_eq!(warnings(&format!("{beyond}{tls}{key}")), Vec::<String>::new());
    let flag = FlagValue { setting: "insecure", flag: "--insecure", raw: RawValue::Bare("true".to_owned()) };
    let secret = "0123456789abcdef0123456789abcdef";
    let loaded = load_with(&[("TIDINGS_AUTH_SECRET", secret)], vec![flag], None).expect("good");
    assert_eq!(loaded.warnings, ["--insecure has no effect on a hub with [auth]; leave it out"]);
}

#[test]
fn rights_that_grant_nothing_are_warned_of() {
    let found = warnings(&format!(
        "[[auth.keys]]\nname = \"a\"\nhash = \"{HASH}\"\nrights = [\"publish\"]\nsubscribe = [\"x\"]\n"
    ));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("patterns to subscribe without the right"), "{found:?}");
    assert!(found[1].contains("right publish without patterns"), "{found:?}");
    assert!(found[2].contains("no client can publish"), "{found:?}");
    let found = warnings("[auth]\nsecret = \"short\"\n");
    assert!(found[0].contains("openssl rand -base64 48") && found.len() == 1, "{found:?}");
}

#[test]
fn every_origin_is_allowed_only_alone_and_without_cookies() {
    let with =
        |origins: &str, auth: &str| load_text(&format!("cors.origins = {origins}\n{auth}")).map(|_| ());
    assert_eq!(with("[\"*\"]", "[auth]\n"), Ok(()));
    for (origins, auth, reason) in [
        ("[\"*\"]", "", "a hub without credentials"),
        ("[\"*\"]", "[auth]\ncookie = \"session\"\n", "auth.cookie"),
        ("[\"*\", \"https://a.example\"]", "[auth]\n", "alone"),
    ] {
        let problems = with(origins, auth).expect_err(reason);
        assert!(problems[0].contains(reason), "{problems:?}");
    }
}

#[test]
fn tls_takes_both_files_or_neither() {
    let problems = load_text("[server.tls]\nkey_file = \"k.pem\"\n").map(|_| ()).expect_err("one file");
    assert!(
        problems[0].contains("server.tls.cert_file is missing beside server.tls.key_file"),
        "{problems:?}"
    );
    let none = load_text("[server.tls]\nkey_file = \"none\"\ncert_file = \"none\"\n").expect("good");
    assert_eq!(none.settings.server.tls, None);
}

#[test]
fn proxies_are_networks_or_addresses() {
    assert!(
        load_text("limits.trusted_proxies = [\"10.0.0.0/8\", \"127.0.0.1\", \"fd00::/8\", \"::1\"]").is_ok()
    );
    for bad in ["10.0.0.0/33", "proxy.example", "", "10.0.0"] {
        assert!(load_text(&format!("limits.trusted_proxies = [\"{bad}\"]")).is_err(), "{bad}");
    }
}

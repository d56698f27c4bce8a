//! Settings of credentials: values, warnings, and messages without secrets.

use tidings_testkit::TempDirectory;

use super::*;

const HASH: &str = "sha256:00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Loads the text of a file: settings with warnings, or errors.
fn load_text(text: &str) -> Result<Loaded, Vec<String>> {
    let directory = TempDirectory::create();
    let path = directory.write("t.toml", text);
    let loaded = load(Sources { config: Some(path.clone()), ..Sources::default() });
    let show = |error: &Diagnostic| error.to_string().replace(path.to_str().expect("a path"), "t.toml");
    loaded.map_err(|errors| errors.iter().map(show).collect())
}

#[track_caller]
fn warnings(text: &str) -> Vec<String> {
    load_text(text).expect(text).warnings
}

#[track_caller]
fn errors(text: &str) -> Vec<String> {
    load_text(text).expect_err(text)
}

/// Lines of an API key with these further members.
fn key(name: &str, hash: &str, members: &str) -> String {
    format!("[[auth.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\n{members}\n")
}

#[test]
fn any_setting_of_auth_makes_the_hub_ask_for_credentials() {
    let anonymous = "[auth.anonymous]\nsubscribe = []";
    for text in ["[auth]", "auth.leeway = \"5s\"", "[auth.user]", anonymous, "auth.keys = []"] {
        assert!(load_text(text).expect(text).settings.auth.is_some(), "{text}");
    }
    assert!(load_text("").expect("nothing").settings.auth.is_none());
    let loaded = load_with(&[("TIDINGS_AUTH_QUERY_TOKEN", "false")], Vec::new()).expect("valid settings");
    assert!(loaded.settings.auth.is_some());
}

#[test]
fn keys_are_read_in_full() {
    let backend = "rights = [\"publish\", \"manage\"]\npublish = [\"orders.**\"]";
    let other = "rights = [\"subscribe\"]\nsubscribe = [\"*\"]";
    let text = key("backend", HASH, backend) + &key("b", &HASH.replace("00", "11"), other);
    let loaded = load_text(&text).expect("valid keys");
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let auth = loaded.settings.auth.expect("credentials");
    let names: Vec<&str> = auth.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["backend", "b"]);
    assert_eq!(auth.keys[0].hash, HASH);
    assert_eq!(auth.keys[0].rights, ["publish", "manage"].map(|right| right.parse().expect("a right")));
    assert_eq!(auth.keys[0].publish, ["orders.**"]);
    assert_eq!(auth.keys[1].subscribe, ["*"]);
}

#[test]
fn errors_of_keys_name_the_line_and_a_suggestion() {
    let misspelt = key("a", HASH, "rigths = []\n");
    assert_eq!(
        errors(&format!("{misspelt}[[auth.keys]]\nname = 1\nrights = [\"publsh\"]\n")),
        [
            "t.toml:4:1: auth.keys has no rigths; did you mean rights?",
            "t.toml:6:1: auth.keys: hash is missing; make a key with `tidings key --name N`, which prints it",
            "t.toml:7:8: auth.keys: name is a text, not this integer",
            "t.toml:8:10: auth.keys: rights has \"publsh\"; one of publish, subscribe, manage; did you mean publish?",
        ]
    );
    let expected = "t.toml:1:1: auth.keys is a list of tables; head each key with [[auth.keys]]";
    assert_eq!(errors("[auth.keys]\n"), [expected]);
}

#[test]
fn ambiguous_keys_are_refused() {
    let keys = [("a", HASH), ("a", &HASH.replace("00", "11")), ("c", &HASH.to_lowercase()), ("d d", HASH)];
    assert_eq!(
        errors(&keys.map(|(name, hash)| key(name, hash, "rights = [\"manage\"]")).concat()),
        [
            "t.toml:1:8: auth.keys has two keys named \"a\"; rename one",
            "t.toml:1:8: auth.keys has the hash of \"c\" twice; each key has a secret of its own",
            "t.toml:1:8: auth.keys has a name that is \"d d\"; 1 to 250 bytes of A-Za-z0-9_.-",
        ]
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
        let errors = errors(text);
        assert!(errors.iter().all(|error| !error.contains("5237")), "{text}: {errors:?}");
    }
    let loaded = load_text("[auth]\nsecret = \"s5237t\"\n").expect("good");
    assert!(loaded.warnings.iter().all(|warning| !warning.contains("5237")), "{:?}", loaded.warnings);
    assert!(!format!("{:?}", loaded.settings).contains("5237"));
    for setting in SETTINGS {
        assert!(!(setting.show)(&loaded.settings).contains("5237"), "{}", setting.name);
    }
}

#[test]
fn algorithm_needs_a_key_that_supports_it() {
    let with = |algorithms: &str, keys: &str| format!("[auth]\nalgorithms = [{algorithms}]\n{keys}\n");
    let expected = "t.toml:2:14: auth.algorithms has HS256, which no given key can do; give auth.secret, or remove it, \
                    for example [\"ES256\"]";
    assert_eq!(errors(&with("\"HS256\"", "key_file = \"k.pem\"")), [expected]);
    let unable = errors(&with("\"RS256\"", &format!("secret = {SECRET:?}")));
    assert!(unable[0].contains("RS256") && unable[0].contains("auth.key_file"), "{unable:?}");
    let none = errors(&with("\"None\"", ""));
    assert!(none[0].contains("never accepted"), "{none:?}");
    let both = with("\"HS256\", \"EdDSA\"", &format!("secret = {SECRET:?}\nkey_file = \"k.pem\""));
    assert_eq!(warnings(&both), Vec::<String>::new());
}

#[test]
fn bounds_of_auth_are_kept() {
    let errors = errors(
        "[auth]\nleeway = \"6m\"\nhook_timeout = \"49ms\"\nhook_ttl = \"2h\"\nhook_recheck = \"99ms\"\ntoken_max_age = \
         \"366d\"\nuser_claim = \"exp\"\n[limits]\nconnections_per_user = 0\nconnections_per_address = \"none\"\n",
    );
    let starts: Vec<&str> = errors.iter().filter_map(|error| error.split(", for example").next()).collect();
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
fn protected_hub_may_listen_beyond_loopback_with_a_warning_about_clear_text() {
    let key = key("a", HASH, "rights = [\"publish\"]\npublish = [\"**\"]");
    let beyond = "listen = [\"127.0.0.1:1\", \"0.0.0.0:2\"]\n";
    let found = warnings(&format!("{beyond}{key}"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("0.0.0.0:2") && found[0].contains("in clear"), "{found:?}");
    let tls = "[server.tls]\ncert_file = \"c.pem\"\nkey_file = \"k.pem\"\n";
    assert_eq!(warnings(&format!("{beyond}{tls}{key}")), Vec::<String>::new());
    let loaded = load_with(&[("TIDINGS_AUTH_SECRET", SECRET)], vec![insecure()]).expect("valid settings");
    assert_eq!(loaded.warnings, ["--insecure has no effect on a hub with [auth]; leave it out"]);
}

#[test]
fn rights_that_grant_nothing_give_a_warning() {
    let found = warnings(&key("a", HASH, "rights = [\"publish\"]\nsubscribe = [\"x\"]"));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("patterns to subscribe without the right"), "{found:?}");
    assert!(found[1].contains("right publish without patterns"), "{found:?}");
    assert!(found[2].contains("no client can publish"), "{found:?}");
    let found = warnings("[auth]\nsecret = \"short\"\n");
    assert!(found[0].contains("openssl rand -base64 48") && found.len() == 1, "{found:?}");
}

#[test]
fn every_origin_is_allowed_only_alone_and_without_cookies() {
    let with = |origins: &str, auth: &str| load_text(&format!("cors.origins = {origins}\n{auth}"));
    assert!(with("[\"*\"]", "[auth]\n").is_ok());
    for (origins, auth, reason) in [
        ("[\"*\"]", "", "a hub without credentials"),
        ("[\"*\"]", "[auth]\ncookie = \"session\"\n", "auth.cookie"),
        ("[\"*\", \"https://a.example\"]", "[auth]\n", "alone"),
    ] {
        let errors = with(origins, auth).expect_err(reason);
        assert!(errors[0].contains(reason), "{errors:?}");
    }
}

#[test]
fn tls_takes_both_files_or_neither() {
    let alone = errors("[server.tls]\nkey_file = \"k.pem\"\n");
    assert!(alone[0].contains("server.tls.cert_file is missing beside server.tls.key_file"), "{alone:?}");
    let none = load_text("[server.tls]\nkey_file = \"none\"\ncert_file = \"none\"\n").expect("good");
    assert_eq!(none.settings.server.tls, None);
}

#[test]
fn proxies_are_networks_or_addresses() {
    let good = "limits.trusted_proxies = [\"10.0.0.0/8\", \"127.0.0.1\", \"fd00::/8\", \"::1\"]";
    assert!(load_text(good).is_ok());
    for bad in ["10.0.0.0/33", "proxy.example", "", "10.0.0"] {
        assert!(load_text(&format!("limits.trusted_proxies = [\"{bad}\"]")).is_err(), "{bad}");
    }
}

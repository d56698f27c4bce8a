//! `tidings check`.

use crate::prelude::*;

const PAGE: &str = include_str!("../../../docs/settings.md");

/// Names and defaults of all settings, in the order of the manual.
fn defaults() -> Vec<(String, &'static str)> {
    let mut section = "";
    let mut defaults = Vec::new();
    for line in PAGE.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.strip_prefix("`[").and_then(|title| title.strip_suffix("]`")).unwrap_or_default();
        } else if let Some(cells) = line.strip_prefix("| `") {
            let [name, default] = [0, 2].map(|index| cells.split('`').nth(index).unwrap());
            let name = name.trim_start_matches('-').to_lowercase();
            defaults.push((if section.is_empty() { name } else { format!("{section}.{name}") }, default));
        }
    }
    defaults
}

#[test]
fn check_prints_every_setting_with_value_and_origin() {
    let given = [
        ("listen", r#"["127.0.0.1:0"] # flag --listen"#),
        ("log.durability", r#""memory" # environment TIDINGS_LOG_DURABILITY"#),
        ("log.retention_age", r#""2h" # tidings.toml:2"#),
        ("limits.connections", "10 # environment TIDINGS_LIMITS_CONNECTIONS"),
    ];
    // A file holds neither these nor settings of a section that would have another effect there.
    let no_lines = ["insecure", "test_mode"];
    let expected = defaults().into_iter().map(|(name, default)| {
        let given = given.iter().find(|(known, _)| *known == name);
        let value = given.map_or(format!("{default} # default"), |(_, value)| (*value).to_owned());
        let is_comment = no_lines.contains(&name.as_str())
            || name.starts_with("auth.")
            || name.starts_with("redis.") && name != "redis.url";
        format!("{}{name} = {value}", if is_comment { "# " } else { "" })
    });
    let expected: Vec<String> = expected.collect();
    assert!(expected.len() > 60, "{expected:#?}");

    let directory = TempDirectory::create();
    directory.write("tidings.toml", "[log]\nretention_age = \"2h\"\ndurability = \"fsync\"\n");
    let variables = [("TIDINGS_LOG_DURABILITY", "memory"), ("TIDINGS_LIMITS_CONNECTIONS", "10")];
    let outcome = directory.run(&["check", "--listen", "localhost:0"], &variables);
    // A single space stands for the padding between value and origin.
    let lines = outcome.assert(0, &[]).stdout.lines();
    let lines: Vec<String> =
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines, expected);
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
    assert!(outcome.stdout == PAGE, "docs/settings.md is old; make it with `tidings check --markdown`");
}

//! `tidings key`.

use crate::prelude::*;

fn secret_of(outcome: &ProgramOutput) -> &str {
    let at = outcome.stdout.find("tk_").unwrap_or_else(|| panic!("no secret in {outcome:?}"));
    outcome.stdout[at..].split_whitespace().next().unwrap()
}

#[test]
fn key_is_printed_once_with_settings_that_the_hub_reads() {
    let directory = TempDirectory::create();
    let arguments = "key --name backend --right manage --publish orders.** --subscribe a --subscribe b.*";
    let outcome = directory.run(&arguments.split(' ').collect::<Vec<_>>(), &[]);
    outcome.assert(0, &[]);
    let secret = secret_of(&outcome);
    assert_eq!(secret.len(), 46, "{secret}");
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(secret[3..].bytes().all(is_base64url), "{secret}");
    assert_eq!(outcome.stdout.matches("tk_").count(), 1);
    assert!(!outcome.stderr.contains("tk_"), "{outcome:?}");
    directory.write("tidings.toml", &outcome.stdout);
    let check = directory.run(&["check"], &[]);
    let expected = "auth.keys = [{ name = \"backend\", rights = [\"publish\", \"subscribe\", \"manage\"], subscribe = \
                    [\"a\", \"b.*\"], publish = [\"orders.**\"] }]";
    assert!(check.stdout.contains(expected), "{check:?}");
    assert!(!check.stderr.contains("warning"), "{check:?}");
}

#[test]
fn every_key_is_unique() {
    let directory = TempDirectory::create();
    let draw = || directory.run(&["key", "--name", "n", "--publish", "**"], &[]);
    let (one, other) = (draw(), draw());
    assert_ne!(secret_of(&one), secret_of(&other));
}

#[test]
fn key_without_right_or_with_a_bad_one_is_refused() {
    let directory = TempDirectory::create();
    for (arguments, expected) in [
        (["--name", "n"].as_slice(), "no right"),
        (&["--name", "n", "--right", "publsh"], "one of publish, subscribe, manage"),
        (&["--name", "a b", "--right", "manage"], "--name is \"a b\""),
        (&["--name", "n", "--publish", "a..b"], "--publish has \"a..b\""),
        (&["--right", "manage"], "--name"),
    ] {
        let all: Vec<&str> = ["key"].iter().chain(arguments).copied().collect();
        assert_eq!(directory.run(&all, &[]).assert(2, &[expected]).stdout, "");
    }
}

#[test]
fn right_without_patterns_gives_a_warning() {
    let outcome = TempDirectory::create().run(&["key", "--name", "n", "--right", "publish"], &[]);
    outcome.assert(0, &["the right publish grants nothing without patterns"]);
}

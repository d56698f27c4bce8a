//! Keys and their settings.

use super::*;

fn args(right: &[Right], subscribe: &[&str], publish: &[&str]) -> Args {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    Args {
        name: "back".to_owned(),
        right: right.to_vec(),
        subscribe: texts(subscribe),
        publish: texts(publish),
    }
}

#[test]
fn patterns_imply_their_right() {
    assert_eq!(rights(&args(&[], &["a"], &["b"])), Ok(vec![Right::Publish, Right::Subscribe]));
    let both = args(&[Right::Manage, Right::Publish], &[], &["b"]);
    assert_eq!(rights(&both), Ok(vec![Right::Publish, Right::Manage]));
}

#[test]
fn key_without_a_right_or_with_a_bad_name_or_pattern_is_refused() {
    assert!(rights(&args(&[], &[], &[])).is_err_and(|fault| fault.contains("no right")));
    assert!(rights(&args(&[], &["a..b"], &[])).is_err_and(|fault| fault.starts_with("--subscribe has")));
    let bad = Args { name: "a b".to_owned(), ..args(&[Right::Manage], &[], &[]) };
    assert!(rights(&bad).is_err_and(|fault| fault.starts_with("--name is \"a b\"")));
}

#[test]
fn output_is_toml_with_the_hash_and_without_the_secret() {
    let args = args(&[Right::Manage], &["a.*"], &["b.**", "c"]);
    let key = NewApiKey::generate();
    let text = toml(&args, &rights(&args).expect("rights"), &key);
    assert!(
        text.lines().next().is_some_and(|line| line.starts_with('#') && line.ends_with(&key.secret)),
        "{text}"
    );
    let read: toml::Table = text.parse().expect("TOML");
    assert!(!format!("{read:?}").contains(&key.secret));
    let read = &read["auth"]["keys"][0];
    assert_eq!(read["hash"].as_str(), Some(key.hash.as_str()));
    assert_eq!(read["name"].as_str(), Some("back"));
    assert_eq!(read["rights"].as_array().map(Vec::len), Some(3));
    assert_eq!(read["publish"].as_array().map(Vec::len), Some(2));
    assert_eq!(read["subscribe"].as_array().map(Vec::len), Some(1));
}

use tidings_protocol::Pattern;

use super::*;

fn targets(wanted: &[&str], listen: &[&str]) -> Vec<String> {
    let listen = listen.iter().map(|pattern| Pattern::parse(pattern).unwrap()).collect();
    let settings = RedisSettings { listen, ..RedisSettings::new("redis://h") };
    let wanted = wanted.iter().map(|wanted| Subscription::parse(wanted).unwrap()).collect();
    let text = |target| match target {
        PubsubTarget::Name(name) => format!("name {}", String::from_utf8(name).unwrap()),
        PubsubTarget::Glob(glob) => format!("glob {}", String::from_utf8(glob).unwrap()),
    };
    let mut targets = PubsubSubscriptions::new(settings);
    targets.update(InterestChange::All(wanted));
    targets.all().into_iter().map(text).collect()
}

fn changes(targets: &mut PubsubSubscriptions, changes: &[(&str, bool)]) -> (Vec<String>, Vec<String>) {
    let changes = changes.iter().map(|(text, is_wanted)| (Subscription::parse(text).unwrap(), *is_wanted));
    let SubscriptionDelta { new, old } = targets.update(InterestChange::Changes(changes.collect()));
    let texts = |targets: Vec<PubsubTarget>| {
        let mut texts: Vec<_> = targets.iter().map(ToString::to_string).collect();
        texts.sort();
        texts
    };
    (texts(new), texts(old))
}

#[test]
fn changes_ask_for_what_is_new_and_give_up_what_nobody_wants() {
    let mut targets = PubsubSubscriptions::new(RedisSettings::new("redis://h"));
    let none: [&str; 0] = [];
    assert_eq!(changes(&mut targets, &[("a", true), ("b", true)]), (vec!["a".into(), "b".into()], vec![]));
    assert_eq!(changes(&mut targets, &[("a", true), ("b", false)]), (vec![], vec!["b".into()]));
    assert_eq!(changes(&mut targets, &[("p.*", true), ("p.1", true)]).0, ["p.*", "p.1"]);
    assert_eq!(changes(&mut targets, &[("p.*", false), ("p.*", true)]), (vec![], vec![]));
    assert_eq!(changes(&mut targets, &[("p.*", false)]), (vec![], vec!["p.*".into()]));
    // `_` is asked for by name, for the pattern of all channels, and for itself.
    assert!(changes(&mut targets, &[("**", true)]).0.contains(&"_".to_owned()));
    assert_eq!(changes(&mut targets, &[("_", true)]), (vec![], vec![]));
    assert!(!changes(&mut targets, &[("**", false)]).1.contains(&"_".to_owned()));
    assert_eq!(changes(&mut targets, &[("_", false)]).1, ["_"]);
    assert!(changes(&mut targets, &[("**", true), ("_", true)]).0.contains(&"_".to_owned()));
    assert_eq!(changes(&mut targets, &[("_", false)]).1, none);
    let SubscriptionDelta { new, old } =
        targets.update(InterestChange::All(vec![Subscription::parse("c").unwrap()]));
    assert_eq!((new.len(), old.len()), (1, targets_of_all() + 2));
    assert_eq!(targets.all().len(), 1);
}

/// Number of targets for the pattern of all channels.
fn targets_of_all() -> usize {
    targets(&["**"], &["**"]).len()
}

#[test]
fn what_is_captured_is_heard_whoever_wants_it() {
    let capture = vec![Pattern::parse("p.*").unwrap()];
    let mut targets = PubsubSubscriptions::new(RedisSettings { capture, ..RedisSettings::new("redis://h") });
    assert_eq!(targets.all(), [PubsubTarget::Glob("p.*".into())]);
    assert_eq!(changes(&mut targets, &[("p.1", true), ("p.*", true)]), (vec![], vec![]));
    assert_eq!(changes(&mut targets, &[("p.1", false), ("p.*", false), ("q", true)]).1, [""; 0]);
}

#[test]
fn names_and_patterns_are_asked_for_as_far_as_they_are_listened_to() {
    assert_eq!(targets(&["a", "b.c"], &["**"]), ["name a", "name b.c"]);
    assert_eq!(targets(&["a", "b.c"], &["b.*"]), ["name b.c"]);
    assert_eq!(
        targets(&["project.*", "project.**", "project.42"], &["**"]),
        ["name project.42", "glob project.*"]
    );
    assert_eq!(targets(&["**"], &["project.*", "file.1"]), ["name file.1", "glob project.*"]);
    assert_eq!(targets(&["*.a", "a:*"], &["b.*", "c:**"]), ["name b.a"]);
    assert_eq!(targets(&["a.*.c", "a.b.c.**"], &["*.b.**"]), ["name a.b.c", "glob a.b.c.*"]);
    assert_eq!(targets(&["a.*"], &["a.*.c", "a", "b.*", "a:*"]), Vec::<String>::new());
    assert_eq!(targets(&["a.**"], &["a.*"]), ["glob a.*"]);
}

#[test]
fn no_glob_takes_in_what_redis_tells_of_its_keys() {
    let all = ["name _", "name __", "name __k", "name __ke", "glob [-0-9A-Za-z~@]*", "glob _[^_]*"];
    let last = ["glob __[^k]*", "glob __k[^e]*", "glob __ke[^y]*"];
    let mut expected = [&all[..], &last[..]].concat();
    expected.sort_unstable_by_key(|target| (!target.starts_with("name"), target.to_owned()));
    assert_eq!(targets(&["**"], &["**"]), expected);
    assert_eq!(targets(&["*"], &["**"]), expected);
    let of_second = targets(&["*.a"], &["**"]);
    assert!(of_second.contains(&"name _.a".to_owned()) && of_second.contains(&"glob __k[^e]*.a".to_owned()));
    assert!(targets(&["*.a.*"], &["**"]).contains(&"glob __ke.a.*".to_owned()));
    let none = ["__keyevent@0__:del", "__keyevent@0__:*", "__keyspace@0__:**"];
    assert_eq!(targets(&none, &["**"]), Vec::<String>::new());
}

#[test]
fn more_globs_than_redis_should_look_at_become_those_of_the_setting() {
    let few: Vec<String> = (0..GLOBS_MAX).map(|number| format!("a.{number}.*")).collect();
    let mut few: Vec<&str> = few.iter().map(String::as_str).collect();
    assert_eq!(targets(&few, &["a.**", "b.**"]).len(), GLOBS_MAX);
    few.extend(["a.b.*", "a.c"]);
    assert_eq!(targets(&few, &["a.**", "b.**"]), ["name a.c", "glob a.*", "glob b.*"]);
}

/// Refuses a glob; answers what is asked for then, and whether something is not heard.
fn refuse(targets: &mut PubsubSubscriptions, glob: &str) -> (Vec<String>, bool) {
    let RefusalOutcome { delta, is_missed } = targets.refuse(&PubsubTarget::Glob(glob.into()));
    assert_eq!(delta.old, []);
    (delta.new.iter().map(ToString::to_string).collect(), is_missed)
}

#[test]
fn patterns_of_the_setting_stand_in_the_place_of_those_that_redis_refuses() {
    let mut targets = listening(&["a.**", "b.**"]);
    changes(&mut targets, &[("a.1.*", true), ("a.2.*", true), ("b.*", true), ("b.1", true)]);
    assert_eq!(refuse(&mut targets, "a.1.*"), (vec!["a.*".into()], false));
    assert_eq!(refuse(&mut targets, "a.2.*"), (vec![], false));
    assert_eq!(refuse(&mut targets, "a.*"), (vec![], true));
    // The target and its substitute are the same.
    assert_eq!(refuse(&mut targets, "b.*"), (vec![], true));
    assert!(targets.refuse(&PubsubTarget::Name("b.1".into())).is_missed);
    assert!(!targets.refuse(&PubsubTarget::Name("b.2".into())).is_missed);
    // It stays requested: Redis may accept it later.
    assert!(targets.has(&PubsubTarget::Glob("a.*".into())));
    assert_eq!(targets.grant(&PubsubTarget::Glob("a.*".into())), Some(SubscriptionDelta::default()));
    // It is given up with the last that it stands for.
    assert_eq!(changes(&mut targets, &[("a.1.*", false)]), (vec![], vec!["a.1.*".into()]));
    assert_eq!(
        targets.grant(&PubsubTarget::Glob("a.2.*".into())).unwrap().old,
        [PubsubTarget::Glob("a.*".into())]
    );
    assert_eq!(refuse(&mut targets, "a.2.*").0, ["a.*"]);
    assert_eq!(changes(&mut targets, &[("a.2.*", false)]).1, ["a.*", "a.2.*"]);
}

#[test]
fn of_two_patterns_of_the_setting_the_one_that_redis_grants_stands_in() {
    let mut targets = listening(&["a.*.**", "*.*.c"]);
    changes(&mut targets, &[("a.*.c", true)]);
    assert_eq!(refuse(&mut targets, "a.*.c").0, ["*.*.c"]);
    let RefusalOutcome { delta, is_missed } = targets.refuse(&PubsubTarget::Glob("*.*.c".into()));
    assert_eq!(
        (delta.new, delta.old),
        (vec![PubsubTarget::Glob("a.*.*".into())], vec![PubsubTarget::Glob("*.*.c".into())])
    );
    assert!(!is_missed);
}

fn listening(listen: &[&str]) -> PubsubSubscriptions {
    let listen = listen.iter().map(|pattern| Pattern::parse(pattern).unwrap()).collect();
    PubsubSubscriptions::new(RedisSettings { listen, ..RedisSettings::new("redis://h") })
}

use super::*;

#[test]
fn settings_are_shown_without_the_password() {
    let settings = format!("{:?}", RedisSettings::new("redis://u:s3cret@h"));
    assert!(settings.contains("redis://u:***@h") && !settings.contains("s3cret"), "{settings}");
}

#[test]
fn what_redis_tells_of_its_keys_is_never_listened_to() {
    let settings = RedisSettings::new("redis://h");
    assert!(settings.listens_to("project.42") && settings.listens_to("_a") && settings.listens_to("__k"));
    assert!(!settings.listens_to("__keyevent@0__:del") && !settings.listens_to("__keyspace@0__:a"));
    assert!(!settings.listens_to("$a"));
    let narrow = RedisSettings { listen: vec![Pattern::parse("a.*").unwrap()], ..settings };
    assert!(narrow.listens_to("a.b") && !narrow.listens_to("b") && !narrow.listens_to("a.b.c"));
}

use super::*;

#[test]
fn versions_are_read_from_the_lines_that_servers_print() {
    let check = |line, expected| {
        let version = RedisVersion::parse(line).map(|version| (version.to_string(), version.forbids_debug()));
        assert_eq!(version.as_ref().map(|(name, forbids)| (name.as_str(), *forbids)), expected, "{line}");
    };
    check("Redis server v=6.2.5 sha=00000000:0 malloc=jemalloc-5.1.0 bits=64", Some(("Redis 6.2", false)));
    check("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64", Some(("Redis 7.0", true)));
    check("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64", Some(("Valkey 9.1", true)));
    check("Redis server v=8.", None);
    check("", None);
}

#[test]
fn the_server_of_tests_can_be_run() {
    let version = version();
    assert!((version.major, version.minor) >= (6, 2), "{version}");
    assert_eq!(server().get_program(), sentinel().get_program());
}

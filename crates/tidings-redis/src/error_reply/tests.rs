use super::*;

fn check(reply: &str, code: &str, ended_script: bool) {
    let read = ErrorReply::parse(reply);
    assert_eq!((read.code, read.ended_script), (code, ended_script), "{reply}");
}

#[test]
fn errors_are_read_in_the_words_of_each_version() {
    check("OOM command not allowed when used memory > 'maxmemory'.", "OOM", false);
    let of_6_2 = "@user_script: 55: -OOM command not allowed when used memory > 'maxmemory'.";
    check(of_6_2, "OOM", false);
    check(&format!("ERR Error running script (call to f_db8d8f): @user_script:55: {of_6_2}"), "OOM", true);
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    check(&format!("ERR Error running script (call to f_80d1): @user_script:1: {wrong}"), "WRONGTYPE", true);
    // Redis 7 and 8, Valkey 8, then Valkey 9.
    check(&format!("{wrong} script: 80d15f6c, on @user_script:1."), "WRONGTYPE", true);
    check(&format!("{wrong} script: on @user_script:1."), "WRONGTYPE", true);
    check("MOVED 3999 127.0.0.1:6381", "MOVED", false);
    check("", "", false);
}

#[test]
fn command_that_the_acl_denies_is_named_in_the_words_of_each_version() {
    for (reply, command) in [
        ("NOPERM this user has no permissions to run the 'info' command or its subcommand", Some("info")),
        ("NOPERM User hub has no permissions to run the 'script|load' command", Some("script|load")),
        ("ERR ACL failure in script: User hub has no permissions to run the 'xadd' command", Some("xadd")),
        ("NOPERM No permissions to access a key", None),
        ("NOPERM User hub has no permissions to run the 'info", None),
        ("OOM command not allowed when used memory > 'maxmemory'.", None),
    ] {
        assert_eq!(ErrorReply::parse(reply).denied_command(), command, "{reply}");
    }
}

#[test]
fn what_only_looks_like_a_place_in_a_script_stays() {
    for reply in ["@user_script", "@user_script: x: -OOM no", "-OOM no", "@user_script:5"] {
        assert_eq!(ErrorReply::parse(reply).text, reply);
    }
    check("ERR unknown script: x", "ERR", false);
}

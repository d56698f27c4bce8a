use super::*;

fn is_not_done(reply: &str) -> bool {
    match RedisError::of_reply(reply) {
        RedisError::NotApplied(_) | RedisError::Moving(_) => true,
        RedisError::OutcomeUnknown(_) => false,
        RedisError::Corrupt { .. } => panic!("{reply}"),
    }
}

/// One error as a command, a script that returns it and a script that it ends report it, for each version.
fn from_everywhere(error: &str) -> [String; 5] {
    let of_6_2 = format!("@user_script: 55: -{error}");
    [
        error.to_owned(),
        format!("ERR Error running script (call to f_db8d8f): @user_script:55: {of_6_2}"),
        of_6_2,
        format!("{error} script: db8d8f, on @user_script:55."),
        format!("{error} script: on @user_script:55."),
    ]
}

#[test]
fn refused_writes_are_not_done_in_the_words_of_each_version() {
    for error in [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "READONLY You can't write against a read only replica.",
        "MISCONF Redis is configured to save RDB snapshots, but it is currently not able to persist on disk.",
        "MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "NOREPLICAS Not enough good replicas to write.",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
    ] {
        for reply in from_everywhere(error) {
            assert!(is_not_done(&reply), "{reply}");
        }
    }
}

#[test]
fn calls_that_a_server_does_not_run_are_not_done() {
    for reply in [
        "NOSCRIPT No matching script. Please use EVAL.",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "NOPERM this user has no permissions to access one of the keys used as arguments",
        "NOPERM No permissions to access a key",
        "MOVED 3999 127.0.0.1:6381",
        "ASK 3999 127.0.0.1:6381",
        "CLUSTERDOWN Hash slot not served",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "EXECABORT Transaction discarded because of previous errors.",
    ] {
        assert!(is_not_done(reply), "{reply}");
    }
}

#[test]
fn errors_that_end_a_script_after_a_write_are_unknown() {
    // A script returns the error of a first write only.
    for (reply, is_refused) in [
        ("@user_script: 55: The user executing the script can't run this command or subcommand", true),
        ("ERR The user executing the script can't run this command or subcommand", true),
        ("ERR ACL failure in script: User ann has no permissions to run the 'xadd' command", true),
        ("ERR The ID specified in XADD is equal or smaller than the target stream top item", true),
        (
            "ERR Error running script (call to f_db8d8f): @user_script:1: Script killed by user with SCRIPT KILL...",
            true,
        ),
        ("ERR Script killed by user with SCRIPT KILL. script: db8d8f, on @user_script:1.", true),
        (
            "ERR Error running script (call to f_db8d8f): @user_script:1: @user_script: 1: The user executing the script can't run this command or subcommand",
            false,
        ),
        (
            "ERR ACL failure in script: No permissions to access a channel script: db8d8f, on @user_script:1.",
            false,
        ),
        ("ERR user_script:1: attempt to concatenate a nil value script: db8d8f, on @user_script:1.", false),
        ("ERR unknown", false),
        ("", false),
    ] {
        assert_eq!(is_not_done(reply), is_refused, "{reply}");
    }
}

#[test]
fn slot_that_is_on_its_way_is_told_apart() {
    for reply in ["ASK 3999 127.0.0.1:6381", "TRYAGAIN Multiple keys request during rehashing of slot"] {
        assert!(matches!(RedisError::of_reply(reply), RedisError::Moving(_)), "{reply}");
    }
    assert!(matches!(RedisError::of_reply("MOVED 3999 127.0.0.1:6381"), RedisError::NotApplied(_)));
}

use super::*;

fn host(name: &str, port: u16) -> RedisHost {
    RedisHost { name: name.into(), port }
}

#[test]
fn node_names_who_has_a_slot() {
    let by = host("asked", 1);
    let to = |error| moved_redirect(error, &by);
    assert_eq!(to("MOVED 3999 10.0.0.1:7001"), Some(host("10.0.0.1", 7001)));
    assert_eq!(to("MOVED 0 ::1:7001"), Some(host("::1", 7001)));
    assert_eq!(to("MOVED 1 :7001"), Some(host("asked", 7001)));
    for other in ["ASK 3999 10.0.0.1:7001", "MOVED 1", "MOVED 1 a:b", ""] {
        assert_eq!(to(other), None, "{other}");
    }
    assert_eq!(ask_redirect("ASK 3999 10.0.0.1:7001", &by), Some(host("10.0.0.1", 7001)));
    assert_eq!(ask_redirect("MOVED 3999 10.0.0.1:7001", &by), None);
}

#[test]
fn each_command_is_announced_to_a_node_that_was_named_and_a_transaction_once() {
    let commands = ["GET", "MULTI", "SET", "EXEC", "GET"].map(RedisCommand::new);
    let sent = asking(&commands);
    let is_word: Vec<bool> = sent.iter().map(|command| command.is("ASKING")).collect();
    assert_eq!(is_word, [true, false, true, false, false, false, true, false]);
    let replies = (0..8).map(RedisReply::Number).collect();
    assert_eq!(without_asking(&sent, replies), [1, 3, 4, 5, 7].map(RedisReply::Number));
}

#[test]
fn nodes_that_share_slots_with_the_one_that_has_the_log_come_first() {
    let node = |name: &'static str, port| {
        RedisReply::Array(vec![
            RedisReply::Text(name.into()),
            RedisReply::Number(port),
            RedisReply::Text("id".into()),
        ])
    };
    let range = |first, last, nodes: Vec<RedisReply>| {
        RedisReply::Array([vec![RedisReply::Number(first), RedisReply::Number(last)], nodes].concat())
    };
    let ranges = [
        range(0, 10, vec![node("a", 1), node("b", 2)]),
        range(11, 20, vec![node("c", 3), node("", 4)]),
        range(21, 30, vec![node("a", 1), RedisReply::Nil]),
    ];
    let by = host("asked", 9);
    let found = read(&ranges, &host("c", 3), &by);
    assert_eq!(found, [host("c", 3), host("asked", 4), host("a", 1), host("b", 2)]);
}

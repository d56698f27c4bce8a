use super::*;

#[test]
fn a_problem_has_the_standards_members_and_ours() {
    let problem = Problem {
        index: Some(2),
        channel: Some("b.*".into()),
        limit: Some("limits.event_bytes".into()),
        ..Problem::new(
            413,
            "Content Too Large",
            Code::EventTooLarge,
            "event is 300000 bytes; limit is 262144",
        )
    };
    let json = serde_json::to_value(&problem).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "type": "about:blank",
            "title": "Content Too Large",
            "status": 413,
            "code": "event_too_large",
            "detail": "event is 300000 bytes; limit is 262144",
            "index": 2,
            "channel": "b.*",
            "limit": "limits.event_bytes",
        })
    );
    assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
}

#[test]
fn members_without_a_value_are_left_out() {
    let json =
        serde_json::to_string(&Problem::new(404, "Not Found", Code::NotFound, "no such route")).unwrap();
    for member in ["index", "channel", "limit"] {
        assert!(!json.contains(member), "{json}");
    }
}

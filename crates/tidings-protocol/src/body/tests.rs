use serde_json::{json, to_value};

use super::*;

#[test]
fn answer_for_a_transient_event_has_no_offset() {
    assert_eq!(to_value(PublishAnswer { id: None, offset: None }).unwrap(), json!({"id": null}));
    let stored = PublishAnswer { id: Some("i".into()), offset: Some(7) };
    assert_eq!(to_value(stored).unwrap(), json!({"id": "i", "offset": 7}));
}

#[test]
fn a_gap_has_camel_case_members() {
    let gap = GapNotice {
        channels: vec!["a".into()],
        reason: GapReason::Malformed,
        requested: None,
        resumed_at: "i".into(),
    };
    let wanted = json!({"channels": ["a"], "reason": "malformed", "requested": null, "resumedAt": "i"});
    assert_eq!(to_value(&gap).unwrap(), wanted);
    assert_eq!(serde_json::from_value::<GapNotice>(wanted).unwrap(), gap);
}

#[test]
fn reasons_are_the_same_words_in_json_and_in_text() {
    for reason in GapReason::ALL {
        assert_eq!(to_value(reason).unwrap(), reason.as_str());
    }
    for reason in EndReason::ALL {
        assert_eq!(to_value(reason).unwrap(), reason.as_str());
    }
    let end = EndNotice { reason: EndReason::TokenExpired, reconnect: true };
    assert_eq!(to_value(end).unwrap(), json!({"reason": "token_expired", "reconnect": true}));
}

#[test]
fn open_and_history_are_in_camel_case() {
    let open = OpenNotice {
        connection_id: "c".into(),
        channels: vec!["a".into()],
        position: None,
        now: "2026-01-02T03:04:05Z".into(),
        keep_alive: 15.into(),
        node: "n".into(),
        expires_at: None,
    };
    let mut wanted = json!({"connectionId": "c", "channels": ["a"], "position": null});
    wanted["now"] = "2026-01-02T03:04:05Z".into();
    (wanted["keepAlive"], wanted["node"]) = (15.into(), "n".into());
    assert_eq!(to_value(&open).unwrap(), wanted);
    wanted["expiresAt"] = "2026-01-02T04:04:05Z".into();
    let ending = OpenNotice { expires_at: Some("2026-01-02T04:04:05Z".into()), ..open };
    assert_eq!(to_value(ending).unwrap(), wanted);
    let event = HistoryEvent {
        id: "i".into(),
        offset: 1,
        channels: vec!["a".into()],
        event: None,
        data: "x".into(),
        published_at: "2026-01-02T03:04:05Z".into(),
    };
    let page = HistoryPage { events: vec![event], next: None, gap: None };
    let wanted = json!({
        "events": [{
            "id": "i", "offset": 1, "channels": ["a"], "event": null, "data": "x",
            "publishedAt": "2026-01-02T03:04:05Z",
        }],
        "next": null,
    });
    assert_eq!(to_value(page).unwrap(), wanted);
}

//! Failures are grouped by status and code.

use tidings_load::RequestFailure;

use super::Failures;

fn answer(status: u16, body: &str) -> RequestFailure {
    RequestFailure::Status { status, body: body.as_bytes().to_vec() }
}

#[test]
fn failures_are_grouped_by_status_and_code() {
    let mut failures = Failures::default();
    failures.note(&answer(502, "<html>\n bad   gateway</html>"));
    for body in [r#"{"code":"full","detail":"one"}"#, r#"{"code":"full","detail":"two"}"#] {
        failures.note(&answer(503, body));
    }
    failures.note(&RequestFailure::Malformed("answer without a status"));
    assert_eq!(failures.count(), 4);
    let texts: Vec<String> =
        failures.reasons().iter().map(|reason| format!("{} {}", reason.count, reason.text())).collect();
    assert_eq!(
        texts,
        ["2 status 503 full: one", "1 answer without a status", "1 status 502: <html> bad gateway</html>"]
    );
}

#[test]
fn reasons_are_bounded() {
    let mut failures = Failures::default();
    for status in 400..500 {
        failures.note(&answer(status, ""));
    }
    assert_eq!((failures.count(), failures.reasons().len()), (100, 21));
}

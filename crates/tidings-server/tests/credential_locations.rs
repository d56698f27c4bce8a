//! Locations of credentials in a request: which location decides, and which credentials each accepts.

use serde_json::json;
use tidings_testkit::HttpResponse;

use crate::hub::TestHub;
use crate::tokens::{KEY, SECRET, claims, hs256, protected, token};

const HISTORY: &str = "/api/v1/channels/user.u/events";

/// A hub that accepts credentials in every location.
fn hub() -> TestHub {
    protected(&format!("secret = {SECRET:?}\ncookie = \"session\"\nquery_token = true"))
}

/// Requests history of `u`, with these headers unchanged.
fn asked(hub: &TestHub, query: &str, headers: &str) -> HttpResponse {
    let host = hub.authority();
    hub.send_raw(format!("GET {HISTORY}{query} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"))
}

/// The header or query of each location, in the order in which they decide.
fn locations(credential: &str) -> [(&'static str, String, String); 6] {
    [
        ("Authorization", String::new(), format!("Authorization: Bearer {credential}\r\n")),
        ("X-Session-Id", String::new(), format!("X-Session-Id: {credential}\r\n")),
        ("sessionId", format!("sessionId={credential}"), String::new()),
        ("ticket", format!("ticket={credential}"), String::new()),
        ("cookie", String::new(), format!("Cookie: session={credential}\r\n")),
        ("access_token", format!("access_token={credential}"), String::new()),
    ]
}

fn is_taken(carrier: &str) -> bool {
    matches!(carrier, "Authorization" | "cookie" | "access_token")
}

#[test]
fn first_location_decides_whatever_the_later_ones_hold() {
    let hub = hub();
    let good = token("u");
    for (name, query, header) in locations(&good) {
        let answer = asked(&hub, &format!("?{query}"), &header);
        assert_eq!(answer.head.status, if is_taken(name) { 200 } else { 401 }, "{name}");
    }
    for (first, (name, query, header)) in locations(&good).into_iter().enumerate() {
        for (after, (other, other_query, other_header)) in locations("bad").into_iter().enumerate() {
            if first == after {
                continue;
            }
            // In both orders: the order of headers and parameters decides nothing.
            for (query, header) in [
                (format!("?{query}&{other_query}"), format!("{header}{other_header}")),
                (format!("?{other_query}&{query}"), format!("{other_header}{header}")),
            ] {
                let answer = asked(&hub, &query, &header);
                let is_good = first < after && is_taken(name);
                assert_eq!(answer.head.status, if is_good { 200 } else { 401 }, "{name}, then {other}");
                if !is_good {
                    answer.assert_problem(401, "bad_credentials");
                }
            }
        }
    }
}

#[test]
fn empty_credential_counts_and_is_refused() {
    let hub = hub();
    let good = token("u");
    let [authorization, .., cookie, query] = locations(&good);
    for (name, empty_query, empty_header) in locations("") {
        // The last location has no valid credential after it.
        let (later_query, later_header) = match name {
            "access_token" => ("", ""),
            "cookie" => (query.1.as_str(), ""),
            _ => ("", cookie.2.as_str()),
        };
        let answer =
            asked(&hub, &format!("?{empty_query}&{later_query}"), &format!("{empty_header}{later_header}"));
        answer.assert_problem(401, "bad_credentials");
    }
    asked(&hub, "", &authorization.2).assert_status(200);
}

#[test]
fn authorization_accepts_one_bearer_in_any_case() {
    let hub = hub();
    let good = token("u");
    for header in ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  "] {
        asked(&hub, "", &format!("Authorization: {header} {good}\r\n")).assert_status(200);
    }
    for value in [
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Basic dTpw".to_owned(),
        format!("Basic {good}"),
        format!("Token {good}"),
        format!("Bearer:{good}"),
        format!("Bearer={good}"),
        format!("Bearer{good}"),
        format!("Bearer Bearer {good}"),
        format!("Bearer {good}, Bearer {good}"),
        format!("Bearer\t{good}"),
        format!("Negotiate x, Bearer {good}"),
        good.clone(),
        String::new(),
        "\u{fffd}".to_owned(),
    ] {
        let answer = asked(&hub, "", &format!("Authorization: {value}\r\nCookie: session={good}\r\n"));
        answer.assert_problem(401, "bad_credentials");
        assert_eq!(answer.head.header("www-authenticate"), Some("Bearer"));
    }
}

#[test]
fn location_that_occurs_twice_is_refused() {
    let hub = hub();
    let good = token("u");
    let [authorization, session, session_query, ticket, cookie, query] = locations(&good);
    for (name, first, second) in [
        ("authorization", authorization.2.clone(), authorization.2.clone()),
        ("authorization", authorization.2.clone(), "authorization: Basic dTpw\r\n".to_owned()),
        ("authorization", "Authorization: \r\n".to_owned(), authorization.2),
        ("x-session-id", session.2.clone(), session.2),
    ] {
        let answer = asked(&hub, "", &format!("{first}{second}"));
        answer.assert_problem(400, "bad_header");
        assert!(answer.text().contains(name) && !answer.text().contains(&good), "{}", answer.text());
    }
    for pair in [session_query.1, ticket.1, query.1] {
        let answer = asked(&hub, &format!("?{pair}&{pair}"), "");
        assert!(!answer.assert_problem(400, "bad_query").text().contains(&good));
    }
    // A browser sends all its cookies of a name: equal values count as one, different values as none.
    let other = cookie.2.replace(&good, &token("someone.else"));
    asked(&hub, "", &format!("{}{}", cookie.2, cookie.2)).assert_status(200);
    for headers in [
        format!("{}{other}", cookie.2),
        format!("{other}{}", cookie.2),
        format!("Cookie: session={good}; session=bad\r\n"),
        format!("Cookie: session=bad; session={good}\r\n"),
        format!("Cookie: session=; session={good}\r\n"),
    ] {
        asked(&hub, "", &headers).assert_problem(401, "bad_credentials");
    }
}

#[test]
fn cookie_is_matched_by_its_exact_name() {
    let hub = hub();
    let good = token("u");
    for header in [
        format!("session={good}"),
        format!("a=b; session={good}; c=d"),
        format!("a=b;session={good}"),
        format!("session=\"{good}\""),
        format!("other=session={good}x; session={good}"),
    ] {
        asked(&hub, "", &format!("Cookie: {header}\r\n")).assert_status(200);
    }
    for header in [
        format!("Session={good}"),
        format!("SESSION={good}"),
        format!("session2={good}"),
        format!("my-session={good}"),
        format!("__Host-session={good}"),
        format!("session[]={good}"),
        format!("a=session={good}"),
        format!("session {good}"),
        format!("session;{good}"),
        "a=b".to_owned(),
        String::new(),
    ] {
        asked(&hub, "", &format!("Cookie: {header}\r\n")).assert_problem(401, "credentials_missing");
    }
}

#[test]
fn cookie_and_query_carry_tokens_only_if_the_settings_say_so() {
    let hub = protected(&format!("secret = {SECRET:?}"));
    let good = token("u");
    for (_, query, header) in &locations(&good)[4..] {
        asked(&hub, &format!("?{query}"), header).assert_problem(401, "credentials_missing");
    }
    // An ignored location does not hide a later one.
    let [authorization, ..] = locations(&good);
    asked(
        &hub,
        "?access_token=bad&access_token=worse",
        &format!("Cookie: session=bad\r\n{}", authorization.2),
    )
    .assert_status(200);
}

#[test]
fn api_key_is_accepted_in_authorization_only() {
    let hub = hub();
    for (name, query, header) in locations(KEY) {
        let answer = asked(&hub, &format!("?{query}"), &header);
        assert_eq!(answer.head.status, if name == "Authorization" { 200 } else { 401 }, "{name}");
    }
    let ticket =
        hub.ask(KEY, "POST", "/api/v1/tickets", "{\"channels\":[\"user.u\"]}").assert_status(201).json();
    let ticket = ticket["ticket"].as_str().unwrap();
    for (name, query, header) in locations(ticket) {
        let path = format!("/api/v1/events/user.u?{query}");
        if name == "ticket" {
            continue;
        }
        let answer =
            hub.send_raw(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{header}\r\n", hub.authority()));
        answer.assert_problem(401, "bad_credentials");
    }
    // In other locations the ticket was not spent.
    hub.subscribe(&format!("/api/v1/events/user.u?ticket={ticket}"));
}

#[test]
fn ticket_is_spent_by_any_request() {
    let hub = hub();
    let good = token("u");
    for (method, path) in [
        ("GET", HISTORY),
        ("GET", "/api/v1/events/user.u.other"),
        ("GET", "/api/v1/channels"),
        ("POST", "/api/v1/events/user.u"),
        ("POST", "/api/v1/publish"),
        ("POST", "/api/v1/tickets"),
        ("POST", "/api/v1/revocations"),
        ("GET", "/metrics"),
    ] {
        let made = hub.ask(&good, "POST", "/api/v1/tickets", "{\"channels\":[\"user.u\"]}");
        assert_eq!(made.assert_status(201).head.header("cache-control"), Some("no-store"));
        let ticket = made.json()["ticket"].as_str().unwrap().to_owned();
        hub.request(method, &format!("{path}?ticket={ticket}"), &[], b"x")
            .assert_problem(403, "access_denied");
        let stream = format!("/api/v1/events/user.u?ticket={ticket}");
        hub.get(&stream).assert_problem(401, "bad_credentials");
    }
}

#[test]
fn user_claim_of_the_settings_names_the_user() {
    let hub = protected(&format!("secret = {SECRET:?}\nuser_claim = \"email\""));
    let mut said = claims("u");
    said["email"] = json!("a@b.c");
    let token = hs256(&said);
    hub.ask(&token, "GET", "/api/v1/channels/user.a~40b~2ec/events", "").assert_status(200);
    hub.ask(&token, "GET", HISTORY, "").assert_problem(403, "access_denied");
    hub.ask(&hs256(&claims("u")), "GET", HISTORY, "").assert_problem(401, "bad_credentials");
}

#[test]
fn open_hub_ignores_credentials() {
    let hub = TestHub::in_memory(&[]);
    for (_, query, header) in locations("bad") {
        asked(&hub, &format!("?{query}"), &header).assert_status(200);
    }
    asked(&hub, "", "Authorization: Basic dTpw\r\n").assert_status(200);
    asked(&hub, "", "Authorization: Bearer a\r\nAuthorization: Bearer a\r\n")
        .assert_problem(400, "bad_header");
}

#[test]
fn cookie_is_found_in_any_of_several_headers() {
    // HTTP/2 may split the header. Source: RFC 9113, 8.2.3.
    let hub = protected(&format!("secret = {SECRET:?}\ncookie = \"session\""));
    let good = token("u");
    asked(&hub, "", &format!("Cookie: a=b\r\nCookie: session={good}\r\nCookie: c=d\r\n")).assert_status(200);
}

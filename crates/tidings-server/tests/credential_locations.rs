//! Locations of credentials in a request: which location decides, and which credentials each accepts.

use crate::prelude::*;

const HISTORY: &str = "/api/v1/channels/user.u/events";

/// A hub that accepts credentials in every location.
fn hub() -> TestHub {
    hub_with_secret("cookie = \"session\"\nquery_token = true")
}

/// Requests a path with these headers unchanged.
fn get(hub: &TestHub, path: &str, headers: &str) -> HttpResponse {
    hub.send_raw(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", hub.authority()))
}

/// Requests history of `u`, with these headers unchanged.
fn get_history(hub: &TestHub, query: &str, headers: &str) -> HttpResponse {
    get(hub, &format!("{HISTORY}{query}"), headers)
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

fn accepts_tokens(location: &str) -> bool {
    matches!(location, "Authorization" | "cookie" | "access_token")
}

#[test]
fn first_location_decides_whatever_the_later_ones_hold() {
    let hub = hub();
    let good = token("u");
    for (name, query, header) in locations(&good) {
        let response = get_history(&hub, &format!("?{query}"), &header);
        assert_eq!(response.head.status, if accepts_tokens(name) { 200 } else { 401 }, "{name}");
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
                let response = get_history(&hub, &query, &header);
                let is_good = first < after && accepts_tokens(name);
                assert_eq!(response.head.status, if is_good { 200 } else { 401 }, "{name}, then {other}");
                if !is_good {
                    response.assert_problem(401, "bad_credentials");
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
        let response = get_history(
            &hub,
            &format!("?{empty_query}&{later_query}"),
            &format!("{empty_header}{later_header}"),
        );
        response.assert_problem(401, "bad_credentials");
    }
    get_history(&hub, "", &authorization.2).assert_status(200);
}

#[test]
fn authorization_accepts_one_bearer_in_any_case() {
    let hub = hub();
    let good = token("u");
    for header in ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  "] {
        get_history(&hub, "", &format!("Authorization: {header} {good}\r\n")).assert_status(200);
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
        let response =
            get_history(&hub, "", &format!("Authorization: {value}\r\nCookie: session={good}\r\n"));
        response.assert_problem(401, "bad_credentials");
        assert_eq!(response.head.header("www-authenticate"), Some("Bearer"));
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
        let response = get_history(&hub, "", &format!("{first}{second}"));
        response.assert_problem(400, "bad_header");
        assert!(response.text().contains(name) && !response.text().contains(&good), "{}", response.text());
    }
    for pair in [session_query.1, ticket.1, query.1] {
        let response = get_history(&hub, &format!("?{pair}&{pair}"), "");
        assert!(!response.assert_problem(400, "bad_query").text().contains(&good));
    }
    // A browser sends all its cookies of a name: equal values count as one, different values as none.
    let other = token("someone.else");
    get_history(&hub, "", &format!("{}{}", cookie.2, cookie.2)).assert_status(200);
    for (first, second) in
        [(&*good, &*other), (&other, &good), (&good, "bad"), ("bad", &good), ("", &good), (&good, "")]
    {
        for separator in ["\r\nCookie: ", "; "] {
            let headers = format!("Cookie: session={first}{separator}session={second}\r\n");
            for path in [HISTORY, "/api/v1/channels", &format!("{HISTORY}?access_token={good}")] {
                get(&hub, path, &headers).assert_problem(401, "bad_credentials");
            }
        }
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
        get_history(&hub, "", &format!("Cookie: {header}\r\n")).assert_status(200);
    }
    for header in [
        format!("Session={good}"),
        format!("SESSION={good}"),
        format!("session2={good}"),
        format!("session.x={good}"),
        format!("xsession={good}"),
        format!("my-session={good}"),
        format!("__Host-session={good}"),
        format!("session[]={good}"),
        format!("a=session={good}"),
        format!("session {good}"),
        format!("session;{good}"),
        "a=b".to_owned(),
        String::new(),
    ] {
        get_history(&hub, "", &format!("Cookie: {header}\r\n")).assert_problem(401, "credentials_missing");
    }
    for path in [HISTORY, "/api/v1/channels", &format!("{HISTORY}?access_token={good}")] {
        for bad in ["", "x"] {
            get(&hub, path, &format!("Cookie: session={bad}\r\n")).assert_problem(401, "bad_credentials");
        }
    }
    // Without a cookie the query decides; a page of any origin may have its own token in it.
    get_history(&hub, &format!("?access_token={good}"), "Origin: null\r\n").assert_status(200);
}

#[test]
fn cookie_and_query_carry_tokens_only_if_the_settings_say_so() {
    let hub = hub_with_secret("");
    let good = token("u");
    for (_, query, header) in &locations(&good)[4..] {
        get_history(&hub, &format!("?{query}"), header).assert_problem(401, "credentials_missing");
    }
    // An ignored location does not hide a later one.
    let [authorization, ..] = locations(&good);
    let headers = format!("Cookie: session=bad\r\n{}", authorization.2);
    get_history(&hub, "?access_token=bad&access_token=worse", &headers).assert_status(200);
}

#[test]
fn api_key_is_accepted_in_authorization_only() {
    let hub = hub();
    for (name, query, header) in locations(KEY) {
        let response = get_history(&hub, &format!("?{query}"), &header);
        assert_eq!(response.head.status, if name == "Authorization" { 200 } else { 401 }, "{name}");
    }
    let ticket = hub.ticket(KEY, &["user.u"]);
    for (name, query, header) in locations(&ticket) {
        if name != "ticket" {
            let response = get(&hub, &format!("/api/v1/events/user.u?{query}"), &header);
            response.assert_problem(401, "bad_credentials");
        }
    }
    // In other locations the ticket was not spent.
    hub.subscribe(&format!("/api/v1/events/user.u?ticket={ticket}"));
}

#[test]
fn user_claim_of_the_settings_names_the_user() {
    let hub = hub_with_secret("user_claim = \"email\"");
    let named = token_with("u", &json!({"email": "a@b.c"}));
    hub.get_as(&named, "/api/v1/channels/user.a~40b~2ec/events").assert_status(200);
    hub.get_as(&named, HISTORY).assert_problem(403, "access_denied");
    hub.get_as(&token("u"), HISTORY).assert_problem(401, "bad_credentials");
}

#[test]
fn open_hub_ignores_credentials() {
    let hub = TestHub::in_memory(&[]);
    for (_, query, header) in locations("bad") {
        get_history(&hub, &format!("?{query}"), &header).assert_status(200);
    }
    get_history(&hub, "", "Authorization: Basic dTpw\r\n").assert_status(200);
    get_history(&hub, "", "Authorization: Bearer a\r\nAuthorization: Bearer a\r\n")
        .assert_problem(400, "bad_header");
}

#[test]
fn cookie_is_found_in_any_of_several_headers() {
    // HTTP/2 may split the header. Source: RFC 9113, 8.2.3.
    let hub = hub_with_secret("cookie = \"session\"");
    let good = token("u");
    get_history(&hub, "", &format!("Cookie: a=b\r\nCookie: session={good}\r\nCookie: c=d\r\n"))
        .assert_status(200);
}

//! The document says what the router, the parsers and the types do.

use std::collections::BTreeSet;

use axum::{body::Body, extract::Request, response::Response};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use proptest::{prelude::*, string::string_regex};
use serde::Serialize;
use serde_json::{Value, json};
use tidings_protocol::body::{
    ChannelCount, ChannelList, EndNotice, EndReason, GapNotice, GapReason, HistoryEvent, HistoryPage,
    OpenNotice, PublishAnswer, TicketAnswer, parse_publish,
};
use tidings_protocol::{ChannelName, Problem, Subscription};

use super::answers::REFUSALS;
use super::description;
use super::schemas::{CHANNEL_PATTERN, SUBSCRIPTION_PATTERN};
use crate::config::{AuthSettings, Secret, Settings};
use crate::error::{Code, Error};
use crate::http::error::ErrorResponse;
use crate::hub::Hub;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// One method of one path.
struct Operation {
    path: String,
    method: String,
    content: Value,
}

impl Operation {
    /// The parameters, with references resolved.
    fn parameters(&self, document: &Value) -> Vec<Value> {
        let list = self.content["parameters"].as_array().cloned().unwrap_or_default();
        list.iter().map(|parameter| resolved(document, parameter).clone()).collect()
    }

    /// The path and query that the document's own examples make.
    fn target(&self, document: &Value) -> String {
        let mut path = self.path.clone();
        let mut query = form_urlencoded::Serializer::new(String::new());
        let is_meant = |parameter: &&Value| parameter["required"] == true || !parameter["example"].is_null();
        for parameter in self.parameters(document).iter().filter(is_meant) {
            let name = parameter["name"].as_str().unwrap();
            match (parameter["in"].as_str().unwrap(), &parameter["example"]) {
                ("path", example) => path = path.replace(&format!("{{{name}}}"), example.as_str().unwrap()),
                ("query", Value::Array(examples)) => {
                    for example in examples {
                        query.append_pair(name, example.as_str().unwrap());
                    }
                }
                (place, example) => panic!("{place} parameter {name} has the example {example}"),
            }
        }
        assert!(!path.contains('{'), "{path} has a parameter that is not described");
        format!("{path}?{}", query.finish())
    }

    /// The content types that it takes, each with its example; one without where it takes no body.
    fn bodies(&self) -> Vec<(Option<String>, Vec<u8>)> {
        let Some(content) = self.content["requestBody"]["content"].as_object() else {
            return vec![(None, Vec::new())];
        };
        let text = |example: &Value| example.as_str().map_or_else(|| example.to_string(), str::to_owned);
        let bodies = content.iter().map(|(content_type, media)| {
            let content_type = if content_type == "*/*" { "image/png" } else { content_type };
            (Some(content_type.to_owned()), text(&media["example"]).into_bytes())
        });
        bodies.collect()
    }
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, content) in methods.as_object().unwrap() {
            assert!(METHODS.contains(&method.as_str()), "{method} of {path} is no method");
            operations.push(Operation {
                path: path.clone(),
                method: method.to_uppercase(),
                content: content.clone(),
            });
        }
    }
    operations
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value["$ref"].as_str() else { return value };
    let pointer = reference.strip_prefix('#').expect("references stay in the document");
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

async fn hub() -> Hub {
    Hub::builder().memory().build().await.unwrap()
}

async fn ask(hub: &Hub, method: &str, target: &str, content_type: Option<&str>, body: Vec<u8>) -> Response {
    let mut request = Request::builder().method(method).uri(target).header("host", "localhost");
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    TowerToHyperService::new(hub.whole_router()).call(request.body(Body::from(body)).unwrap()).await.unwrap()
}

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.into()).unwrap()
}

async fn problem(hub: &Hub, target: &str) -> Problem {
    serde_json::from_str(&text(ask(hub, "GET", target, None, Vec::new()).await).await).unwrap()
}

#[tokio::test]
async fn documented_operations_answer_their_examples_as_documented() {
    let (document, hub) = (description(), hub().await);
    let operations = operations(&document);
    assert!(operations.len() >= 10);
    for operation in &operations {
        for (content_type, body) in operation.bodies() {
            let target = operation.target(&document);
            let response = ask(&hub, &operation.method, &target, content_type.as_deref(), body).await;
            let what = format!("{} {target} with {content_type:?}", operation.method);
            let responses = operation.content["responses"].as_object().unwrap();
            let (status, documented) = responses.iter().find(|(status, _)| status.starts_with('2')).unwrap();
            assert_eq!(response.status().as_str(), status, "{what}");
            let Some(documented) = documented.get("content") else {
                assert_eq!(text(response).await, "", "{what}");
                continue;
            };
            let answered = response.headers()["content-type"].to_str().unwrap().split(';').next().unwrap();
            assert!(
                documented.get(answered).is_some(),
                "{what} answers {answered}, documented is {documented}"
            );
        }
    }
}

#[tokio::test]
async fn paths_take_the_documented_methods_and_no_others() {
    let (document, hub) = (description(), hub().await);
    for (path, methods) in document["paths"].as_object().unwrap() {
        let target = path.replace("{channel}", "a");
        let response = ask(&hub, "PATCH", &target, None, Vec::new()).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = response.headers()["allow"].to_str().unwrap().to_lowercase();
        // A router answers HEAD wherever it answers GET.
        let allowed: BTreeSet<_> = allowed.split(',').map(str::trim).filter(|it| *it != "head").collect();
        let documented: BTreeSet<_> = methods.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(allowed, documented, "{path}");
    }
}

#[test]
fn every_route_but_the_page_is_documented() {
    let document = description();
    let paths = document["paths"].as_object().unwrap();
    let lines = include_str!("../../http.rs").lines().filter(|line| line.contains(".route("));
    let routes: Vec<_> = lines
        .filter(|line| !line.contains("page::"))
        .map(|line| line.split('"').nth(1).expect("a route stands on one line"))
        .collect();
    assert!(routes.len() >= 9, "{routes:?}");
    for route in routes {
        let is_documented = match route.find("{*").or(route.ends_with('/').then_some(route.len())) {
            Some(end) => paths.keys().any(|path| path.starts_with(&format!("{}{{", &route[..end]))),
            None => paths.contains_key(route),
        };
        assert!(is_documented, "{route} is not in the document");
    }
}

#[tokio::test]
async fn served_document_is_json_and_stays_the_same() {
    let hub = hub().await;
    let response = ask(&hub, "GET", "/openapi.json", None, Vec::new()).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let first = text(response).await;
    assert_eq!(serde_json::from_str::<Value>(&first).unwrap(), description());
    assert_eq!(text(ask(&hub, "GET", "/openapi.json", None, Vec::new()).await).await, first);
}

#[test]
fn references_lead_somewhere_and_operation_ids_are_unique() {
    fn walk(document: &Value, value: &Value, count: &mut usize) {
        if value.get("$ref").is_some() {
            resolved(document, value);
            *count += 1;
        }
        match value {
            Value::Object(members) => members.values().for_each(|member| walk(document, member, count)),
            Value::Array(elements) => elements.iter().for_each(|element| walk(document, element, count)),
            _ => {}
        }
    }
    let document = description();
    let mut count = 0;
    walk(&document, &document, &mut count);
    assert!(count > 50, "{count} references");
    let operations = operations(&document);
    let ids: BTreeSet<_> = operations.iter().map(|it| it.content["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.len());
}

#[test]
fn problem_codes_are_all_codes_in_order() {
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(description()["components"]["schemas"]["Problem"]["properties"]["code"]["enum"], json!(codes));
}

#[test]
fn refusals_have_the_statuses_that_their_codes_have() {
    let status_of = |code: Code| {
        axum::response::IntoResponse::into_response(ErrorResponse(Error::new(code, ""))).status().as_u16()
    };
    let mut documented = Vec::new();
    for kind in REFUSALS {
        for code in kind.codes {
            assert_eq!(status_of(*code), kind.status, "{code}");
            documented.push(*code);
        }
    }
    // A fault of the hub itself is nothing that a route means to answer, and no hub sends what it does not know.
    let meant = Code::ALL.iter().filter(|code| !matches!(code, Code::Internal | Code::Unknown));
    let in_order = |codes: Vec<Code>| codes.iter().map(|code| code.as_str()).collect::<BTreeSet<_>>();
    assert_eq!(in_order(documented.clone()), in_order(meant.copied().collect()));
    assert_eq!(documented.len(), in_order(documented.clone()).len(), "a code stands twice");
}

/// A hub that takes every carrier there is, the cookie by the name that the document has for it.
async fn protected_hub(document: &Value) -> Hub {
    let cookie = document["components"]["securitySchemes"]["cookie"]["name"].as_str().unwrap();
    let auth = AuthSettings {
        secret: Some(Secret::new("a secret of at least thirty-two bytes")),
        cookie: Some(cookie.to_owned()),
        query_token: true,
        ..AuthSettings::default()
    };
    let settings = Settings { auth: Some(auth), data_dir: None, ..Settings::default() };
    Hub::builder().settings(settings).build().await.unwrap()
}

/// Asks an operation with its first example, and whatever else the query and the headers are to have.
async fn ask_with(
    hub: &Hub,
    document: &Value,
    operation: &Operation,
    query: &str,
    headers: &[(&str, &str)],
) -> Response {
    let (content_type, body) = operation.bodies().swap_remove(0);
    let target = format!("{}&{query}", operation.target(document));
    let mut request =
        Request::builder().method(operation.method.as_str()).uri(target).header("host", "localhost");
    let content_type = content_type.as_deref().map(|it| ("content-type", it));
    for (name, value) in headers.iter().copied().chain(content_type) {
        request = request.header(name, value);
    }
    TowerToHyperService::new(hub.whole_router()).call(request.body(Body::from(body)).unwrap()).await.unwrap()
}

#[tokio::test]
async fn bad_credentials_are_refused_in_every_documented_carrier() {
    let document = description();
    let hub = protected_hub(&document).await;
    for operation in operations(&document) {
        let security = operation.content.get("security").unwrap_or(&document["security"]).as_array().unwrap();
        for carrier in security.iter().flat_map(|one| one.as_object().unwrap().keys()) {
            let scheme = &document["components"]["securitySchemes"][carrier];
            let name = scheme["name"].as_str().unwrap_or_default();
            let (query, header) = match scheme["in"].as_str() {
                None => (String::new(), Some(("authorization", "Bearer nosuch".to_owned()))),
                Some("header") => (String::new(), Some((name, "nosuch".to_owned()))),
                Some("cookie") => (String::new(), Some(("cookie", format!("{name}=nosuch")))),
                Some("query") => (format!("{name}=nosuch"), None),
                Some(place) => panic!("{carrier} is in the {place}"),
            };
            let headers: Vec<_> = header.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let response = ask_with(&hub, &document, &operation, &query, &headers).await;
            let what = format!("{} {} with a bad {carrier}", operation.method, operation.path);
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{what}");
            assert_eq!(response.headers()["www-authenticate"], "Bearer", "{what}");
            let problem: Problem = serde_json::from_str(&text(response).await).unwrap();
            assert_eq!(problem.code, Code::BadCredentials, "{what}");
        }
    }
}

#[tokio::test]
async fn operations_without_security_look_at_no_credentials_and_all_others_document_401() {
    let document = description();
    let hub = protected_hub(&document).await;
    let mut free = BTreeSet::new();
    for operation in operations(&document) {
        let bad = [("authorization", "Bearer nosuch")];
        let status = ask_with(&hub, &document, &operation, "", &bad).await.status();
        let has_none = operation.content["security"].as_array().is_some_and(Vec::is_empty);
        assert_eq!(status == StatusCode::OK, has_none, "{}", operation.path);
        let is_documented = operation.content["responses"].get("401").is_some();
        assert_eq!(status == StatusCode::UNAUTHORIZED, is_documented, "{}", operation.path);
        if has_none {
            free.insert(operation.path);
        }
    }
    assert_eq!(free, ["/healthz", "/openapi.json", "/readyz"].map(str::to_owned).into());
}

#[tokio::test]
async fn requests_for_streams_tickets_and_revocations_have_the_documented_members() {
    let (document, hub) = (description(), hub().await);
    let fill = |name: &str| match name {
        "channels" => json!(["a"]),
        "until" => json!("2999-01-01T00:00:00Z"),
        "history" => json!(1),
        "hello" => json!(true),
        "position" => json!("id"),
        _ => json!("somebody"),
    };
    for (path, name) in [
        ("/api/v1/stream", "StreamRequest"),
        ("/api/v1/tickets", "TicketRequest"),
        ("/api/v1/revocations", "RevocationRequest"),
    ] {
        let schema = &document["components"]["schemas"][name];
        let ask = async |body: &Value| {
            let body = body.to_string().into_bytes();
            ask(&hub, "POST", path, Some("application/json"), body).await.status()
        };
        for member in members(&schema["properties"]) {
            // Most members say nothing by themselves.
            let mut body = json!({ member.as_str(): fill(&member) });
            if member == "until" {
                body["user"] = fill("user");
            }
            if path == "/api/v1/stream" {
                body["channels"] = fill("channels");
            }
            assert!(ask(&body).await.is_success(), "{path} takes {member}");
        }
        let mut body = json!({ "channels": ["a"], "user": "somebody", "nosuch": 1 });
        let known = members(&schema["properties"]);
        body.as_object_mut().unwrap().retain(|member, _| known.contains(member) || member == "nosuch");
        assert_eq!(ask(&body).await, StatusCode::BAD_REQUEST, "{path} knows no other member");
    }
    let longest =
        document["components"]["schemas"]["RevocationRequest"]["properties"]["user"]["maxLength"].as_u64();
    for (length, status) in [(longest.unwrap(), 204), (longest.unwrap() + 1, 400)] {
        let body = json!({ "jti": "x".repeat(usize::try_from(length).unwrap()) }).to_string().into_bytes();
        let answer = ask(&hub, "POST", "/api/v1/revocations", Some("application/json"), body).await;
        assert_eq!(answer.status(), status, "a name of {length} bytes");
    }
}

#[tokio::test]
async fn documented_query_is_what_the_route_knows() {
    let (document, hub) = (description(), hub().await);
    for (method, path) in [("POST", "/api/v1/events/{channel}"), ("GET", "/api/v1/channels/{channel}/events")]
    {
        let operations = operations(&document);
        let operation = operations.iter().find(|it| it.method == method && it.path == path).unwrap();
        let target = format!("{}nosuch=1", operation.target(&document));
        let refusal: Problem =
            serde_json::from_str(&text(ask(&hub, method, &target, None, Vec::new()).await).await).unwrap();
        assert_eq!(refusal.code, Code::BadQuery);
        let (_, known) = refusal.detail.split_once("known are ").unwrap();
        let parameters = operation.parameters(&document);
        let in_query = parameters.iter().filter(|it| it["in"] == "query");
        let documented: BTreeSet<_> = in_query.map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(documented, known.split(", ").collect(), "{method} {path}");
    }
}

#[tokio::test]
async fn stream_parameters_have_the_documented_values() {
    let (document, hub) = (description(), hub().await);
    for value in document["components"]["parameters"]["Position"]["schema"]["enum"].as_array().unwrap() {
        let target = format!("/api/v1/events/a?position={}", value.as_str().unwrap());
        assert_eq!(ask(&hub, "GET", &target, None, Vec::new()).await.status(), StatusCode::OK, "{target}");
    }
    for name in ["history", "hello", "position"] {
        let refusal = problem(&hub, &format!("/api/v1/events/a?{name}=nosuch")).await;
        assert_eq!(refusal.code, Code::BadQuery, "{name} is read");
    }
    for id in ["lastEventId", "last_event_id", "Last-Event-ID"] {
        let response = ask(&hub, "GET", &format!("/api/v1/events/a?{id}=nosuch"), None, Vec::new()).await;
        let mut body = response.into_body();
        let mut seen = String::new();
        while !seen.contains("tidings.gap") {
            let frame = body.frame().await.expect("a gap comes before the end").unwrap();
            seen += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
        }
    }
}

#[tokio::test]
async fn history_limit_has_the_documented_bounds() {
    let (document, hub) = (description(), hub().await);
    let limit = &document["components"]["parameters"]["Limit"]["schema"];
    for name in ["Limit", "Last"] {
        let bounds = &document["components"]["parameters"][name]["schema"];
        let (least, most) = (bounds["minimum"].as_u64().unwrap(), bounds["maximum"].as_u64().unwrap());
        for (count, status) in [(least - 1, 400), (least, 200), (most, 200), (most + 1, 400)] {
            let target = format!("/api/v1/channels/a/events?{}={count}", name.to_lowercase());
            assert_eq!(ask(&hub, "GET", &target, None, Vec::new()).await.status(), status, "{target}");
        }
    }
    let default = limit["default"].as_u64().unwrap();
    let lines = "{\"channels\":[\"a\"],\"data\":1}\n".repeat(usize::try_from(default).unwrap() + 1);
    ask(&hub, "POST", "/api/v1/publish", Some("application/x-ndjson"), lines.into_bytes()).await;
    let page = text(ask(&hub, "GET", "/api/v1/channels/a/events", None, Vec::new()).await).await;
    let page: HistoryPage = serde_json::from_str(&page).unwrap();
    assert_eq!(page.events.len() as u64, default);
}

#[test]
fn publish_members_are_those_that_the_parser_takes() {
    let document = description();
    let message = &document["components"]["schemas"]["PublishMessage"];
    let given = json!({
        "channels": ["a"],
        "event": "e",
        "data": null,
        "priority": "low",
        "key": "k",
        "ttl": 1,
        "store": true,
        "idempotencyKey": "i",
    });
    let body = given.to_string();
    assert!(parse_publish(Some("application/json"), body.as_bytes()).is_ok());
    assert_eq!(members(&given), members(&message["properties"]));
    for name in given.as_object().unwrap().keys() {
        let mut lesser = given.clone();
        lesser.as_object_mut().unwrap().remove(name);
        let is_required = parse_publish(Some("application/json"), lesser.to_string().as_bytes()).is_err();
        let required = message["required"].as_array().unwrap();
        assert_eq!(required.contains(&json!(name)), is_required, "{name}");
    }
}

fn members(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

/// Compares a schema's members with those of a value that has all, and one that has as few as it may.
fn check(name: &str, fullest: impl Serialize, barest: impl Serialize) {
    let document = description();
    let schema = &document["components"]["schemas"][name];
    let (fullest, barest) = (serde_json::to_value(fullest).unwrap(), serde_json::to_value(barest).unwrap());
    assert_eq!(members(&schema["properties"]), members(&fullest), "members of {name}");
    let required = schema["required"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned());
    assert_eq!(required.collect::<BTreeSet<_>>(), members(&barest), "required members of {name}");
}

#[test]
fn schemas_have_the_members_of_the_types() {
    let gap = GapNotice {
        channels: vec![],
        reason: GapReason::Trimmed,
        requested: None,
        resumed_at: String::new(),
    };
    check("GapNotice", &gap, &gap);
    let end = EndNotice { reason: EndReason::Shutdown, reconnect: true };
    check("EndNotice", &end, &end);
    let open = OpenNotice {
        connection_id: String::new(),
        channels: vec![],
        position: None,
        now: String::new(),
        keep_alive: 15.into(),
        node: String::new(),
        expires_at: None,
    };
    check("OpenNotice", OpenNotice { expires_at: Some(String::new()), ..open.clone() }, open);
    let stored = PublishAnswer { id: Some(String::new()), offset: Some(1) };
    check("PublishAnswer", stored, PublishAnswer { id: None, offset: None });
    let ticket = TicketAnswer { ticket: String::new(), expires_at: String::new() };
    check("Ticket", &ticket, &ticket);
    let bare = HistoryPage { events: vec![], next: None, gap: None };
    check("HistoryPage", HistoryPage { gap: Some(gap), ..bare.clone() }, bare);
    let event = HistoryEvent {
        id: String::new(),
        offset: 1,
        channels: vec![],
        event: None,
        data: String::new(),
        published_at: String::new(),
    };
    check("HistoryEvent", &event, &event);
    let count = ChannelCount { channel: String::new(), connections: 0 };
    check("ChannelCount", &count, &count);
    let list = ChannelList { channels: vec![] };
    check("ChannelList", &list, &list);
    let bare = Problem::new(400, "", Code::BadQuery, "");
    check(
        "Problem",
        Problem { index: Some(0), channel: Some(String::new()), limit: Some(String::new()), ..bare.clone() },
        bare,
    );
}

fn names(pattern: &str) -> impl Strategy<Value = String> {
    string_regex(pattern.trim_start_matches('^').trim_end_matches('$')).unwrap()
}

proptest! {
    #[test]
    fn names_of_the_documented_pattern_are_channels(name in names(CHANNEL_PATTERN)) {
        prop_assume!(name.len() <= tidings_protocol::CHANNEL_BYTES_MAX);
        prop_assert!(ChannelName::parse(&name).is_ok());
    }

    #[test]
    fn texts_of_the_documented_pattern_are_subscriptions(text in names(SUBSCRIPTION_PATTERN)) {
        prop_assume!(text.len() <= tidings_protocol::CHANNEL_BYTES_MAX);
        prop_assert!(Subscription::parse(&text).is_ok());
    }
}

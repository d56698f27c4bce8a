//! Tables of the manual hold every route, header and metric of a hub.

use std::{collections::BTreeSet, fs, path::Path};

use crate::prelude::*;

const PAGE: &str = "http://localhost:3000";
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Cells of the table's rows below a heading of a page.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual").join(page);
    let text = fs::read_to_string(path).unwrap();
    let section = text.split("\n## ").find_map(|it| it.strip_prefix(heading)).unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Texts between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn head(hub: &TestHub, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> HttpHead {
    hub.send_request(method, path, headers, body).read_head()
}

/// A response of each kind.
fn answers() -> Vec<HttpHead> {
    let hub = TestHub::in_memory(&[("TIDINGS_LIMITS_CONNECTIONS", "1")]);
    let origin = ("Origin", PAGE);
    let get = |path, headers: &[_]| head(&hub, "GET", path, headers, b"");
    let mut stream = hub.send_request("GET", "/api/v1/events/a", &[origin], b"");
    let preflight = [origin, ("Access-Control-Request-Method", "POST")];
    let message = br#"{"channels":["a"],"data":1}"#;
    let mut heads = vec![
        stream.read_head(),
        get("/api/v1/events/a", &[]),
        get("/api/v1/events/a..b", &[origin]),
        get("/api/v1/channels/a/events", &[]),
        get("/api/v1/channels", &[]),
        get("/nowhere", &[]),
        get("/", &[]),
        get("/page/main.js", &[]),
        get("/metrics", &[]),
        get("/healthz", &[]),
        get("/openapi.json", &[]),
        head(&hub, "PUT", "/api/v1/publish", &[], b""),
        head(&hub, "POST", "/api/v1/publish", &[JSON], message),
        head(&hub, "OPTIONS", "/api/v1/publish", &preflight, b""),
        hub.send_raw("GET /healthz HTTP/1.2\r\n\r\n").head,
    ];
    let hub = protected_with(&format!("secret = {SECRET:?}"), &[("TIDINGS_CORS_ORIGINS", "*")]);
    heads.push(head(&hub, "GET", "/api/v1/events/a", &[origin], b""));
    let statuses: Vec<u16> = heads.iter().map(|head| head.status).collect();
    let expected = [200, 503, 400, 200, 200, 404, 200, 200, 200, 200, 200, 405, 200, 204, 400, 401];
    assert_eq!(statuses, expected, "the answers are of the kinds that the table lists");
    heads
}

#[test]
fn headers_of_responses_are_those_of_the_manual() {
    let rows = table("http.md", "Headers of answers");
    let answers = answers();
    for (name, value) in answers.iter().flat_map(|head| &head.headers) {
        let of_name = rows.iter().filter(|row| quoted(&row[0]).eq([name.as_str()]));
        let cells: Vec<&str> = of_name.map(|row| row[2].as_str()).collect();
        assert!(!cells.is_empty(), "the manual has no header {name}: {value}");
        // A cell with more than a quoted value is prose.
        let is_prose = |cell: &&str| !(cell.starts_with('`') && cell.matches('`').count() == 2);
        let is_script = name == "content-type" && value.starts_with("text/javascript");
        assert!(
            is_script || cells.iter().any(|cell| is_prose(cell) || quoted(cell).eq([value.as_str()])),
            "{name} is {value:?}; the manual has {cells:?}"
        );
    }
    for row in &rows {
        let [name] = quoted(&row[0]).collect::<Vec<_>>()[..] else { panic!("{row:?} names one header") };
        let values: BTreeSet<&str> = answers.iter().filter_map(|head| head.header(name)).collect();
        assert!(!values.is_empty(), "no answer has {name}");
        if row[2].starts_with('`') && row[2].matches('`').count() == 2 {
            let is_sent = quoted(&row[2]).all(|value| values.contains(value));
            assert!(is_sent, "{row:?}, and answers have {values:?}");
        }
    }
}

#[test]
fn headers_that_a_page_may_send_are_those_of_the_manual() {
    let rows = table("http.md", "Headers of requests");
    let marked = rows.iter().filter(|row| row[1] == "yes").flat_map(|row| quoted(&row[0]));
    let marked: BTreeSet<String> = marked.map(str::to_ascii_lowercase).collect();
    let allowed =
        answers().iter().find_map(|head| head.header("access-control-allow-headers").map(str::to_owned));
    let allowed: BTreeSet<String> = allowed.unwrap().split(", ").map(str::to_ascii_lowercase).collect();
    assert_eq!(marked, allowed);
}

#[test]
fn routes_are_those_of_the_manual() {
    let hub = TestHub::in_memory(&[]);
    let document = hub.get("/openapi.json").assert_status(200).json();
    let paths = document["paths"].as_object().unwrap();
    let served = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(move |method| format!("{} {path}", method.to_ascii_uppercase()))
    });
    // The start page is for people, and in no document for tools.
    let served: BTreeSet<String> = served.chain(["GET /".to_owned()]).collect();
    let rows = table("http.md", "Routes");
    let listed: BTreeSet<String> = rows.iter().flat_map(|row| quoted(&row[0])).map(str::to_owned).collect();
    assert_eq!(listed, served);
}

#[test]
fn metrics_are_in_the_manual() {
    let redis = RedisServer::start();
    let hub = TestHub::with_redis(&redis, &[]);
    let rows = table("running.md", "Metrics");
    // With its labels: `name{label}`.
    let listed: BTreeSet<&str> =
        rows.iter().flat_map(|row| quoted(&row[0])).filter_map(|it| it.split('{').next()).collect();
    let text = hub.get("/metrics").assert_status(200).text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut count = 0;
    for (name, kind) in types {
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        assert!(listed.contains(format!("{name}{suffix}").as_str()), "the manual lacks the {kind} {name}");
        count += 1;
    }
    assert!(count > 30, "{text}");
}

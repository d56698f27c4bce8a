//! Placeholders are filled in, and every other brace is kept.

use super::{Template, TemplateValues};

fn filled(template: &str) -> String {
    let mut text = Vec::new();
    let values = TemplateValues { channel: "bench.1", number: 7, data: br#"{"a":"b c"}"# };
    Template::new(template).write(values, &mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn places_are_filled_and_other_braces_kept() {
    for (template, expected) in [
        ("", ""),
        ("plain", "plain"),
        ("{channel}", "bench.1"),
        ("/pub?id={channel}&n={n}", "/pub?id=bench.1&n=7"),
        ("{data}", r#"{"a":"b c"}"#),
        (r#"{"channel":"{channel}","data":{data}}"#, r#"{"channel":"bench.1","data":{"a":"b c"}}"#),
        (r#"{"text":"data: {data_json}\n\n"}"#, r#"{"text":"data: {\"a\":\"b c\"}\n\n"}"#),
        ("topic={channel}&data={data_url}", "topic=bench.1&data=%7B%22a%22%3A%22b%20c%22%7D"),
        ("{{n}{m}{", "{7{m}{"),
    ] {
        assert_eq!(filled(template), expected);
    }
}

#[test]
fn brace_that_is_no_place_is_found() {
    assert_eq!(Template::new("/a/{chanel}").stray_brace(), Some("{chanel}"));
    assert_eq!(Template::new("/a/{channel}").stray_brace(), None);
}

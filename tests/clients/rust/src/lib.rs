//! The line protocol of adapters: `open` for each stream that opens, `event {json}` for each message that a library delivers.

use std::fmt::Display;

use serde_json::json;

/// URL of the stream to read.
pub fn url() -> String {
    std::env::args().nth(1).expect("the URL of a stream")
}

/// Reports an opened stream.
pub fn open() {
    println!("open");
}

/// Reports a message that the library delivered.
pub fn event(name: &str, data: &str, id: Option<&str>) {
    println!("event {}", json!({ "name": name, "data": data, "id": id }));
}

/// Reports an error, which appears in the report of a failed test.
pub fn fault(error: impl Display) {
    println!("fault {}", error.to_string().replace('\n', " "));
}

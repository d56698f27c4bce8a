//! The line protocol of adapters: `open` for each stream that opens, `event {json}` for each message that a library hands out.

use std::fmt::Display;

use serde_json::json;

/// The stream that is to be read.
pub fn url() -> String {
    std::env::args().nth(1).expect("the URL of a stream")
}

/// A stream has opened.
pub fn open() {
    println!("open");
}

/// A library handed out a message.
pub fn event(name: &str, data: &str, id: Option<&str>) {
    println!("event {}", json!({ "name": name, "data": data, "id": id }));
}

/// Something went wrong, told for the reader of a failed test.
pub fn fault(error: impl Display) {
    println!("fault {}", error.to_string().replace('\n', " "));
}

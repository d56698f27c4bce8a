//! Rust blocks of the manual and the README are compiled: each is part of an example or of this file.

use std::path::Path;

use tidings::config::{AuthSettings, Secret, Settings};
use tidings::{AccessRequest, Delivery, HistoryRequest, HookError, Hub, Start};

/// Blocks that are in no example; compiled and never called.
#[expect(dead_code)]
async fn printed(secret: &str) -> Result<(), Box<dyn std::error::Error>> {
    let auth = AuthSettings { secret: Some(Secret::new(secret)), ..AuthSettings::default() };
    let hub = Hub::builder()
        .settings(Settings { auth: Some(auth), ..Settings::default() })
        .hook(|request: AccessRequest| async move { Ok::<_, HookError>(request.channel != "project.43") })
        .build()
        .await?;

    let mut events = hub.subscribe(["orders.*"], Start::Now)?;
    while let Some(delivery) = events.next().await {
        match delivery {
            Delivery::Event(event) => println!("{}: {}", event.name, event.data),
            Delivery::Gap(gap) => println!("events of {:?} were lost", gap.channels),
            Delivery::End(end) => println!("the hub ends the stream: {}", end.reason.as_str()),
            _ => {}
        }
    }

    let page = hub.history(HistoryRequest::new("orders.42".parse()?).limit(10)).await?;
    drop(page);
    Ok(())
}

/// The lines without their indentation.
fn lines(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

#[test]
fn rust_of_the_manual_is_compiled_as_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("the file is in the repository");
    let compiled = ["examples/embedded.rs", "examples/axum_serve.rs", "tests/manual.rs"];
    let compiled: String = compiled.iter().map(|path| lines(&read(path))).collect();
    let printed = read("../../docs/manual.md") + &read("README.md");
    let blocks: Vec<&str> =
        printed.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 6, "the manual and the README show how to embed a hub");
    for block in blocks {
        assert!(compiled.contains(lines(block).trim()), "no example has this block:\n{block}");
    }
}

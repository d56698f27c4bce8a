//! Batches of lines.

use std::io::Cursor;

use tokio::sync::mpsc;

use super::*;

fn batches(input: &[u8]) -> Vec<LineBatch> {
    batches_of(64, input)
}

/// Batches of an input that is read by so many bytes.
fn batches_of(capacity: usize, input: &[u8]) -> Vec<LineBatch> {
    let mut batches = Vec::new();
    read(&mut BufReader::with_capacity(capacity, Cursor::new(input.to_vec())), |batch| {
        batches.push(batch);
        true
    });
    batches
}

/// Every line with its number, and the error at the end.
fn lines(batches: &[LineBatch]) -> (Vec<(usize, String)>, Option<String>) {
    let numbered =
        batches.iter().flat_map(|batch| (batch.first..).zip(batch.lines.iter().cloned())).collect();
    (numbered, batches.last().and_then(|batch| batch.error.clone()))
}

#[test]
fn lines_are_numbered_across_batches_whatever_ends_them() {
    let (lines, error) = lines(&batches("one\n\r\n\nfour é\r\nlast".as_bytes()));
    let texts: Vec<_> = lines.iter().map(|(number, line)| (*number, line.as_str())).collect();
    assert_eq!(texts, [(1, "one"), (2, ""), (3, ""), (4, "four é"), (5, "last")]);
    assert_eq!(error, None);
    assert!(batches(b"").is_empty());
}

#[test]
fn lines_that_are_there_at_once_are_one_batch() {
    let batch = LineBatch { first: 1, lines: ["a", "b", "c"].map(String::from).into(), error: None };
    assert_eq!(batches(b"a\nb\nc\n"), [batch]);
}

#[test]
fn batch_is_bounded_in_lines_and_bytes() {
    let sizes = |input: String| {
        let batches = batches_of(8 << 20, input.as_bytes());
        batches.iter().map(|batch| (batch.first, batch.lines.len())).collect::<Vec<_>>()
    };
    assert_eq!(sizes("x\n".repeat(2500)), [(1, 1000), (1001, 1000), (2001, 500)]);
    let long = format!("{}\n", "x".repeat(BATCH_BYTES_MAX / 2));
    assert_eq!(sizes(long.repeat(5)), [(1, 2), (3, 2), (5, 1)]);
}

#[test]
fn invalid_line_ends_the_input_after_the_lines_before_it() {
    let (before, error) = lines(&batches(b"good\nba\xffd\nnever\n"));
    assert_eq!(before, [(1, "good".to_owned())]);
    assert!(error.unwrap().contains("byte 3 is not UTF-8"));
    let long = vec![b'x'; LINE_BYTES_MAX + 1];
    let (_, error) = lines(&batches(&long));
    assert_eq!(error.unwrap(), "line is longer than 16777216 bytes");
}

#[tokio::test]
async fn waiting_batches_are_joined_in_order() {
    let (sender, receiver) = mpsc::channel(8);
    for (first, count) in [(1, 400), (401, 500), (901, 200)] {
        let batch = LineBatch { first, lines: vec!["x".to_owned(); count], error: None };
        sender.send(batch).await.unwrap();
    }
    drop(sender);
    let mut batches = LineBatches::new(receiver);
    let mut sizes = Vec::new();
    while let Some(batch) = batches.next().await {
        sizes.push((batch.first, batch.lines.len(), batch.range()));
    }
    assert_eq!(sizes, [(1, 900, "lines 1 to 900".to_owned()), (901, 200, "lines 901 to 1100".to_owned())]);
}

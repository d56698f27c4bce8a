use std::collections::HashSet;

use super::*;

#[test]
fn every_code_has_its_own_snake_case_word_and_reads_back() {
    let words: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(words.len(), Code::ALL.len());
    for code in Code::ALL {
        assert!(
            code.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'8')),
            "{code}"
        );
        let json = serde_json::to_string(&code).unwrap();
        assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), code);
    }
}

#[test]
fn a_code_of_a_later_version_is_read_as_unknown() {
    assert_eq!(serde_json::from_str::<Code>("\"from_the_future\"").unwrap(), Code::Unknown);
}

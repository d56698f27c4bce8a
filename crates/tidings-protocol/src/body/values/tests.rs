use super::*;

#[test]
fn keys_are_checked_as_they_come() {
    assert_eq!(check_key("key", "k"), Ok(()));
    assert_eq!(check_key("key", &"k".repeat(200)), Ok(()));
    assert_eq!(check_key("key", &"k".repeat(201)).unwrap_err().to_string(), "key is 201 bytes; limit is 200");
    assert!(check_key("key", "").is_err());
    assert!(check_key("key", "a\u{7f}").is_err());
    assert!(check_key("key", "a\u{85}").is_err());
}

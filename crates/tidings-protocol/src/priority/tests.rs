use super::*;

#[test]
fn words_are_read_exactly_and_written_back() {
    for (word, priority) in
        Priority::WORDS.iter().zip([Priority::Low, Priority::Normal, Priority::High, Priority::Critical])
    {
        assert_eq!(word.parse(), Ok(priority));
        assert_eq!(priority.as_str(), *word);
        assert_eq!(serde_json::to_string(&priority).unwrap(), format!("\"{word}\""));
    }
    assert!(Priority::Low < Priority::Normal && Priority::High < Priority::Critical);
    assert_eq!(Priority::default(), Priority::Normal);
}

#[test]
fn another_word_is_refused_with_the_nearest() {
    assert_eq!(
        "hihg".parse::<Priority>().unwrap_err().to_string(),
        "priority \"hihg\" is unknown; did you mean \"high\"?"
    );
    assert!("High".parse::<Priority>().is_err());
    assert!("".parse::<Priority>().is_err());
}

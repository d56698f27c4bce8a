//! Subscriptions that Redis knows.

use std::fmt;

/// Channel or glob that a connection subscribes to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PubsubTarget {
    /// One channel.
    Name(Vec<u8>),
    /// Every channel that matches: `*` stands for any number of bytes, `[…]` for one byte of a set.
    Glob(Vec<u8>),
}

impl PubsubTarget {
    /// Returns the channel or the glob.
    pub fn text(&self) -> &[u8] {
        let (Self::Name(text) | Self::Glob(text)) = self;
        text
    }
}

impl fmt::Display for PubsubTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.text()))
    }
}

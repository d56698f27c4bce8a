//! A list of subscriptions: the channels that it matches, and its text.

use tidings_protocol::{ChannelName, Subscription};

/// Whether any of the subscriptions matches a channel.
pub fn wants(subscriptions: &[Subscription], channel: &ChannelName) -> bool {
    subscriptions.iter().any(|subscription| subscription.matches(channel.as_str()))
}

/// The subscriptions as the client wrote them.
pub fn subscription_texts(subscriptions: &[Subscription]) -> Vec<String> {
    subscriptions.iter().map(|subscription| subscription.as_str().to_owned()).collect()
}

//! Redirects and topology of a Redis cluster.

use crate::connection::{ConnectionError, RedisConnection};
use crate::resp::{RedisCommand, RedisReply};
use crate::url::RedisHost;

const ASKING: &str = "ASKING";
/// Nodes that are kept. Each gets a share of the time to open a connection.
const NODES_MAX: usize = 8;

/// Returns the holder of a slot in `MOVED 3999 host:port`; an empty host means `by`, which sent it.
pub(super) fn moved_redirect(error: &str, by: &RedisHost) -> Option<RedisHost> {
    named(error.strip_prefix("MOVED ")?, by)
}

/// Returns the node for this one call in `ASK 3999 host:port`: the slot is moved there, and the key is not at `by`.
pub(crate) fn ask_redirect(error: &str, by: &RedisHost) -> Option<RedisHost> {
    named(error.strip_prefix("ASK ")?, by)
}

/// Returns the node in `3999 host:port`.
fn named(slot_and_host: &str, by: &RedisHost) -> Option<RedisHost> {
    let (_slot, to) = slot_and_host.split_once(' ')?;
    let (name, port) = to.rsplit_once(':')?;
    Some(RedisHost { name: name_or(name, by), port: port.parse().ok()? })
}

/// Adds `ASKING` to commands for a node that `ASK` named, which else redirects back. One `ASKING` covers a transaction.
pub(crate) fn asking(commands: &[RedisCommand]) -> Vec<RedisCommand> {
    let mut with_words = Vec::with_capacity(2 * commands.len());
    let mut is_within = false;
    for command in commands {
        if !is_within {
            with_words.push(RedisCommand::new(ASKING));
        }
        is_within = (is_within || command.is("MULTI")) && !command.is("EXEC");
        with_words.push(command.clone());
    }
    with_words
}

/// Removes the replies to `ASKING`.
pub(crate) fn without_asking(sent: &[RedisCommand], replies: Vec<RedisReply>) -> Vec<RedisReply> {
    let replies = sent.iter().zip(replies).filter(|(command, _)| !command.is(ASKING));
    replies.map(|(_, reply)| reply).collect()
}

/// Returns the nodes that a node knows, those that share slots with `first` first; `None` if it does not tell.
pub(super) async fn nodes(
    connection: &mut RedisConnection,
    first: &RedisHost,
) -> Result<Option<Vec<RedisHost>>, ConnectionError> {
    let reply = connection.request(&[RedisCommand::new("CLUSTER").arg("SLOTS")]).await?.remove(0);
    Ok(reply.array().map(|ranges| read(ranges, first, connection.host())))
}

fn read(ranges: &[RedisReply], first: &RedisHost, by: &RedisHost) -> Vec<RedisHost> {
    let nodes_of = |range: &RedisReply| -> Vec<RedisHost> {
        let Some([_from, _to, nodes @ ..]) = range.array() else { return Vec::new() };
        let nodes = nodes.iter().filter_map(|node| match node.array()? {
            [name, port, ..] => {
                let name = name_or(name.str().unwrap_or_default(), by);
                Some(RedisHost { name, port: port.number()?.try_into().ok()? })
            }
            _ => None,
        });
        nodes.collect()
    };
    let (holders, others): (Vec<_>, Vec<_>) =
        ranges.iter().map(nodes_of).partition(|nodes| nodes.contains(first));
    RedisHost::distinct(holders.iter().chain(&others).flatten(), NODES_MAX)
}

fn name_or(name: &str, by: &RedisHost) -> String {
    if name.is_empty() || name == "?" { by.name.clone() } else { name.to_owned() }
}

#[cfg(test)]
mod tests;

//! What the nodes of a cluster say of each other.

use super::super::{
    connection::{Broken, Connection},
    wire::{Command, Reply},
};
use crate::config::RedisHost;

/// Nodes that are remembered: each gets a share of the time when a connection is opened.
const NODES_MAX: usize = 8;

/// Who has a slot, in `MOVED 3999 host:port`; one without a host means the host that says so.
pub(super) fn moved(error: &str, by: &RedisHost) -> Option<RedisHost> {
    let (_slot, to) = error.strip_prefix("MOVED ")?.split_once(' ')?;
    let (name, port) = to.rsplit_once(':')?;
    Some(RedisHost { name: name_or(name, by), port: port.parse().ok()? })
}

/// All nodes that a node knows, those that hold slots together with `first` first. None where it does not say.
pub(super) async fn nodes(
    connection: &mut Connection,
    first: &RedisHost,
) -> Result<Option<Vec<RedisHost>>, Broken> {
    let reply = connection.ask(&[Command::new("CLUSTER").arg("SLOTS")]).await?.remove(0);
    Ok(reply.array().map(|ranges| read(ranges, first, connection.host())))
}

fn read(ranges: &[Reply], first: &RedisHost, by: &RedisHost) -> Vec<RedisHost> {
    let nodes_of = |range: &Reply| -> Vec<RedisHost> {
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
    let mut hosts = Vec::new();
    for host in holders.into_iter().chain(others).flatten() {
        if !hosts.contains(&host) && hosts.len() < NODES_MAX {
            hosts.push(host);
        }
    }
    hosts
}

fn name_or(name: &str, by: &RedisHost) -> String {
    if name.is_empty() || name == "?" { by.name.clone() } else { name.to_owned() }
}

#[cfg(test)]
mod tests;

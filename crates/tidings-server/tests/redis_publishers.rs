//! Programs that publish in Redis themselves, and their messages at two nodes.

use crate::prelude::*;

use crate::redis_nodes::{TwoNodes, assert_each_reads};

const REJECTED: &str = "tidings_capture_rejected_total";

/// Opens a stream for each path at both nodes.
pub(crate) fn open_all<P: AsRef<str>>(
    nodes: &TwoNodes,
    paths: impl IntoIterator<Item = P>,
) -> Vec<SseReader> {
    paths.into_iter().flat_map(|path| nodes.open_streams(path.as_ref())).collect()
}

/// Globs and names that match all channels except those that begin with `__key`.
pub(crate) const ALL: (i64, i64) = (4, 5);

#[test]
fn pattern_receives_matching_channels_on_every_node_and_no_others() {
    let nodes = TwoNodes::start(&[]);
    let mut of_projects = nodes.open_streams("/api/v1/events/project.*");
    let mut of_all = nodes.hubs[0].open_stream("/api/v1/events/**");
    nodes.wait_for_subscriptions([(ALL.0, 1 + ALL.1), (0, 1)]);
    for (channel, payload) in
        [("project.42", "1"), ("project.4.2", "2"), ("file.1", "3"), ("project.43", "4")]
    {
        nodes.message(channel, payload);
    }
    assert_each_reads(&mut of_projects, &["1", "4"]);
    assert_eq!(of_all.data_of_next(4), ["1", "2", "3", "4"]);
    assert_eq!(nodes.metrics(REJECTED), [0.0; 2]);
}

#[test]
fn pattern_of_all_channels_excludes_those_of_redis_and_of_the_hub() {
    let nodes = TwoNodes::start(&[]);
    let mut readers = nodes.open_streams("/api/v1/events/**");
    nodes.wait_for_subscriptions([ALL, ALL]);
    nodes.redis.command(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
    nodes.redis.command(&["SET", "key", "value"]);
    for unheard in ["__keyevent@0__:del", "__keyspace@0__:a", "__key", "$hub", "{other}:live", "é"] {
        assert_eq!(nodes.message(unheard, "unheard"), 0, "{unheard}");
    }
    assert_eq!(nodes.message("{tidings}:live", "heard by name, and not by a pattern"), 2);
    let heard = ["-a", "0", "A:b", "_", "_a", "__", "__.k", "__k", "__kex", "__ke", "~", "@a", "z.__key"];
    for channel in heard {
        assert_eq!(nodes.message(channel, channel), 2, "{channel}");
    }
    assert_each_reads(&mut readers, &heard);
}

#[test]
fn pattern_receives_only_channels_that_the_setting_lists() {
    let nodes = TwoNodes::start(&[("TIDINGS_REDIS_LISTEN", "open.**,*.news")]);
    let mut readers = nodes.open_streams("/api/v1/events/*.*");
    let mut closed = nodes.hubs[0].open_stream("/api/v1/events/closed.**");
    nodes.wait_for_subscriptions([(5, 6), (4, 6)]);
    assert_eq!(nodes.message("closed.a", "not listed"), 0);
    nodes.message("closed.a.news", "not listed, though Redis takes it for *.news");
    for channel in ["open.a", "closed.news", "_.news", "open.news"] {
        nodes.message(channel, channel);
    }
    assert_each_reads(&mut readers, &["open.a", "closed.news", "_.news", "open.news"]);
    assert_eq!(closed.data(), "closed.news");
    assert_eq!(nodes.metrics(REJECTED), [0.0; 2]);
}

#[test]
fn overlapping_subscriptions_get_a_single_copy() {
    let nodes = TwoNodes::start(&[]);
    let queries = [
        "channel=project.42",
        "channel=project.*",
        "channel=project.**",
        "channel=*.42",
        "channel=**",
        "channel=project.42&channel=project.*&channel=*.42",
        "channel=project.*&channel=**",
    ];
    let mut readers = open_all(&nodes, queries.map(|query| format!("/api/v1/events?{query}")));
    // `*.42` has a channel and glob for each that `**` has.
    let each = (1 + ALL.0 + 4, 1 + ALL.1 + 5);
    nodes.wait_for_subscriptions([each, each]);
    // The name and `project.*`, and the subscriptions for the letters of each of the other two.
    assert_eq!(nodes.message("project.42", "1"), 2 * 4);
    assert!(numbers(2..21).iter().all(|number| nodes.message("project.42", number) == 2 * 4));
    assert_each_reads(&mut readers, &numbers(1..21));
}

#[test]
fn channel_without_clients_is_unsubscribed() {
    let nodes = TwoNodes::start(&[]);
    let [first, second] = nodes.open_streams("/api/v1/events/project.*");
    let mut one = nodes.open_streams("/api/v1/events/project.42");
    let other = nodes.hubs[0].open_stream("/api/v1/events/project.*");
    nodes.wait_for_subscriptions([(1, 1), (1, 1)]);
    drop((first, second));
    nodes.wait_for_subscriptions([(1, 1), (1, 0)]);
    drop(other);
    nodes.wait_for_subscriptions([(1, 0), (1, 0)]);
    // The message that came by the pattern comes by the name now.
    assert_eq!(nodes.message("project.42", "one"), 2);
    assert_each_reads(&mut one, &["one"]);
    drop(one);
    nodes.wait_for_subscriptions([(0, 0), (0, 0)]);
    assert_eq!(nodes.message("project.42", "nobody"), 0);
}

#[test]
fn streams_survive_the_loss_of_the_pubsub_connection() {
    let nodes = TwoNodes::start(&[]);
    let mut readers = open_all(&nodes, ["/api/v1/events/project.42", "/api/v1/events/project.*"]);
    for round in 0..3 {
        nodes.wait_for_subscriptions([(1, 1), (1, 1)]);
        assert_eq!(nodes.message("project.42", &round.to_string()), 4);
        assert_each_reads(&mut readers, &[round.to_string()]);
        assert_eq!(nodes.redis.client_kill("pubsub"), 2);
    }
}

#[test]
fn unfit_message_is_dropped_and_counted_once() {
    let nodes = TwoNodes::start(&[("TIDINGS_LIMITS_EVENT_BYTES", "100")]);
    let mut of_all = nodes.open_streams("/api/v1/events?channel=project.*&channel=project.42");
    nodes.wait_for_subscriptions([(1, 1), (1, 1)]);
    // Slightly too large, and too large to be read at all.
    nodes.message("project.42", &"x".repeat(101));
    nodes.message("project.42", &"x".repeat(5 << 20));
    nodes.message("project.43", &"x".repeat(5 << 20));
    let script = "return redis.call('PUBLISH', ARGV[1], 'a' .. string.char(255))";
    for channel in ["project.42", "project.43"] {
        assert!(nodes.redis.command(&["EVAL", script, "0", channel]).integer() >= 2);
    }
    for bad in ["project.a b", "project..a", "project.", "project.é", "project.*"] {
        assert_eq!(nodes.message(bad, "bad name"), 2, "{bad}");
    }
    nodes.message("project.42", &"x".repeat(100));
    assert_each_reads(&mut of_all, &["x".repeat(100)]);
    assert_eq!(nodes.metrics(REJECTED), [10.0; 2]);
}

/// A program that publishes with `broadcaster`, as existing backends do. `BaseModel` has the part of pydantic that it uses.
const PUBLISHER: &str = r#"import asyncio, json, os
from enum import Enum
from broadcaster import Broadcast

REDIS_URL = os.environ["REDIS_URL"]

class BaseModel:
    def __init__(self, **members):
        self.__dict__.update(members)

    def model_dump_json(self):
        return json.dumps(self.__dict__, separators=(",", ":"), ensure_ascii=False)

class WSMessageTypeEnum(str, Enum):
    data = "data"
    render_progress = "render_progress"

class WSMessage(BaseModel):
    type: WSMessageTypeEnum
    object: dict | str

async def send_event(channel: str, message: WSMessage):
    async with Broadcast(REDIS_URL) as pubsub_client:
        await pubsub_client.publish(channel=channel, message=message.model_dump_json())

async def send_notification(project_id: str, message: str):
    event_data = {
        "type": "notification",
        "object": {"message": message, "timestamp": "2024-01-01T00:00:00Z"}
    }
    async with Broadcast(REDIS_URL) as pubsub:
        await pubsub.publish(channel=f"project.{project_id}", message=json.dumps(event_data))

async def some_task(project_id: str):
    await send_notification("123", "Hello World!")
    for progress in range(0, 101, 10):
        message = WSMessage(type=WSMessageTypeEnum.render_progress, object={"progress": progress})
        await send_event(channel=f"project.{project_id}", message=message)
    await send_event(channel="project.123", message=WSMessage(type=WSMessageTypeEnum.data, object="готово"))

asyncio.run(some_task("123"))
"#;

#[test]
fn messages_of_python_are_delivered_unchanged_on_both_nodes() {
    let nodes = TwoNodes::start(&[]);
    let mut readers = open_all(&nodes, ["/api/v1/events/project.123", "/api/v1/events/project.*"]);
    nodes.wait_for_subscriptions([(1, 1), (1, 1)]);
    for packages in ["redis-5", "redis-8"] {
        run_python_publisher(packages, &nodes.redis);
        readers.iter_mut().for_each(assert_python_messages);
    }
}

/// Publishes with this version of the Redis client.
#[track_caller]
pub(crate) fn run_python_publisher(packages: &str, redis: &RedisServer) {
    let mut command = crate::python::python(packages);
    let output = command.args(["-c", PUBLISHER]).env("REDIS_URL", redis.url()).output().unwrap();
    assert!(output.status.success(), "{packages}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Asserts the messages of [`run_python_publisher`].
#[track_caller]
pub(crate) fn assert_python_messages(reader: &mut SseReader) {
    let first = reader.event();
    let hello = r#"{"type": "notification", "object": {"message": "Hello World!", "timestamp": "2024-01-01T00:00:00Z"}}"#;
    assert_eq!((first.name.as_str(), first.data.as_str()), ("message", hello));
    for progress in (0..=100).step_by(10) {
        let event: Value = serde_json::from_str(&reader.data()).unwrap();
        assert_eq!(event, json!({"type": "render_progress", "object": {"progress": progress}}));
    }
    assert_eq!(reader.data(), r#"{"type":"data","object":"готово"}"#);
}

//! Commands of the compared servers. Each foreign server has settings of its own in a directory of its own.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use tidings_testkit::{HubCommand, free_port};

use crate::context::{BenchContext, beside};
use crate::result::BenchResult;
use crate::server_kind::{NCHAN_MODULE, PUSHPIN_INTERNAL, ServerKind};

/// Settings of the hub: limits and keep-alives out of the way of the load.
const HUB_SETTINGS: [(&str, &str); 4] = [
    ("TIDINGS_STREAM_KEEP_ALIVE", "1h"),
    ("TIDINGS_SHUTDOWN_WINDOW", "1ms"),
    ("TIDINGS_LIMITS_CONNECTIONS", "19000"),
    ("RUST_LOG", "error"),
];

/// Most connections of one process; some descriptors remain for itself.
const CONNECTIONS: usize = 19_500;

/// Commands of a server.
pub(super) struct ServerCommands {
    /// The server, and then its backend.
    pub(super) commands: Vec<Command>,
    pub(super) pushpin: Option<SocketAddr>,
    /// Addresses at which a ready server listens.
    pub(super) listens_at: Vec<SocketAddr>,
    /// Path that a ready server answers with 200.
    pub(super) ready_path: Option<&'static str>,
}

impl ServerCommands {
    /// Commands of a server with its data in a directory. `settings` are environment variables.
    pub(super) fn of(
        context: &BenchContext,
        kind: ServerKind,
        data: &Path,
        address: SocketAddr,
        settings: &[(&str, &str)],
    ) -> BenchResult<Self> {
        let baseline = |program: &str| -> BenchResult<Self> {
            let mut command = Command::new(beside(program)?);
            command.arg(address.to_string());
            Ok(Self::of_one(command, address))
        };
        match kind {
            ServerKind::AxumBaseline => baseline("axum_baseline"),
            ServerKind::EpollBaseline => baseline("epoll_baseline"),
            ServerKind::Nchan => Ok(Self::of_one(nchan(data, address)?, address)),
            ServerKind::Pushpin => pushpin(data, address),
            ServerKind::Memory | ServerKind::Before | ServerKind::Interval | ServerKind::Fsync => {
                let before = context.arguments.before.as_ref().filter(|_| kind == ServerKind::Before);
                let hub = HubCommand::new(before.unwrap_or(&context.hub))
                    .listen(&address.to_string())
                    .data_dir(data)
                    .variables([("TIDINGS_LOG_DURABILITY", kind.durability().unwrap_or("memory"))])
                    .variables(HUB_SETTINGS)
                    .variables(settings.iter().copied());
                let hub = Self::of_one(hub.into_command(), address);
                Ok(Self { ready_path: Some("/readyz"), ..hub })
            }
        }
    }

    pub(super) fn of_one(command: Command, address: SocketAddr) -> Self {
        Self { commands: vec![command], pushpin: None, listens_at: vec![address], ready_path: None }
    }
}

/// nginx with one worker and Nchan, on the hub's routes. It keeps all events that the slowest stream may be behind.
fn nchan(directory: &Path, address: SocketAddr) -> BenchResult<Command> {
    fs::create_dir_all(directory)?;
    let own = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("  {name}_temp_path {own}/{name};\n"))
        .collect();
    let settings = format!(
        "daemon off;\nuser root;\nworker_processes 1;\nworker_rlimit_nofile {limit};\npid {own}/nginx.pid;\n\
         error_log {own}/error.log error;\nload_module {NCHAN_MODULE};\n\
         events {{ worker_connections {CONNECTIONS}; }}\n\
         http {{\n{temporary}  access_log off;\n  tcp_nodelay on;\n  keepalive_requests 1000000000;\n  \
         keepalive_timeout 1h;\n  nchan_shared_memory_size 512M;\n  server {{\n    listen {address} backlog=4096;\n    \
         location ~ ^/api/v1/events/(.+)$ {{\n      nchan_pubsub http eventsource;\n      nchan_channel_id $1;\n      \
         nchan_message_buffer_length 1024;\n      nchan_message_timeout 5m;\n      \
         nchan_subscriber_first_message newest;\n    }}\n  }}\n}}\n",
        limit = CONNECTIONS + 100,
    );
    let file = directory.join("nginx.conf");
    fs::write(&file, settings)?;
    let mut command = Command::new("nginx");
    // Without this, nginx logs to the system's file until it has read its settings.
    command.arg("-e").arg(directory.join("error.log")).arg("-c").arg(file);
    Ok(command)
}

/// Pushpin with all its parts, which talk over sockets in the directory, and its origin. Its limits on events a second
/// are raised.
fn pushpin(directory: &Path, address: SocketAddr) -> BenchResult<ServerCommands> {
    fs::create_dir_all(directory)?;
    let own = directory.display();
    let (publishes, origin_address) = (free_address(), free_address());
    // Debian runs zurl as a separate service; here it is a part of Pushpin.
    let internal = fs::read_to_string(PUSHPIN_INTERNAL)?
        .replace("ipc:///var/run/zurl/zurl-", "ipc://{rundir}/{ipc_prefix}zurl-");
    fs::write(directory.join("internal.conf"), internal)?;
    fs::write(directory.join("routes"), format!("* {origin_address}\n"))?;
    let settings = format!(
        "[global]\ninclude={own}/internal.conf\nrundir={own}\nipc_prefix=p-\nport_offset=0\n\
         [runner]\nservices=condure,zurl,pushpin-proxy,pushpin-handler\nhttp_port={address}\nlogdir={own}\n\
         log_level=1\nclient_buffer_size=8192\nclient_maxconn={CONNECTIONS}\n\
         [proxy]\nroutesfile=routes\ndebug=false\nsig_iss=pushpin\nsig_key=changeme\nupdates_check=off\n\
         [handler]\npush_in_spec=ipc://{own}/push\npush_in_sub_specs=ipc://{own}/sub\n\
         push_in_http_addr={}\npush_in_http_port={}\npush_in_http_max_headers_size=10000\n\
         push_in_http_max_body_size=1000000\nstats_spec=ipc://{own}/stats\ncommand_spec=ipc://{own}/command\n\
         message_rate=1000000\nmessage_hwm=1000000\nmessage_wait=5000\nid_cache_ttl=60\n\
         connection_subscription_max=20\nsubscription_linger=60\nstats_subscription_ttl=60\n\
         stats_report_interval=10\nstats_format=tnetstring\n",
        publishes.ip(),
        publishes.port(),
    );
    let file = directory.join("pushpin.conf");
    fs::write(&file, settings)?;
    let mut origin = Command::new(beside("pushpin_origin")?);
    origin.arg(origin_address.to_string());
    let mut server = Command::new("pushpin");
    server.arg("--config").arg(file);
    Ok(ServerCommands {
        commands: vec![server, origin],
        pushpin: Some(publishes),
        listens_at: vec![address, publishes, origin_address],
        ready_path: Some("/api/v1/events/ready"),
    })
}

/// A free address of loopback.
pub(super) fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

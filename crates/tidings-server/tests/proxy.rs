//! Proxies in front of a hub, with the settings of the manual and of `deploy/`.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::prelude::*;

const MANUAL: &str = include_str!("../../../docs/manual/running.md");
const DEPLOYED: &str = include_str!("../../../deploy/nginx.conf");
/// Address of the hub in the manual.
const HUB: &str = "127.0.0.1:8000";

/// A running proxy. It is killed when it is dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    _process: ChildProcess,
    /// Dropped last.
    _directory: TempDirectory,
}

/// The code block of the manual after this heading.
pub(crate) fn recipe(heading: &str) -> &'static str {
    let (_, after) = MANUAL.split_once(heading).expect(heading);
    let (_, block) = after.split_once("\n```").expect(heading);
    let (_, block) = block.split_once('\n').expect(heading);
    block.split_once("```").expect(heading).0
}

/// A recipe with the address of a test's hub, and further changes.
fn recipe_with(heading: &str, hub: &str, changes: Changes<'_>) -> String {
    replace(&replace(recipe(heading), &[(HUB, hub)]), changes)
}

/// Texts of a recipe, with their replacements.
pub(crate) type Changes<'c> = &'c [(&'c str, &'c str)];

/// Replaces texts that must occur.
fn replace(text: &str, pairs: Changes<'_>) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

/// Directives that put the files of nginx into this folder.
fn paths(folder: &str) -> String {
    ["client_body", "proxy", "fastcgi", "scgi", "uwsgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .concat()
}

impl Proxy {
    /// nginx as in the manual.
    pub(crate) fn nginx(hub: &str, changes: Changes<'_>) -> Self {
        let (directory, port) = (TempDirectory::create(), free_port());
        let folder = directory.path().display().to_string();
        let location = recipe_with("**nginx** (", hub, changes);
        let paths = paths(&folder);
        directory.write(
            "nginx.conf",
            &format!(
                "pid {folder}/nginx.pid; error_log {folder}/error.log;\nevents {{ worker_connections 1024; }}\n\
                 http {{ {paths} access_log off;\nserver {{ listen 127.0.0.1:{port};\n{location}\n}} }}\n"
            ),
        );
        Self::run_nginx(directory, port)
    }

    /// nginx as in `deploy/`, in front of two hubs.
    pub(crate) fn deployed_nginx(hubs: [&str; 2]) -> Self {
        let (directory, port) = (TempDirectory::create(), free_port());
        let folder = directory.path().display().to_string();
        let pairs = [
            ("node-1:8000", hubs[0]),
            ("node-2:8000", hubs[1]),
            ("listen 8080;", &format!("listen 127.0.0.1:{port};")),
            ("/var/run/nginx.pid", &format!("{folder}/nginx.pid")),
            ("/dev/stderr", &format!("{folder}/error.log")),
            ("access_log /dev/stdout", &format!("access_log {folder}/access.log")),
            ("http {", &format!("http {{ {}", paths(&folder))),
            // Only root may raise the limit of descriptors, and a test does not need it.
            ("worker_rlimit_nofile 65536;", ""),
            ("worker_connections 32768;", "worker_connections 1024;"),
        ];
        directory.write("nginx.conf", &replace(DEPLOYED, &pairs));
        Self::run_nginx(directory, port)
    }

    fn run_nginx(directory: TempDirectory, port: u16) -> Self {
        let command = || {
            let mut command = Command::new(system("nginx"));
            command.arg("-p").arg(directory.path()).args(["-c", "nginx.conf"]);
            command
        };
        checked(command().arg("-t"));
        // A single process: killing it leaves nothing behind.
        let mut command = command();
        command.args(["-g", "daemon off; master_process off;"]);
        Self::run(command, directory, port)
    }

    /// HAProxy as in the manual.
    pub(crate) fn haproxy(hub: &str, changes: Changes<'_>) -> Self {
        let (directory, port) = (TempDirectory::create(), free_port());
        let bind = format!("bind 127.0.0.1:{port}");
        let text = replace(&recipe_with("**HAProxy** (", hub, changes), &[("bind :8080", &bind)]);
        directory.write("haproxy.cfg", &text);
        let file = directory.path().join("haproxy.cfg");
        checked(Command::new(system("haproxy")).arg("-c").arg("-f").arg(&file));
        let mut command = Command::new(system("haproxy"));
        command.arg("-db").arg("-f").arg(file);
        Self::run(command, directory, port)
    }

    /// Caddy as in the manual, without TLS.
    pub(crate) fn caddy(hub: &str, changes: Changes<'_>) -> Self {
        let (directory, port) = (TempDirectory::create(), free_port());
        let site = format!("http://127.0.0.1:{port}");
        let text = replace(&recipe_with("**Caddy** (", hub, changes), &[("events.example.com", &site)]);
        // Without the administration port.
        directory.write("Caddyfile", &format!("{{\n\tadmin off\n}}\n{text}"));
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(directory.path().join("Caddyfile"));
        for name in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
            command.env(name, directory.path());
        }
        Self::run(command, directory, port)
    }

    /// Apache as in the manual.
    pub(crate) fn apache(hub: &str, changes: Changes<'_>) -> Self {
        let (directory, port) = (TempDirectory::create(), free_port());
        let folder = directory.path().display().to_string();
        directory.write("tidings-away.asis", recipe("is the file `/etc/apache2/tidings-away.asis`:"));
        let own = [("*:8080", format!("127.0.0.1:{port}")), ("/etc/apache2", folder.clone())];
        let own = own.each_ref().map(|(from, to)| (*from, to.as_str()));
        let site = replace(&recipe_with("**Apache** (", hub, changes), &own);
        let modules =
            ["mpm_event", "authz_core", "setenvif", "proxy", "proxy_http", "headers", "alias", "asis"];
        let modules = modules
            .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
            .concat();
        directory.write(
            "apache.conf",
            &format!(
                "ServerRoot {folder}\nServerName localhost\nPidFile {folder}/pid\nErrorLog {folder}/error.log\n\
                 Listen 127.0.0.1:{port}\n{modules}User www-data\nServerLimit 1\nThreadLimit 256\n\
                 ThreadsPerChild 256\nMaxRequestWorkers 256\n{site}"
            ),
        );
        let file = directory.path().join("apache.conf");
        checked(Command::new(system("apache2")).arg("-t").arg("-f").arg(&file));
        // A single process: killing it leaves nothing behind.
        let mut command = Command::new(system("apache2"));
        command.arg("-X").arg("-f").arg(file);
        Self::run(command, directory, port)
    }

    /// Varnish as in the manual.
    pub(crate) fn varnish(hub: &str, changes: Changes<'_>) -> Self {
        let (directory, port) = (TempDirectory::create(), free_port());
        let (_, hub_port) = hub.rsplit_once(':').unwrap();
        let hub_port = format!(".port = \"{hub_port}\";");
        let text = recipe_with("**Varnish** (", hub, &[(".port = \"8000\";", &hub_port)]);
        directory.write("default.vcl", &replace(&text, changes));
        let mut command = Command::new(system("varnishd"));
        command.args(["-F", "-s", "malloc,64m", "-a", &format!("127.0.0.1:{port}")]);
        command.arg("-f").arg(directory.path().join("default.vcl"));
        command.arg("-n").arg(directory.path().join("work"));
        Self::run(command, directory, port)
    }

    /// Traefik as in the manual.
    pub(crate) fn traefik(hub: &str, changes: Changes<'_>) -> Self {
        let (directory, port) = (TempDirectory::create(), free_port());
        directory.write("tidings.yaml", &recipe_with("**Traefik** (", hub, changes));
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python/traefik/bin/traefik");
        assert!(program.is_file(), "{} is missing; `cargo xtask test` installs it", program.display());
        let mut command = Command::new(program);
        command.arg(format!("--entrypoints.web.address=127.0.0.1:{port}"));
        command.arg("--providers.file.filename=tidings.yaml");
        // It must contact no server but the hub.
        command.args(["--global.checknewversion=false", "--global.sendanonymoususage=false"]);
        let proxy = Self::run(command, directory, port);
        // Traefik listens before it has read its routes.
        eventually("Traefik has its routes", || {
            proxy.request("GET", "/api/v1/channels", "").read_head().status != 404
        });
        proxy
    }

    fn run(mut command: Command, directory: TempDirectory, port: u16) -> Self {
        command.current_dir(directory.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let proxy = Self { port, _process: ChildProcess::spawn(&mut command), _directory: directory };
        eventually("the proxy listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        proxy
    }

    pub(crate) fn connect(&self) -> HttpConnection {
        HttpConnection::from_socket(TcpStream::connect(("127.0.0.1", self.port)).unwrap())
    }

    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> HttpConnection {
        let mut connection = self.connect();
        let (port, length) = (self.port, body.len());
        connection.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        connection
    }

    #[track_caller]
    pub(crate) fn subscribe(&self, path: &str) -> SseReader {
        SseReader::open(self.request("GET", &with_position(path), ""))
    }
}

/// Path of a program that Debian installs outside the search path of users.
fn system(name: &str) -> String {
    let path = format!("/usr/sbin/{name}");
    if Path::new(&path).is_file() { path } else { name.to_owned() }
}

/// Runs a program's check of its settings.
fn checked(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

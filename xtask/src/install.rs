//! Installs programs and packages that the tests need and the machine lacks.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::process::{self, MINUTES};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// A program that tests start, and the Debian package that brings it.
struct Program {
    name: &'static str,
    package: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program { name: "chromium", package: "chromium" },
    Program { name: "firefox-esr", package: "firefox-esr" },
    // Makes fsync fail under the store.
    Program { name: "strace", package: "strace" },
    // Gives a test a small disk of its own, and a page of the manual a network of its own, with what its commands call.
    Program { name: "unshare", package: "util-linux" },
    Program { name: "ip", package: "iproute2" },
    Program { name: "pkill", package: "procps" },
    Program { name: "curl", package: "curl" },
    Program { name: "openssl", package: "openssl" },
    // Each test of several nodes starts one of its own.
    Program { name: "redis-server", package: "redis-server" },
    // Gives a node of the checker a wrong clock.
    Program { name: "faketime", package: "faketime" },
    // Stands before two hubs, as in `deploy/`.
    Program { name: "nginx", package: "nginx-light" },
    // The other proxies of the manual.
    Program { name: "haproxy", package: "haproxy" },
    Program { name: "caddy", package: "caddy" },
    Program { name: "apache2", package: "apache2" },
    // Compiles its settings with a compiler of C, which comes with it.
    Program { name: "varnishd", package: "varnish" },
    Program { name: "python3", package: "python3" },
];

/// Packages that only the matrix of clients needs; see `clients`. Debian's Go is older than the libraries of Go require.
const TOOLCHAINS: &[Program] =
    &[Program { name: "javac", package: "default-jdk-headless" }, Program { name: "mvn", package: "maven" }];

/// Debian's folder of programs that a user's search path may lack.
const SYSTEM_PROGRAMS: &str = "/usr/sbin";

/// A Python with packages of its own, in this folder below cargo's `target/python`.
struct Python {
    folder: &'static str,
    packages: Packages,
}

/// Packages that pip installs.
enum Packages {
    Named(&'static [&'static str]),
    /// A file that pins each package, and those that it needs, by its hash.
    Locked(&'static str),
}

/// The library that the guides publish with, over an older client of Redis and over the newest; a reader of YAML, for
/// what is in `deploy/`; the packages that the manual's Python imports;
/// the client libraries of PyPI, of which two have modules of one name; and a proxy that Debian does not have.
const PYTHONS: &[Python] = &[
    Python { folder: "redis-5", packages: Packages::Named(&["broadcaster[redis]==0.3.1", "redis>=5,<6"]) },
    Python { folder: "redis-8", packages: Packages::Named(&["broadcaster[redis]==0.3.1", "redis>=8,<9"]) },
    Python { folder: "yaml", packages: Packages::Named(&["pyyaml>=6,<7"]) },
    Python {
        folder: "manual",
        packages: Packages::Named(&[
            "fastapi==0.165.0",
            "httpx==0.28.1",
            "pyjwt[crypto]==2.15.1",
            "requests==2.34.2",
            "uvicorn==0.54.0",
        ]),
    },
    Python { folder: "clients", packages: Packages::Locked("tests/clients/python/requirements.txt") },
    Python {
        folder: "clients-sseclient",
        packages: Packages::Locked("tests/clients/python/requirements-sseclient.txt"),
    },
    Python { folder: "traefik", packages: Packages::Locked("tests/proxies/requirements.txt") },
];

/// The programs of the module `tools`.
const TOOLS: Python = Python { folder: "tools", packages: Packages::Locked("xtask/requirements.txt") };

/// Has no packages: its `pip` installs elsewhere.
const PLAIN: Python = Python { folder: "plain", packages: Packages::Named(&[]) };

/// A FastAPI service to compare with: broadcaster receives nothing over a newer client of Redis.
const GUIDES: Python = Python {
    folder: "guides",
    packages: Packages::Named(&[
        "fastapi==0.165.0",
        "sse-starlette==3.7.0",
        "uvicorn==0.54.0",
        "broadcaster[redis]==0.3.1",
        "redis==5.3.1",
    ]),
};

/// Servers that the hub is compared with, and a counter of system calls: a file of each package, and the package.
const COMPARED: &[(&str, &str)] = &[
    ("/usr/lib/nginx/modules/ngx_nchan_module.so", "libnginx-mod-nchan"),
    ("/usr/sbin/nginx", "nginx"),
    ("/usr/lib/pushpin/internal.conf", "pushpin"),
    ("/usr/bin/strace", "strace"),
    ("/usr/bin/redis-server", "redis-server"),
    ("/usr/bin/redis-benchmark", "redis-tools"),
];

/// Program that Debian's packages run before they start a service; its exit code 101 forbids the start.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";

/// The folder of the tests in browsers, which has a `package.json`.
pub(crate) const BROWSERS: &str = "tests/browser";
/// The folder with the lock file of all npm packages: those of the tests in browsers and of the matrix of clients.
const NPM_WORKSPACE: &str = "tests";

/// Installs the missing programs, Pythons and npm packages. A failed installation counts as a failure; its tests fail, too.
pub(crate) fn run_all(workspace: &Workspace, tally: &mut Tally) {
    let mut missing = missing_of(PROGRAMS);
    if !can_make_pythons(workspace) {
        missing.push("python3-venv");
    }
    install_quietly(workspace, tally, &missing);
    for python in PYTHONS {
        make_python(workspace, tally, python);
    }
    let mut command = workspace.command("npm");
    command.arg("ci").current_dir(workspace.root.join(NPM_WORKSPACE));
    // Browsers are Debian's; a package that would bring its own must not.
    command.env("PUPPETEER_SKIP_DOWNLOAD", "1");
    process::prepare(tally, "npm ci", command, MINUTES * 10);
}

/// Installs the toolchains of the matrix of clients that are missing.
pub(crate) fn toolchains(workspace: &Workspace, tally: &mut Tally) {
    install_quietly(workspace, tally, &missing_of(TOOLCHAINS));
}

/// Returns the packages of programs that are not installed.
fn missing_of(programs: &[Program]) -> Vec<&'static str> {
    programs.iter().filter(|program| !is_installed(program.name)).map(|program| program.package).collect()
}

/// Installs the servers that the hub is compared with, and starts none. The rows of a server that is missing say so.
pub(crate) fn compared(workspace: &Workspace, tally: &mut Tally) {
    let mut missing: Vec<&str> =
        COMPARED.iter().filter(|(file, _)| !is_file(Path::new(file))).map(|(_, package)| *package).collect();
    if !can_make_pythons(workspace) {
        missing.push("python3-venv");
    }
    install_quietly(workspace, tally, &missing);
    make_python(workspace, tally, &GUIDES);
}

/// Whether this machine's Python can make environments, which Debian ships in a package of its own.
fn can_make_pythons(workspace: &Workspace) -> bool {
    let mut command = workspace.command("python3");
    command.args(["-c", "import ensurepip, venv"]).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Returns the `pip` of a Python without packages.
pub(crate) fn pip(workspace: &Workspace, tally: &mut Tally) -> Option<PathBuf> {
    make_python(workspace, tally, &PLAIN);
    Some(workspace.target.join("python").join(PLAIN.folder).join("bin/pip")).filter(|pip| is_file(pip))
}

/// Installs the programs of the module `tools`, and returns their folder.
pub(crate) fn tools(workspace: &Workspace, tally: &mut Tally) -> PathBuf {
    make_python(workspace, tally, &TOOLS);
    workspace.target.join("python").join(TOOLS.folder).join("bin")
}

/// Makes a Python with its packages unless it is complete.
fn make_python(workspace: &Workspace, tally: &mut Tally, python: &Python) {
    let folder = workspace.target.join("python").join(python.folder);
    let arguments = python.packages.arguments();
    // Written at the very end, and other packages are another text.
    let (mark, packages) = (folder.join("packages"), python.packages.text(workspace));
    if fs::read_to_string(&mark).is_ok_and(|text| text == packages) {
        return;
    }
    let mut command = workspace.command("python3");
    command.args(["-m", "venv", "--clear"]).arg(&folder);
    let name = format!("python for {}", python.folder);
    if !process::prepare(tally, &name, command, MINUTES * 5) {
        return;
    }
    let mut command = workspace.command(&folder.join("bin/pip").to_string_lossy());
    command.args(["install", "--quiet", "--disable-pip-version-check"]).args(&arguments);
    let name = format!("pip install {}", arguments.join(" "));
    if (arguments.is_empty() || process::prepare(tally, &name, command, MINUTES * 10))
        && let Err(error) = fs::write(&mark, packages)
    {
        println!("  {}: {error}; it is installed anew next time", mark.display());
    }
}

impl Packages {
    /// Arguments of pip.
    fn arguments(&self) -> Vec<String> {
        match self {
            Self::Named(names) => names.iter().map(|name| (*name).to_owned()).collect(),
            Self::Locked(file) => ["--require-hashes", "--requirement", file].map(str::to_owned).into(),
        }
    }

    /// Text that decides the installed packages. Pip reports a file that cannot be read.
    fn text(&self, workspace: &Workspace) -> String {
        match self {
            Self::Named(names) => names.join(" "),
            Self::Locked(file) => fs::read_to_string(workspace.root.join(file)).unwrap_or_default(),
        }
    }
}

/// Installs packages without starting the services that they bring.
fn install_quietly(workspace: &Workspace, tally: &mut Tally, missing: &[&str]) {
    if missing.is_empty() {
        return;
    }
    // A policy that exists belongs to the machine's owner.
    let is_ours = !Path::new(SERVICE_POLICY).exists() && forbid_services();
    install_packages(workspace, tally, missing);
    if is_ours && let Err(error) = fs::remove_file(SERVICE_POLICY) {
        println!("  remove {SERVICE_POLICY} by hand: {error}");
    }
}

fn forbid_services() -> bool {
    let written = fs::write(SERVICE_POLICY, "#!/bin/sh\nexit 101\n")
        .and_then(|()| fs::set_permissions(SERVICE_POLICY, Permissions::from_mode(0o755)));
    if let Err(error) = &written {
        println!("  {SERVICE_POLICY}: {error}; packages may start their services");
    }
    written.is_ok()
}

fn install_packages(workspace: &Workspace, tally: &mut Tally, packages: &[&str]) {
    let apt = |arguments: &[&str]| {
        let mut command = workspace.command("apt-get");
        command.args(["-q", "-y"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let command = apt(&["update"]);
    if !process::prepare(tally, "apt-get update", command, MINUTES * 10) {
        println!("  install by hand: {}", packages.join(" "));
        return;
    }
    let mut command = apt(&["install", "--no-install-recommends"]);
    command.args(packages);
    let name = format!("apt-get install {}", packages.join(" "));
    process::prepare(tally, &name, command, MINUTES * 20);
}

/// Whether a program of this name is on the search path, or among the system's.
fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from(SYSTEM_PROGRAMS)]);
    folders.into_iter().any(|folder| is_file(&folder.join(name)))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

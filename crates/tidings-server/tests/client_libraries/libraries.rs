//! The tested libraries, the versions that their manifests pin, and the known faults of each.

use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Copy)]
pub(super) enum PackageRegistry {
    Npm,
    PyPi,
    Go,
    Maven,
    Crates,
}

/// A library, and its adapter in `tests/clients`.
pub(super) struct Library {
    /// Name in the registry, without an owner.
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    registry: PackageRegistry,
    adapter: &'static str,
    /// Known faults, which the manual names. No server can prevent them.
    keeps_last_line_only: bool,
    /// The library delivers an empty message when a stream ends or breaks: a partial block, or the framing of HTTP.
    hands_out_ends: bool,
}

const fn library(
    registry: PackageRegistry,
    name: &'static str,
    version: &'static str,
    adapter: &'static str,
) -> Library {
    Library { name, version, registry, adapter, keeps_last_line_only: false, hands_out_ends: false }
}

use PackageRegistry::{Crates, Go, Maven, Npm, PyPi};

pub(super) const NPM: &[Library] = &[
    library(Npm, "eventsource", "5.1.5", "eventsource"),
    library(Npm, "eventsource", "2.0.2", "eventsource-2"),
    library(Npm, "eventsource", "1.1.2", "eventsource-1"),
    library(Npm, "undici", "7.30.0", "undici"),
    library(Npm, "event-source-polyfill", "1.0.31", "event-source-polyfill"),
    library(Npm, "reconnecting-eventsource", "1.6.5", "reconnecting-eventsource"),
    library(Npm, "extended-eventsource", "2.1.0", "extended-eventsource"),
    library(Npm, "eventsource-client", "1.2.0", "eventsource-client"),
    library(Npm, "@microsoft/fetch-event-source", "2.0.1", "fetch-event-source"),
    library(Npm, "eventsource-parser", "3.1.1", "eventsource-parser"),
    library(Npm, "launchdarkly-eventsource", "2.2.0", "launchdarkly-eventsource"),
    Library {
        keeps_last_line_only: true,
        ..library(Npm, "event-source-plus", "0.1.15", "event-source-plus")
    },
];

/// Libraries that run in a page.
pub(super) const NPM_IN_CHROMIUM: &[Library] = &[library(Npm, "sse.js", "2.8.0", "sse")];

pub(super) const PYPI: &[Library] = &[
    library(PyPi, "httpx-sse", "0.4.3", "httpx_sse"),
    library(PyPi, "httpx2", "2.16.2", "httpx2"),
    Library { hands_out_ends: true, ..library(PyPi, "sseclient", "0.0.27", "sseclient") },
    library(PyPi, "sseclient-py", "1.9.0", "sseclient_py"),
    library(PyPi, "requests-sse", "0.5.3", "requests_sse"),
    library(PyPi, "launchdarkly-eventsource", "1.7.4", "launchdarkly_eventsource"),
    library(PyPi, "aiohttp-sse-client", "0.2.1", "aiohttp_sse_client"),
    library(PyPi, "aiosseclient", "0.1.8", "aiosseclient"),
];

pub(super) const GO: &[Library] = &[
    Library { hands_out_ends: true, ..library(Go, "r3labs/sse/v2", "2.10.0", "r3labs") },
    library(Go, "launchdarkly/eventsource", "1.11.0", "launchdarkly"),
    library(Go, "tmaxmax/go-sse", "0.12.0", "tmaxmax"),
];

pub(super) const MAVEN: &[Library] = &[
    library(Maven, "okhttp-sse", "4.12.0", "OkHttpSse"),
    library(Maven, "okhttp-eventsource", "4.1.1", "LaunchDarkly"),
];

pub(super) const CRATES: &[Library] = &[
    library(Crates, "reqwest-eventsource", "0.6.0", "reqwest_eventsource"),
    library(Crates, "eventsource-client", "0.18.0", "eventsource_client"),
];

impl Library {
    /// Command of the adapter, with the URL to read. `cargo xtask` has installed and built it.
    pub(super) fn command(&self, url: &str) -> Command {
        let sources = root().join("tests/clients");
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients");
        let mut command = match self.registry {
            Npm => {
                let mut command = Command::new("node");
                command.arg("client.js").arg(self.adapter).current_dir(sources.join("node"));
                command
            }
            PyPi => {
                // Both libraries have a module `sseclient`.
                let mut command = crate::python::python(if self.name == "sseclient" {
                    "clients-sseclient"
                } else {
                    "clients"
                });
                command.arg("client.py").arg(self.adapter).current_dir(sources.join("python"));
                command
            }
            Go => Command::new(built.join("go").join(self.adapter)),
            Maven => {
                let mut command = Command::new("java");
                let jars = built.join("java/jars").join("*");
                command.arg("-cp").arg(format!(
                    "{}:{}",
                    built.join("java/classes").display(),
                    jars.display()
                ));
                command.arg(self.adapter);
                command
            }
            Crates => Command::new(built.join("rust/release").join(self.adapter)),
        };
        command.arg(url);
        command
    }

    /// Text as the library delivers it to the application.
    pub(super) fn hands_out<'t>(&self, text: &'t str) -> &'t str {
        if self.keeps_last_line_only { text.rsplit('\n').next().unwrap_or_default() } else { text }
    }

    /// Number of empty messages that the library adds, of so many streams.
    pub(super) fn empty_messages_of(&self, streams: usize) -> usize {
        if self.hands_out_ends { streams } else { 0 }
    }

    /// Whether the manifest pins exactly this version.
    pub(super) fn is_pinned(&self) -> bool {
        let Self { name, version, .. } = self;
        let (file, lines) = match self.registry {
            Npm => (
                "node/package.json",
                vec![format!("\"{name}\": \"{version}\""), format!("npm:{name}@{version}\"")],
            ),
            PyPi if *name == "sseclient" => {
                ("python/requirements-sseclient.txt", vec![format!("{name}=={version} ")])
            }
            PyPi => ("python/requirements.txt", vec![format!("{name}=={version} ")]),
            Go => ("go/go.mod", vec![format!("github.com/{name} v{version}")]),
            Maven => (
                "java/pom.xml",
                vec![format!("<artifactId>{name}</artifactId>\n      <version>{version}</version>")],
            ),
            Crates => (
                "rust/Cargo.toml",
                vec![format!("{name} = \"={version}\""), format!("{name} = {{ version = \"={version}\"")],
            ),
        };
        let text = std::fs::read_to_string(root().join("tests/clients").join(file)).unwrap();
        lines.iter().any(|line| text.contains(line))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

//! `tidings serve`: one hub, from its settings to its last stream.

mod banner;
mod listen;
mod logging;
mod reload;

use std::process::ExitCode;

use tidings::config::Settings;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use self::reload::Reloader;
use crate::settings::Loaded;
use crate::terminal::{Paint, print, print_error};
use crate::{EXIT_INTERRUPTED, SettingFlags, fd_limit, refuse};

/// Runs a hub until a signal ends it.
///
/// Ends with 0 after a signal, 1 when something failed, 2 when the settings are at fault.
pub(crate) fn run(flags: SettingFlags) -> ExitCode {
    let loaded = match flags.load() {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems),
    };
    if let Err(fault) = logging::start() {
        print_error(&fault);
        return ExitCode::from(crate::EXIT_USAGE);
    }
    crate::on_runtime(async {
        match serve(flags, loaded).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => {
                print_error(&fault);
                ExitCode::FAILURE
            }
        }
    })
}

/// Listens and serves while the log is opened: a proxy answers 502 where a connection is refused, and a browser takes that as final.
async fn serve(flags: SettingFlags, loaded: Loaded) -> Result<(), String> {
    prepare(&loaded);
    let mut signals = Signals::new().map_err(|error| format!("cannot watch for signals: {error}"))?;
    let settings = loaded.settings;
    let (listeners, addresses) = listen::bind(&settings.listen)?;
    let hub = tokio::select! {
        started = tidings::Hub::builder().settings(settings.clone()).start() => {
            started.map_err(|error| with_causes(&error))?
        }
        // Nothing was taken yet, so nothing is waited for.
        () = signals.stop() => {
            info!("stopped before the hub had started");
            return Ok(());
        }
    };
    for address in &addresses {
        info!(%address, "listening");
    }
    let banner = banner::banner(&addresses, &settings, flags.config.as_deref(), Paint::for_output());

    let mut reloader = Reloader::new(flags, settings);
    let mut server = tokio::spawn(tidings::serve(hub.clone(), listeners));
    let mut is_open = false;
    loop {
        tokio::select! {
            ended = &mut server => return finished(ended),
            opened = hub.opened(), if !is_open => {
                opened.map_err(|error| with_causes(&error))?;
                print(&banner);
                announce(hub.settings());
                is_open = true;
            }
            asked = signals.next() => match asked {
                // A file that takes for ever must not keep the hub from ending.
                SignalAction::Reload => tokio::select! {
                    () = reloader.reload(&hub) => {}
                    () = signals.stop() => break,
                },
                SignalAction::Stop => break,
            },
        }
    }
    let window = hub.settings().shutdown.window;
    info!(
        ?window,
        "shutting down: streams end within shutdown.window, then the log is made safe; a second signal ends at once"
    );
    tokio::select! {
        ended = async {
            hub.shutdown().await;
            server.await
        } => {
            info!("stopped");
            finished(ended)
        }
        () = signals.stop() => {
            warn!("second signal; ending at once");
            std::process::exit(EXIT_INTERRUPTED)
        }
    }
}

/// Logs the warnings about the settings, and raises the limit of open files.
fn prepare(loaded: &Loaded) {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    if let Err(error) = fd_limit::raise() {
        warn!(%error, "cannot raise the limit of open files");
    }
}

/// Logs whether the hub asks for credentials.
fn announce(settings: &Settings) {
    let loopback_only = settings.listen.iter().all(|address| address.ip().to_canonical().is_loopback());
    if let Some(auth) = &settings.auth {
        info!(keys = auth.keys.len(), tokens = auth.takes_tokens(), "credentials are asked for");
    } else if loopback_only {
        warn!("open to every local program: without [auth] each may publish and read everything");
    } else {
        warn!(
            "open to everyone who reaches it (--insecure): without [auth] each may publish and read everything"
        );
    }
}

fn finished(ended: Result<Result<(), tidings::Error>, tokio::task::JoinError>) -> Result<(), String> {
    match ended {
        Ok(result) => result.map_err(|error| with_causes(&error)),
        Err(panic) => Err(format!("the server ended by a fault of its own: {panic}")),
    }
}

/// An error with what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// The signals that mean something to a hub.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal.
    async fn next(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.terminate.recv() => SignalAction::Stop,
            _ = self.interrupt.recv() => SignalAction::Stop,
            _ = self.hang_up.recv() => SignalAction::Reload,
        }
    }

    /// Waits for a signal to stop; what ends reads nothing again.
    async fn stop(&mut self) {
        while let SignalAction::Reload = self.next().await {}
    }
}

/// What a signal asks for.
enum SignalAction {
    Stop,
    Reload,
}

//! `tidings serve`: runs one hub, from its settings to its last stream.

mod banner;
mod error_chain;
mod listen;
mod logging;
mod reload;
mod signals;

use std::process::ExitCode;

use tidings::config::Settings;
use tracing::{info, warn};

use self::error_chain::error_chain;
use self::reload::Reloader;
use self::signals::{SignalAction, Signals};
use crate::exit::{EXIT_INTERRUPTED, fail, fail_usage, run_async};
use crate::fd_limit;
use crate::setting_flags::{SettingFlags, fail_settings};
use crate::settings::Loaded;
use crate::terminal::{Paint, print};

/// Runs a hub until a signal ends it.
///
/// Returns 0 after a signal, 1 after an error, 2 after an error of the settings.
pub(crate) fn run(flags: SettingFlags) -> ExitCode {
    let loaded = match flags.load() {
        Ok(loaded) => loaded,
        Err(diagnostics) => return fail_settings(&diagnostics),
    };
    if let Err(error) = logging::start() {
        return fail_usage(&error);
    }
    run_async(async {
        match serve(flags, loaded).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        }
    })
}

/// Serves while the log opens: otherwise a proxy would answer 502, which a browser takes as final.
async fn serve(flags: SettingFlags, loaded: Loaded) -> Result<(), String> {
    prepare(&loaded);
    let mut signals = Signals::watch().map_err(|error| format!("cannot watch for signals: {error}"))?;
    let settings = loaded.settings;
    let (listeners, addresses) = listen::bind(&settings.listen)?;
    let hub = tokio::select! {
        started = tidings::Hub::builder().settings(settings.clone()).start() => {
            started.map_err(|error| error_chain(&error))?
        }
        // No request was accepted yet, so there is nothing to wait for.
        () = signals.wait_for_stop() => {
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
            ended = &mut server => return server_result(ended),
            opened = hub.opened(), if !is_open => {
                opened.map_err(|error| error_chain(&error))?;
                print(&banner);
                log_access(hub.settings());
                is_open = true;
            }
            action = signals.next() => match action {
                // A file that blocks must not keep the hub from ending.
                SignalAction::Reload => tokio::select! {
                    () = reloader.reload(&hub) => {}
                    () = signals.wait_for_stop() => break,
                },
                SignalAction::Stop => break,
            },
        }
    }
    let window = hub.settings().shutdown.window;
    info!(
        ?window,
        "shutting down: streams end within shutdown.window, then the log is synced; a second signal ends at once"
    );
    tokio::select! {
        ended = async {
            hub.shutdown().await;
            server.await
        } => {
            info!("stopped");
            server_result(ended)
        }
        () = signals.wait_for_stop() => {
            warn!("second signal; ending at once");
            std::process::exit(EXIT_INTERRUPTED)
        }
    }
}

/// Logs the warnings about the settings, and raises the limit of file descriptors.
fn prepare(loaded: &Loaded) {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    if let Err(error) = fd_limit::raise() {
        warn!(%error, "cannot raise the limit of file descriptors");
    }
}

/// Logs whether the hub asks for credentials.
fn log_access(settings: &Settings) {
    let is_loopback_only = settings.listen.iter().all(|address| address.ip().to_canonical().is_loopback());
    if let Some(auth) = &settings.auth {
        info!(keys = auth.keys.len(), tokens = auth.takes_tokens(), "credentials are asked for");
    } else if is_loopback_only {
        warn!("open to every local program: without [auth] each may publish and read everything");
    } else {
        warn!("open to every client (--insecure): without [auth] each may publish and read everything");
    }
}

fn server_result(ended: Result<Result<(), tidings::Error>, tokio::task::JoinError>) -> Result<(), String> {
    match ended {
        Ok(result) => result.map_err(|error| error_chain(&error)),
        Err(panic) => Err(format!("the server panicked: {panic}")),
    }
}

//! Runs a command on a runtime, and the exit codes.

use std::process::ExitCode;

use crate::terminal::print_error;

/// Exit code for wrong usage and wrong settings.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Exit code after a second signal, the same as in shells.
pub(crate) const EXIT_INTERRUPTED: i32 = 130;

/// Threads that read the log for streams that resume. When many clients reconnect at once, they wait here.
const BLOCKING_THREADS_MAX: usize = 16;

/// Runs a command to its end. On several threads, so that a blocked output does not delay signals.
pub(crate) fn run_async(command: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let code = runtime.block_on(command);
            // Threads that wait for a terminal or a name server must not delay the end.
            runtime.shutdown_background();
            code
        }
        Err(error) => fail(&format!("cannot start threads: {error}")),
    }
}

/// Prints an error, and returns exit code 1.
pub(crate) fn fail(error: &str) -> ExitCode {
    print_error(error);
    ExitCode::FAILURE
}

/// Prints an error of usage or settings, and returns exit code 2.
pub(crate) fn fail_usage(error: &str) -> ExitCode {
    print_error(error);
    ExitCode::from(EXIT_USAGE)
}

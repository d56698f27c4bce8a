//! Failpoints: in a build with debug assertions, a test makes a named thread, task or request panic or wait. A release build
//! has none.
//!
//! The environment variable `TEST_FAILPOINT` has `NAME@FILE`. Once the file exists, the first failpoint whose name begins with
//! NAME removes the file and panics. `TEST_HOLD` has the same: the failpoint NAME waits for as long as the file exists.

#[cfg(not(debug_assertions))]
pub(crate) use self::absent::{hit, hold, panicked};
#[cfg(debug_assertions)]
pub(crate) use self::armed::{hit, hold, panicked};

#[cfg(debug_assertions)]
mod armed {
    use std::{sync::LazyLock, time::Duration};

    /// How often a task or thread looks for the file.
    const LOOK_INTERVAL: Duration = Duration::from_millis(10);

    static ARMED: FailpointSetting = LazyLock::new(|| setting("TEST_FAILPOINT"));
    static HELD: FailpointSetting = LazyLock::new(|| setting("TEST_HOLD"));

    /// A name, and the file to look for.
    type FailpointSetting = LazyLock<Option<(String, String)>>;

    fn setting(variable: &str) -> Option<(String, String)> {
        let text = std::env::var(variable).ok()?;
        text.split_once('@').map(|(name, file)| (name.to_owned(), file.to_owned()))
    }

    /// The file to look for, if a test asked for this name.
    fn file_for(name: &str) -> Option<&'static str> {
        let (wanted, file) = ARMED.as_ref()?;
        name.starts_with(wanted).then_some(file.as_str())
    }

    /// Panics if a test asked for this name.
    pub(crate) fn hit(name: &str) {
        let is_hit = file_for(name).is_some_and(|file| std::fs::remove_file(file).is_ok());
        assert!(!is_hit, "the failpoint {name} was hit");
    }

    /// Waits for as long as a test holds this name and `goes_on` is true.
    pub(crate) fn hold(name: &str, goes_on: impl Fn() -> bool) {
        let Some((_, file)) = HELD.as_ref().filter(|(held, _)| held == name) else { return };
        while std::path::Path::new(file).exists() && goes_on() {
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Panics once a test asks for this name; otherwise it waits for ever.
    pub(crate) async fn panicked(name: &str) {
        while file_for(name).is_some() {
            hit(name);
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(not(debug_assertions))]
mod absent {
    pub(crate) fn hit(_name: &str) {}

    pub(crate) fn hold(_name: &str, _goes_on: impl Fn() -> bool) {}

    pub(crate) async fn panicked(_name: &str) {
        std::future::pending::<()>().await;
    }
}

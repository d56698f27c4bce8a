//! Failpoints: in a build with debug assertions, a test makes a named thread, task or request panic. A release build has none.
//!
//! The environment variable `TEST_FAILPOINT` has `NAME@FILE`. Once the file exists, the first failpoint whose name begins with
//! NAME removes the file and panics.

#[cfg(not(debug_assertions))]
pub(crate) use self::absent::{hit, panicked};
#[cfg(debug_assertions)]
pub(crate) use self::armed::{hit, panicked};

#[cfg(debug_assertions)]
mod armed {
    use std::{sync::LazyLock, time::Duration};

    /// How often a task looks for the file.
    const LOOK_INTERVAL: Duration = Duration::from_millis(10);

    static ARMED: LazyLock<Option<(String, String)>> = LazyLock::new(|| {
        let text = std::env::var("TEST_FAILPOINT").ok()?;
        text.split_once('@').map(|(name, file)| (name.to_owned(), file.to_owned()))
    });

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

    pub(crate) async fn panicked(_name: &str) {
        std::future::pending::<()>().await;
    }
}

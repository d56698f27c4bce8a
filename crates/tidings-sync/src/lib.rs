//! State that the threads of a Tidings hub share: named locks, and histograms of durations. Internal to the crates of Tidings.
//!
//! Each lock has a row of [`locks!`], which lists the locks that a thread may take while it holds this one. A debug build
//! panics if a thread breaks that order, even without contention. A release build has the plain locks of the standard
//! library. `docs/locks.md` has the rows of all crates.
//!
//! ```
//! mod lock {
//!     tidings_sync::locks! {
//!         /// `Journal::file`.
//!         FILE => [LENGTH];
//!         /// `Journal::length`.
//!         LENGTH => [];
//!     }
//! }
//!
//! let (file, length) = (tidings_sync::Mutex::new(&lock::FILE, ()), tidings_sync::Mutex::new(&lock::LENGTH, 7));
//! let _file = file.lock();
//! assert_eq!(*length.lock(), 7);
//! ```
//!
//! With the feature `model`, tests run code over these locks in `loom`, which tries the orders in which threads can run.

mod guard;
mod held;
mod histogram;
mod locks;
#[cfg(feature = "model")]
pub mod model;
mod order;

pub use self::held::assert_none_held;
pub use self::histogram::{Histogram, Timing};
pub use self::locks::{AtomicBool, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use self::order::Lock;

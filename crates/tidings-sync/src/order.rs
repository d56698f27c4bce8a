//! Rows of locks: their names and their order.

/// A lock with its name, and the locks that a thread may take while it holds this one. A release build keeps neither.
#[derive(Debug)]
pub struct Lock {
    #[cfg(debug_assertions)]
    name: &'static str,
    #[cfg(debug_assertions)]
    inner: &'static [&'static Lock],
}

impl Lock {
    /// Makes a row; call [`locks!`](crate::locks) instead.
    #[doc(hidden)]
    #[cfg_attr(not(debug_assertions), allow(unused_variables))]
    pub const fn new(name: &'static str, inner: &'static [&'static Self]) -> Self {
        Self {
            #[cfg(debug_assertions)]
            name,
            #[cfg(debug_assertions)]
            inner,
        }
    }

    /// Returns the name of the lock, in debug builds only.
    #[cfg(debug_assertions)]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the locks that a thread may take while it holds this one, in debug builds only.
    #[cfg(debug_assertions)]
    pub fn inner(&self) -> &'static [&'static Self] {
        self.inner
    }
}

/// Makes a [`Lock`](crate::Lock) of each row `NAME => [locks that may be taken while it is held];`, and `ALL` of them.
///
/// Rows go from the outermost lock to the innermost. A row may name rows of other modules and crates by path.
#[macro_export]
macro_rules! locks {
    ($($(#[$doc:meta])* $lock:ident => [$($inner:path),* $(,)?];)*) => {
        $(
            $(#[$doc])*
            #[allow(unreachable_pub)]
            pub static $lock: $crate::Lock = $crate::Lock::new(stringify!($lock), &[$(&$inner),*]);
        )*

        /// Every row, from the outermost lock to the innermost.
        #[allow(dead_code, unreachable_pub, reason = "the test of docs/locks.md reads it")]
        pub static ALL: &[&$crate::Lock] = &[$(&$lock),*];
    };
}

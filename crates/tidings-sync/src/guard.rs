//! Guards of locks as references to the values that they guard.

/// Implements `Deref`, and after `mut` also `DerefMut`, for a guard whose field `inner` refers to the value.
macro_rules! deref {
    (mut $guard:ident) => {
        deref!($guard);

        impl<T> std::ops::DerefMut for $guard<'_, T> {
            fn deref_mut(&mut self) -> &mut T {
                &mut self.inner
            }
        }
    };
    ($guard:ident) => {
        impl<T> std::ops::Deref for $guard<'_, T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.inner
            }
        }
    };
}

pub(crate) use deref;

//! Words on the wire.

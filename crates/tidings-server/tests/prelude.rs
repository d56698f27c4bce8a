//! Names that most tests use.

pub(crate) use serde_json::{Value, json};
pub(crate) use tidings_testkit::*;

pub(crate) use crate::{clients::*, hub::*, tokens::*, transports::*};

//! What attackers try with credentials, and what comes of it.

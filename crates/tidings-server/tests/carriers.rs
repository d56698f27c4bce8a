//! Where credentials are carried: which carrier decides, and what each takes.

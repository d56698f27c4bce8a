//! The forms of a row: of a section that is always there, and of those that need not be.

/// One row. The name is the field, so the two cannot drift apart.
macro_rules! setting {
    ($($field:ident).+, $form:ident, $bound:expr, $example:literal, $doc:literal) => {
        setting!(AcceptedFrom::FileOrEnvironment, $($field).+, $form, $bound, $example, $doc)
    };
    ($given:expr, $($field:ident).+, $form:ident, $bound:expr, $example:literal, $doc:literal) => {
        Setting {
            name: dotted!($($field).+),
            given: $given,
            form: <$form as ValueFormat>::NAME,
            bound: $bound,
            example: $example,
            doc: $doc,
            read: |settings, raw| {
                settings.$($field).+ = <$form as ValueFormat>::read(raw)?;
                Ok(())
            },
            show: |settings| <$form as ValueFormat>::show(&settings.$($field).+),
            differs: |one, other| one.$($field).+ != other.$($field).+,
        }
    };
}

/// A row of a section that need not be there: the first of its settings makes it, and without it defaults are shown.
macro_rules! optional {
    ($section:ident, $given:expr, $name:literal, $field:ident, $form:ident, $bound:expr, $example:literal, $doc:literal) => {
        Setting {
            name: concat!(stringify!($section), ".", $name),
            given: $given,
            form: <$form as ValueFormat>::NAME,
            bound: $bound,
            example: $example,
            doc: $doc,
            read: |settings, raw| {
                let section = settings.$section.get_or_insert_default();
                section.$field = <$form as ValueFormat>::read(raw)?;
                Ok(())
            },
            show: |settings| {
                let none = Default::default();
                <$form as ValueFormat>::show(&settings.$section.as_ref().unwrap_or(&none).$field)
            },
            differs: |one, other| {
                one.$section.as_ref().map(|it| &it.$field) != other.$section.as_ref().map(|it| &it.$field)
            },
        }
    };
}

/// A row of `[auth]`. Whoever gives one, even a bad one, wants a hub that asks for credentials. An open hub shows defaults.
macro_rules! auth {
    ($given:expr, $name:literal, $($rest:tt)+) => {
        optional!(auth, $given, $name, $($rest)+)
    };
    ($name:literal, $($rest:tt)+) => {
        optional!(auth, AcceptedFrom::FileOrEnvironment, $name, $($rest)+)
    };
}

/// A row of `[server.tls]`. A file that is not given is an empty path, which `Settings::faults` finds beside one that is.
macro_rules! tls {
    ($name:literal, $field:ident, $example:literal, $doc:literal) => {
        Setting {
            name: concat!("server.tls.", $name),
            given: AcceptedFrom::FileOrEnvironment,
            form: <OptionalFileFormat as ValueFormat>::NAME,
            bound: || "both files or neither".into(),
            example: $example,
            doc: $doc,
            read: |settings, raw| {
                let file = <OptionalFileFormat as ValueFormat>::read(raw)?.unwrap_or_default();
                let tls = settings.server.tls.take();
                let mut tls = tls.unwrap_or(TlsSettings { cert_file: "".into(), key_file: "".into() });
                tls.$field = file;
                let some = [&tls.cert_file, &tls.key_file].iter().any(|path| !path.as_os_str().is_empty());
                settings.server.tls = some.then_some(tls);
                Ok(())
            },
            show: |settings| {
                let path = settings.server.tls.as_ref().map(|tls| tls.$field.clone());
                <OptionalFileFormat as ValueFormat>::show(&path.filter(|path| !path.as_os_str().is_empty()))
            },
            differs: |one, other| {
                one.server.tls.as_ref().map(|tls| &tls.$field)
                    != other.server.tls.as_ref().map(|tls| &tls.$field)
            },
        }
    };
}

/// A row of `[redis]`. Without a URL the rest has no effect: it is kept until all sources were read, and then let go.
macro_rules! redis {
    ($($row:tt)+) => {
        optional!(redis, AcceptedFrom::FileOrEnvironment, $($row)+)
    };
}

macro_rules! dotted {
    ($only:ident) => {
        stringify!($only)
    };
    ($section:ident . $key:ident) => {
        concat!(stringify!($section), ".", stringify!($key))
    };
}

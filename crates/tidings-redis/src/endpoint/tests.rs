use super::*;

fn read(url: &str, files: &TlsFiles) -> Result<RedisEndpoint, EndpointError> {
    RedisEndpoint::read(&RedisUrl::new(url), files)
}

#[test]
fn certificate_has_to_name_what_the_url_names() {
    let server = read("rediss://ann:p%40ss@redis.example:7000,[::1]/3", &TlsFiles::default()).unwrap();
    let names: Vec<_> = server.address.hosts.iter().map(|host| name(host).unwrap()).collect();
    assert_eq!(names[0], ServerName::try_from("redis.example").unwrap());
    assert!(matches!(names[1], ServerName::IpAddress(_)));
    assert!(server.tls.is_some());
    assert!(read("redis://a", &TlsFiles::default()).unwrap().tls.is_none());
}

#[test]
fn a_bad_url_is_refused_without_telling_its_password() {
    for url in [
        "http://host",
        "redis://",
        "redis://:secret@host:99999",
        "redis://:secret@host/x",
        "redis://:secret@host?db=1",
        "redis://secret@host",
        "redis+sentinel://host/s?password=secret",
    ] {
        let error = read(url, &TlsFiles::default()).expect_err(url);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn a_file_without_authorities_is_refused_by_name() {
    for file in ["Cargo.toml", "no.pem"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let files = TlsFiles { ca: Some(path.clone()), client: None };
        let error = read("rediss://host", &files).expect_err(file);
        assert!(matches!(&error, EndpointError::File(TlsFile::Ca, fault) if fault.contains(file)), "{error}");
        let files = TlsFiles { ca: None, client: Some((path.clone(), path)) };
        let error = read("rediss://host", &files).expect_err(file);
        assert!(
            matches!(&error, EndpointError::File(TlsFile::Certificate, fault) if fault.contains(file)),
            "{error}"
        );
    }
}

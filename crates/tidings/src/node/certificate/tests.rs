use std::path::PathBuf;

use tidings_testkit::TempDirectory;

use super::*;
use crate::config::TlsSettings;
use crate::node::serve::tests::{memory_settings, tls_file};

/// Puts a file of the tests in the place of one that the hub reads.
fn put(directory: &TempDirectory, from: &str, to: &str) -> PathBuf {
    directory.copy(&tls_file(from), to)
}

#[tokio::test]
async fn mismatched_pair_is_reported_once_and_a_matching_one_is_loaded() {
    let directory = TempDirectory::create();
    let cert_file = put(&directory, "first.cert.pem", "cert");
    let key_file = put(&directory, "first.key.pem", "key");
    let settings = memory_settings(Some(TlsSettings { cert_file, key_file }));
    let hub = Hub::builder().settings(settings).build().await.unwrap();
    let digest = || hub.inner().tls.as_ref().unwrap().read().digest;
    let first = digest();
    let mut reported = None;
    let mut check = || new_fault(reload(&hub), &mut reported);

    assert_eq!(check(), None);
    put(&directory, "second.cert.pem", "cert");
    let fault = check().unwrap();
    assert!(fault.contains("server.tls.key_file") && fault.contains("not the key"), "{fault}");
    assert_eq!((check(), digest()), (None, first));
    std::fs::remove_file(directory.path().join("key")).unwrap();
    assert!(check().unwrap().contains("No such file"));
    put(&directory, "second.key.pem", "key");
    assert_eq!(check(), None);
    assert_ne!(digest(), first);

    // A fault that returns after its repair is reported again.
    put(&directory, "first.key.pem", "key");
    assert_eq!(check(), Some(fault));
    hub.shutdown().await;
}

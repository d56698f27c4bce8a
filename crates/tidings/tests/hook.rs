//! Hooks of a host application: a closure or a struct, which the hub asks before a client reads or publishes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings::config::{AuthSettings, Settings};
use tidings::{AccessRequest, Action, Delivery, Hook, HookError, Hub, Publication, Start};
use tokio::time::timeout;

use crate::served_hub::{DEADLINE, ServedHub, channel, memory_settings};

/// A hub in memory whose channels anonymous clients may read if the hook allows it.
fn settings() -> Settings {
    let auth = AuthSettings {
        anonymous_subscribe: vec!["**".to_owned()],
        hook_ttl: Duration::ZERO,
        hook_timeout: Duration::from_millis(500),
        hook_recheck: Duration::from_millis(100),
        ..AuthSettings::default()
    };
    Settings { auth: Some(auth), ..memory_settings() }
}

async fn start(settings: Settings, hook: impl Hook) -> ServedHub {
    ServedHub::start(Hub::builder().settings(settings).hook(hook).build().await.unwrap())
}

async fn status_of(served: &ServedHub, method: &str, path: &str) -> u16 {
    served.request(method, path).await.status().await
}

#[tokio::test]
async fn closure_is_asked_about_clients_and_not_about_the_host_application() {
    let requests: Arc<Mutex<Vec<AccessRequest>>> = Arc::default();
    let kept = requests.clone();
    let served = start(settings(), move |request: AccessRequest| {
        kept.lock().unwrap().push(request.clone());
        async move { Ok::<_, HookError>(request.channel.starts_with("open")) }
    })
    .await;
    let mut own = served.hub.subscribe(["closed"], Start::Now).unwrap();
    served.hub.publish(Publication::new(channel("closed"), "x")).await.unwrap();
    assert!(matches!(timeout(DEADLINE, own.next()).await, Ok(Some(Delivery::Event(_)))));
    assert_eq!(*requests.lock().unwrap(), []);
    let request = |channel: &str, is_pattern| AccessRequest {
        principal: None,
        action: Action::Subscribe,
        channel: channel.to_owned(),
        is_pattern,
    };
    for (path, status, expected) in [
        ("/api/v1/events/open.a", 200, request("open.a", false)),
        ("/api/v1/events/open.*", 200, request("open.*", true)),
        ("/api/v1/channels/closed/events", 403, request("closed", false)),
    ] {
        requests.lock().unwrap().clear();
        assert_eq!(status_of(&served, "GET", path).await, status, "{path}");
        assert_eq!(requests.lock().unwrap().first(), Some(&expected), "{path}");
    }
    // The hub checks patterns first: anonymous clients may not publish.
    requests.lock().unwrap().clear();
    assert_eq!(status_of(&served, "POST", "/api/v1/events/open").await, 401);
    let publishes = requests.lock().unwrap().iter().any(|request| request.action == Action::Publish);
    assert!(!publishes);
    drop(own);
    served.shut_down().await;
}

/// A hook whose answers a test switches.
struct SwitchedHook {
    allows: Arc<AtomicBool>,
    is_available: Arc<AtomicBool>,
}

impl Hook for SwitchedHook {
    async fn allow(&self, _: &AccessRequest) -> Result<bool, HookError> {
        if !self.is_available.load(Ordering::SeqCst) {
            return Err(HookError::new("the hook is not available"));
        }
        Ok(self.allows.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn hook_that_denies_ends_the_stream_and_one_that_fails_does_not() {
    let (allows, is_available) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let hook = SwitchedHook { allows: allows.clone(), is_available: is_available.clone() };
    let served = start(settings(), hook).await;
    let mut stream = served.request("GET", "/api/v1/events/a?position=id").await;
    stream.wait_for("id: ").await;
    is_available.store(false, Ordering::SeqCst);
    assert_eq!(status_of(&served, "GET", "/api/v1/events/a").await, 503);
    served.hub.publish(Publication::new(channel("a"), "still")).await.unwrap();
    stream.wait_for("data: still\n").await;
    allows.store(false, Ordering::SeqCst);
    is_available.store(true, Ordering::SeqCst);
    stream.wait_for("data: {\"reason\":\"revoked\",\"reconnect\":false}\n").await;
    assert_eq!(status_of(&served, "GET", "/api/v1/events/a").await, 403);
    served.shut_down().await;
}

#[tokio::test]
async fn hook_that_panics_or_never_answers_gives_503() {
    let served = start(settings(), |request: AccessRequest| async move {
        assert_ne!(request.channel, "panic");
        if request.channel == "never" {
            std::future::pending::<()>().await;
        }
        Ok::<_, HookError>(true)
    })
    .await;
    for (name, status) in [("panic", 503), ("never", 503), ("fine", 200), ("panic", 503)] {
        assert_eq!(status_of(&served, "GET", &format!("/api/v1/events/{name}")).await, status, "{name}");
    }
    served.shut_down().await;
}

#[tokio::test]
async fn open_hub_asks_the_hook_of_its_host_application() {
    let settings = Settings { auth: None, ..settings() };
    let served = start(settings, |request: AccessRequest| async move {
        assert_eq!(request.principal, None);
        Ok::<_, HookError>(request.action == Action::Subscribe)
    })
    .await;
    assert_eq!(status_of(&served, "GET", "/api/v1/events/a").await, 200);
    assert_eq!(status_of(&served, "POST", "/api/v1/events/a").await, 403);
    served.shut_down().await;
}

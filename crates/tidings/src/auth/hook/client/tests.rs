//! One call for equal requests, within the deadline.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{sync::watch, task::JoinSet, time::advance};

use super::*;
use crate::{
    auth::hook::Action,
    metrics::tests::metrics,
    outbound_http::tests::backend::{Reply, StubBackend, answer},
};

/// Timeout that no test reaches.
const LONG: Duration = Duration::from_secs(20);

fn request(channel: &str) -> AccessRequest {
    AccessRequest {
        principal: None,
        action: Action::Subscribe,
        channel: channel.to_owned(),
        is_pattern: false,
    }
}

fn settings(timeout: Duration) -> AuthSettings {
    AuthSettings { hook_timeout: timeout, ..AuthSettings::default() }
}

/// A hook that counts, and says what it is told to.
struct Scripted {
    asked: watch::Sender<usize>,
    script: Box<dyn Fn(usize) -> Step + Send + Sync>,
}

#[derive(Clone)]
enum Step {
    Say(bool),
    Fail,
    Panic,
    Never,
    When(Arc<Semaphore>),
}

impl Scripted {
    fn new(script: impl Fn(usize) -> Step + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { asked: watch::Sender::new(0), script: Box::new(script) })
    }

    fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    async fn asked_times(&self, count: usize) {
        self.asked.subscribe().wait_for(|asked| *asked >= count).await.unwrap();
    }
}

impl Hook for Arc<Scripted> {
    async fn allow(&self, _: &AccessRequest) -> Result<bool, HookError> {
        let before = self.asked();
        self.asked.send_modify(|asked| *asked += 1);
        match (self.script)(before) {
            Step::Say(allowed) => Ok(allowed),
            Step::Fail => Err(HookError::new("out of order")),
            Step::Panic => panic!("the hook of a test panics"),
            Step::Never => std::future::pending().await,
            Step::When(places) => {
                places.acquire().await?.forget();
                Ok(true)
            }
        }
    }
}

fn hook_client(hook: &Arc<Scripted>, timeout: Duration) -> Arc<HookClient> {
    Arc::new(HookClient::of(hook.clone(), &settings(timeout), metrics()))
}

/// Starts `count` callers of one question.
fn callers(hook_client: &Arc<HookClient>, count: usize) -> JoinSet<Result<bool, Error>> {
    let mut callers = JoinSet::new();
    for _ in 0..count {
        let hook_client = hook_client.clone();
        callers.spawn(async move { hook_client.allow(&request("a")).await });
    }
    callers
}

fn assert_left_nothing(hook_client: &HookClient) {
    assert!(hook_client.state().flights.is_empty());
    assert_eq!(hook_client.calls.available_permits(), CALLS_MAX);
}

#[tokio::test(start_paused = true)]
async fn yes_and_no_are_kept_for_their_time_and_questions_apart() {
    for said in [true, false] {
        let hook = Scripted::new(move |_| Step::Say(said));
        let hook_client = hook_client(&hook, LONG);
        let other = AccessRequest { action: Action::Publish, ..request("a") };
        for (wait, asked) in [(0, 1), (9_999, 1), (1, 3), (0, 3)] {
            advance(Duration::from_millis(wait)).await;
            assert_eq!(hook_client.allow(&request("a")).await.unwrap(), said);
            assert_eq!(hook_client.recheck(&request("a")).await, Some(said));
            if asked > 1 {
                assert_eq!(hook_client.allow(&other).await.unwrap(), said);
            }
            assert_eq!(hook.asked(), asked);
        }
        assert_left_nothing(&hook_client);
    }
}

#[tokio::test]
async fn absence_of_an_answer_is_not_kept_and_says_when_to_ask_again() {
    let hook = Scripted::new(|before| if before == 0 { Step::Fail } else { Step::Say(true) });
    let hook_client = hook_client(&hook, LONG);
    let fault = hook_client.allow(&request("a")).await.unwrap_err();
    assert_eq!(fault.code(), Code::HookUnavailable);
    assert_eq!(fault.retry_after_hint(), Some(RETRY_AFTER));
    assert_eq!(std::error::Error::source(&fault).unwrap().to_string(), "out of order");
    assert!(hook_client.allow(&request("a")).await.unwrap());
    assert_left_nothing(&hook_client);
}

#[tokio::test]
async fn recheck_without_an_answer_takes_nothing_away() {
    let hook_client = hook_client(&Scripted::new(|_| Step::Fail), LONG);
    assert_eq!(hook_client.recheck(&request("a")).await, None);
}

#[tokio::test]
async fn hundred_callers_at_once_are_one_request() {
    let places = Arc::new(Semaphore::new(0));
    let reply = Reply::When(places.clone(), answer("200 OK", "", r#"{"allow":true}"#));
    let backend = StubBackend::always(reply).await;
    let metrics = metrics();
    let hook_client = Arc::new(HookClient::http(&backend.url(), &settings(LONG), metrics).unwrap());
    let callers = callers(&hook_client, 100);
    backend.requested(1).await;
    places.add_permits(1);
    let answers = callers.join_all().await;
    assert!(answers.into_iter().all(|answer| answer.unwrap()));
    assert_eq!((backend.requests().len(), backend.connections()), (1, 1));
    assert_left_nothing(&hook_client);
}

#[tokio::test]
async fn hundred_callers_share_the_absence_of_an_answer() {
    let places = Arc::new(Semaphore::new(0));
    let backend = StubBackend::always(Reply::When(places.clone(), answer("500 Oops", "", ""))).await;
    let metrics = metrics();
    let hook_client = Arc::new(HookClient::http(&backend.url(), &settings(LONG), metrics).unwrap());
    let callers = callers(&hook_client, 100);
    backend.requested(1).await;
    places.add_permits(1);
    for answer in callers.join_all().await {
        let fault = answer.unwrap_err();
        let cause = std::error::Error::source(&fault).unwrap().to_string();
        assert_eq!(cause, "the hook answered 500 Internal Server Error");
        assert!(!format!("{fault} {cause}").contains(&backend.address.to_string()));
    }
    assert_eq!(backend.requests().len(), 1);
    assert_left_nothing(&hook_client);
}

#[tokio::test]
async fn caller_that_leaves_does_not_take_the_answer_along() {
    let places = Arc::new(Semaphore::new(0));
    let hook = Scripted::new({
        let places = places.clone();
        move |before| if before == 0 { Step::Never } else { Step::When(places.clone()) }
    });
    let hook_client = hook_client(&hook, LONG);
    let mut first = callers(&hook_client, 1);
    hook.asked_times(1).await;
    let others = callers(&hook_client, 10);
    first.shutdown().await;
    // One of the others asks in its place.
    hook.asked_times(2).await;
    places.add_permits(1);
    assert!(others.join_all().await.into_iter().all(|answer| answer.unwrap()));
    assert_eq!(hook.asked(), 2);
    assert_left_nothing(&hook_client);
}

#[tokio::test]
async fn flight_ends_with_the_last_who_waits() {
    let hook = Scripted::new(|_| Step::Never);
    let hook_client = hook_client(&hook, LONG);
    let mut callers = callers(&hook_client, 10);
    hook.asked_times(1).await;
    callers.shutdown().await;
    assert_left_nothing(&hook_client);
}

#[tokio::test(start_paused = true)]
async fn deadline_holds_for_a_hook_in_this_process() {
    let hook = Scripted::new(|_| Step::Never);
    let hook_client = hook_client(&hook, Duration::from_secs(2));
    let began = Instant::now();
    for answer in callers(&hook_client, 10).join_all().await {
        let fault = answer.unwrap_err();
        assert_eq!(fault.code(), Code::HookUnavailable);
        assert_eq!(std::error::Error::source(&fault).unwrap().to_string(), "no answer within 2s");
    }
    assert_eq!(began.elapsed().as_secs(), 2);
    assert_eq!(hook.asked(), 1);
    assert_left_nothing(&hook_client);
}

#[tokio::test(start_paused = true)]
async fn more_questions_than_have_room_wait_within_their_deadline() {
    let places = Arc::new(Semaphore::new(0));
    let hook = Scripted::new({
        let places = places.clone();
        move |_| Step::When(places.clone())
    });
    let hook_client = hook_client(&hook, Duration::from_secs(2));
    let mut asking = JoinSet::new();
    for channel in 0..CALLS_MAX + 10 {
        let hook_client = hook_client.clone();
        asking.spawn(async move { hook_client.allow(&request(&channel.to_string())).await.ok() });
    }
    hook.asked_times(CALLS_MAX).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(hook.asked(), CALLS_MAX);
    // One answer makes room for one question; the rest run out of time, and are not asked when room comes too late.
    places.add_permits(1);
    hook.asked_times(CALLS_MAX + 1).await;
    let answers = asking.join_all().await;
    assert_eq!(answers.iter().flatten().count(), 1);
    assert_eq!(hook.asked(), CALLS_MAX + 1);
    assert_left_nothing(&hook_client);
}

#[tokio::test]
async fn hook_that_panics_gives_no_answer_and_is_asked_again() {
    let hook = Scripted::new(|before| if before == 0 { Step::Panic } else { Step::Say(true) });
    let hook_client = hook_client(&hook, LONG);
    let fault = hook_client.allow(&request("a")).await.unwrap_err();
    assert_eq!(fault.code(), Code::HookUnavailable);
    assert!(hook_client.allow(&request("a")).await.unwrap());
    assert_left_nothing(&hook_client);
}

#[tokio::test]
async fn closure_that_panics_before_its_future_gives_no_answer() {
    let panics = |request: AccessRequest| {
        assert!(request.is_pattern, "the hook of a test panics");
        std::future::ready(Ok(true))
    };
    let hook_client = HookClient::of(panics, &settings(LONG), metrics());
    assert_eq!(hook_client.recheck(&request("a")).await, None);
}

#[tokio::test]
async fn questions_and_failures_are_counted() {
    let metrics = metrics();
    let count = Arc::new(AtomicUsize::new(0));
    let hook = move |_| {
        let before = count.fetch_add(1, Ordering::SeqCst);
        async move { if before == 0 { Err(HookError::new("out of order")) } else { Ok(true) } }
    };
    let hook_client = HookClient::of(hook, &settings(LONG), metrics.clone());
    for _ in 0..3 {
        let _ = hook_client.allow(&request("a")).await;
    }
    let text = metrics.text(0, crate::metrics::LogGauges::default());
    assert!(text.contains("tidings_hook_requests_total 2\n"), "{text}");
    assert!(text.contains("tidings_hook_failures_total 1\n"), "{text}");
}

#[test]
fn url_that_is_none_is_a_fault_of_the_setting() {
    assert!(HookClient::http("backend.example", &settings(LONG), metrics()).is_err());
}

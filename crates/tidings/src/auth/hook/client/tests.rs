//! One call for equal requests, within the deadline.

use std::sync::Arc;

use tokio::{sync::watch, task::JoinSet, time::advance};

use super::*;
use crate::auth::hook::Action;
use crate::metrics::tests::metrics;
use crate::outbound_http::tests::backend::{Reply, StubBackend, answer};

/// Timeout that no test reaches.
const LONG: Duration = Duration::from_secs(20);

fn request(channel: &str) -> AccessRequest {
    let channel = channel.to_owned();
    AccessRequest { principal: None, action: Action::Subscribe, channel, is_pattern: false }
}

fn settings(timeout: Duration) -> AuthSettings {
    AuthSettings { hook_timeout: timeout, ..AuthSettings::default() }
}

/// A hook that counts its calls, and answers as scripted.
struct ScriptedHook {
    calls: watch::Sender<usize>,
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

impl ScriptedHook {
    fn new(script: impl Fn(usize) -> Step + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { calls: watch::Sender::new(0), script: Box::new(script) })
    }

    fn calls(&self) -> usize {
        *self.calls.borrow()
    }

    async fn called(&self, count: usize) {
        self.calls.subscribe().wait_for(|calls| *calls >= count).await.unwrap();
    }
}

impl Hook for Arc<ScriptedHook> {
    async fn allow(&self, _: &AccessRequest) -> Result<bool, HookError> {
        let before = self.calls();
        self.calls.send_modify(|calls| *calls += 1);
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

fn hook_client(hook: &Arc<ScriptedHook>, timeout: Duration) -> Arc<HookClient> {
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

/// The cause of an error, for the log.
fn cause_of(fault: &Error) -> String {
    std::error::Error::source(fault).unwrap().to_string()
}

fn assert_left_nothing(hook_client: &HookClient) {
    assert!(hook_client.state().flights.is_empty());
    assert_eq!(hook_client.calls.available_permits(), CALLS_MAX);
}

#[tokio::test(start_paused = true)]
async fn yes_and_no_are_kept_for_their_time_and_questions_apart() {
    for said in [true, false] {
        let hook = ScriptedHook::new(move |_| Step::Say(said));
        let hook_client = hook_client(&hook, LONG);
        let other = AccessRequest { action: Action::Publish, ..request("a") };
        for (wait, calls) in [(0, 1), (9_999, 1), (1, 3), (0, 3)] {
            advance(Duration::from_millis(wait)).await;
            assert_eq!(hook_client.allow(&request("a")).await.unwrap(), said);
            assert_eq!(hook_client.recheck(&request("a")).await, Some(said));
            if calls > 1 {
                assert_eq!(hook_client.allow(&other).await.unwrap(), said);
            }
            assert_eq!(hook.calls(), calls);
        }
        assert_left_nothing(&hook_client);
    }
}

#[tokio::test]
async fn absence_of_an_answer_is_not_kept_and_says_when_to_ask_again() {
    for (first, cause) in [(Step::Fail, "out of order"), (Step::Panic, "the hook panicked")] {
        let hook = ScriptedHook::new(move |before| if before == 0 { first.clone() } else { Step::Say(true) });
        let hook_client = hook_client(&hook, LONG);
        let fault = hook_client.allow(&request("a")).await.unwrap_err();
        assert_eq!((fault.code(), cause_of(&fault).as_str()), (Code::HookUnavailable, cause));
        assert_eq!(fault.retry_after_hint(), Some(RETRY_AFTER), "{cause}");
        assert!(hook_client.allow(&request("a")).await.unwrap(), "{cause}");
        assert_left_nothing(&hook_client);
    }
}

#[tokio::test]
async fn recheck_without_an_answer_takes_nothing_away() {
    let hook_client = hook_client(&ScriptedHook::new(|_| Step::Fail), LONG);
    assert_eq!(hook_client.recheck(&request("a")).await, None);
}

#[tokio::test]
async fn hundred_callers_at_once_are_one_request_and_share_its_outcome() {
    for (reply, expected) in [
        (answer("200 OK", "", r#"{"allow":true}"#), Ok(true)),
        (answer("500 Oops", "", ""), Err("the hook answered 500 Internal Server Error".to_owned())),
    ] {
        let places = Arc::new(Semaphore::new(0));
        let backend = StubBackend::always(Reply::When(places.clone(), reply)).await;
        let hook_client = Arc::new(HookClient::http(&backend.url(), &settings(LONG), metrics()).unwrap());
        let callers = callers(&hook_client, 100);
        backend.requested(1).await;
        places.add_permits(1);
        for outcome in callers.join_all().await {
            if let Err(fault) = &outcome {
                let shown = format!("{fault} {}", cause_of(fault));
                assert!(!shown.contains(&backend.address.to_string()), "{shown}");
            }
            assert_eq!(outcome.map_err(|fault| cause_of(&fault)), expected);
        }
        assert_eq!((backend.requests().len(), backend.connections()), (1, 1));
        assert_left_nothing(&hook_client);
    }
}

#[tokio::test]
async fn caller_that_leaves_does_not_take_the_answer_along() {
    let places = Arc::new(Semaphore::new(0));
    let answer = Step::When(places.clone());
    let hook = ScriptedHook::new(move |before| if before == 0 { Step::Never } else { answer.clone() });
    let hook_client = hook_client(&hook, LONG);
    let mut first = callers(&hook_client, 1);
    hook.called(1).await;
    let others = callers(&hook_client, 10);
    first.shutdown().await;
    // One of the others asks in its place.
    hook.called(2).await;
    places.add_permits(1);
    assert!(others.join_all().await.into_iter().all(|answer| answer.unwrap()));
    assert_eq!(hook.calls(), 2);
    assert_left_nothing(&hook_client);
}

#[tokio::test]
async fn flight_ends_with_the_last_who_waits() {
    let hook = ScriptedHook::new(|_| Step::Never);
    let hook_client = hook_client(&hook, LONG);
    let mut callers = callers(&hook_client, 10);
    hook.called(1).await;
    callers.shutdown().await;
    assert_left_nothing(&hook_client);
}

#[tokio::test(start_paused = true)]
async fn deadline_holds_for_a_hook_in_this_process() {
    let hook = ScriptedHook::new(|_| Step::Never);
    let hook_client = hook_client(&hook, Duration::from_secs(2));
    let began = Instant::now();
    for answer in callers(&hook_client, 10).join_all().await {
        let fault = answer.unwrap_err();
        assert_eq!(fault.code(), Code::HookUnavailable);
        assert_eq!(cause_of(&fault), "no answer within 2s");
    }
    assert_eq!(began.elapsed().as_secs(), 2);
    assert_eq!(hook.calls(), 1);
    assert_left_nothing(&hook_client);
}

#[tokio::test(start_paused = true)]
async fn more_questions_than_have_room_wait_within_their_deadline() {
    let places = Arc::new(Semaphore::new(0));
    let answer = Step::When(places.clone());
    let hook = ScriptedHook::new(move |_| answer.clone());
    let hook_client = hook_client(&hook, Duration::from_secs(2));
    let mut asking = JoinSet::new();
    for channel in 0..CALLS_MAX + 10 {
        let hook_client = hook_client.clone();
        asking.spawn(async move { hook_client.allow(&request(&channel.to_string())).await.ok() });
    }
    hook.called(CALLS_MAX).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(hook.calls(), CALLS_MAX);
    // One answer makes room for one question; the rest run out of time, and are not asked when room comes too late.
    places.add_permits(1);
    hook.called(CALLS_MAX + 1).await;
    let answers = asking.join_all().await;
    assert_eq!(answers.iter().flatten().count(), 1);
    assert_eq!(hook.calls(), CALLS_MAX + 1);
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
async fn requests_and_failures_are_counted() {
    let metrics = metrics();
    let hook = ScriptedHook::new(|before| if before == 0 { Step::Fail } else { Step::Say(true) });
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

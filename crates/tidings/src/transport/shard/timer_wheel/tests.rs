//! Timers are never early, at most one tick late, and never lost.

use proptest::prelude::*;

use super::*;

fn fire(timer_wheel: &mut TimerWheel, now: Instant) -> Vec<(usize, u64)> {
    let mut due = Vec::new();
    timer_wheel.expire(now, &mut due);
    due.sort_unstable();
    due
}

#[test]
fn timer_fires_once_within_a_tick_of_its_time() {
    let begun = Instant::now();
    let mut timer_wheel = TimerWheel::new(begun);
    let due = begun + Duration::from_millis(1000);
    timer_wheel.arm(7, 1, due);
    assert_eq!(fire(&mut timer_wheel, due - Duration::from_millis(1)), []);
    let sleep = timer_wheel.sleep(due).unwrap();
    assert!(sleep <= TICK, "{sleep:?}");
    assert_eq!(fire(&mut timer_wheel, due + sleep), [(7, 1)]);
    assert_eq!((fire(&mut timer_wheel, due + TICK * 4), timer_wheel.sleep(due)), (vec![], None));
}

#[test]
fn an_overdue_timer_fires_at_the_next_tick() {
    let begun = Instant::now();
    let mut timer_wheel = TimerWheel::new(begun);
    let now = begun + Duration::from_secs(10);
    assert_eq!(fire(&mut timer_wheel, now), []);
    timer_wheel.arm(1, 1, begun);
    assert_eq!(fire(&mut timer_wheel, now + TICK), [(1, 1)]);
}

#[test]
fn what_is_due_after_a_turn_of_the_wheel_is_looked_at_before() {
    let begun = Instant::now();
    let mut timer_wheel = TimerWheel::new(begun);
    let due = begun + TICK * (3 * TICKS as u32);
    timer_wheel.arm(1, 1, due);
    let mut looks = 0;
    let mut now = begun;
    while now < due {
        now += timer_wheel.sleep(now).unwrap();
        for (key, timer) in fire(&mut timer_wheel, now) {
            looks += 1;
            timer_wheel.arm(key, timer, due);
        }
    }
    assert!((3..=5).contains(&looks), "{looks}");
}

proptest! {
    #[test]
    fn every_timer_fires_in_its_tick(
        timers in proptest::collection::vec(0_u64..60_000, 1..100),
        steps in proptest::collection::vec(1_u64..20_000, 1..50),
    ) {
        let begun = Instant::now();
        let mut timer_wheel = TimerWheel::new(begun);
        let at = |millis: u64| begun + Duration::from_millis(millis);
        for (key, due) in timers.iter().enumerate() {
            timer_wheel.arm(key, key as u64, at(*due));
        }
        let mut fired = vec![false; timers.len()];
        let mut now = 0;
        for step in steps.into_iter().chain([200_000]) {
            now += step;
            let mut due = Vec::new();
            timer_wheel.expire(at(now), &mut due);
            for (key, timer) in due {
                prop_assert_eq!(key as u64, timer);
                prop_assert!(timers[key] <= now, "early");
                prop_assert!(!std::mem::replace(&mut fired[key], true), "twice");
            }
            for (key, due) in timers.iter().enumerate() {
                let is_late = *due + 2 * (TICK.as_millis() as u64) < now;
                prop_assert!(fired[key] || !is_late, "forgotten: due at {}, now {}", due, now);
            }
        }
    }
}

//! What may be asked for, what comes next, when a roll-out halts.

use contract::TenantStatus;
use contract::operator::fleet::Selection;
use contract::operator::rollout::{RolloutRequest, RolloutState, RolloutTally, Wave};

use super::{Decision, Look, check, decide};

fn tally(pending: u64, done: u64, failed: u64) -> RolloutTally {
    RolloutTally {
        pending,
        done,
        failed,
        ..RolloutTally::default()
    }
}

fn look(waves: Vec<Wave>, tallies: Vec<RolloutTally>) -> Look {
    Look {
        state: RolloutState::Running,
        forgiven: 0,
        halt_share: 0.05,
        waves,
        current: 0,
        tallies,
    }
}

fn canaries() -> Vec<Wave> {
    vec![
        Wave::Tenants(vec!["t_one".parse().unwrap()]),
        Wave::Percent(10),
    ]
}

#[test]
fn waves_come_one_after_the_other() {
    let cases = [
        (
            vec![tally(1, 0, 0), tally(5, 0, 0), tally(9, 0, 0)],
            Decision::Work(0),
        ),
        (
            vec![tally(0, 1, 0), tally(5, 0, 0), tally(9, 0, 0)],
            Decision::Work(1),
        ),
        (
            vec![tally(0, 1, 0), tally(0, 0, 0), tally(9, 0, 0)],
            Decision::Work(2),
        ),
        (
            vec![tally(0, 1, 0), tally(0, 5, 0), tally(0, 9, 0)],
            Decision::Finish,
        ),
        (vec![], Decision::Finish),
    ];
    for (tallies, wanted) in cases {
        assert_eq!(
            decide(&look(canaries(), tallies.clone())),
            wanted,
            "{tallies:?}"
        );
    }
}

#[test]
fn a_wave_is_open_while_one_of_it_runs() {
    let mut running = tally(0, 4, 0);
    running.running = 1;
    let look = look(vec![], vec![running]);
    assert_eq!(decide(&look), Decision::Work(0));
}

#[test]
fn one_failed_canary_halts() {
    let mut look = look(
        canaries(),
        vec![tally(0, 4, 1), tally(90, 0, 0), tally(9, 0, 0)],
    );
    assert!(matches!(decide(&look), Decision::Halt(_)));
    look.forgiven = 1;
    assert_eq!(decide(&look), Decision::Work(1));
}

#[test]
fn one_poisoned_tenant_elsewhere_halts_nothing() {
    let mut look = look(
        canaries(),
        vec![tally(0, 1, 0), tally(5, 1, 1), tally(90, 0, 0)],
    );
    look.current = 1;
    assert_eq!(decide(&look), Decision::Work(1));
    look.tallies[1] = tally(5, 1, 2);
    assert_eq!(decide(&look), Decision::Work(1));
    look.tallies[1] = tally(5, 1, 3);
    assert!(matches!(decide(&look), Decision::Halt(_)));
}

#[test]
fn failures_past_the_share_halt_until_they_are_forgiven() {
    let mut look = look(vec![], vec![tally(100, 57, 3)]);
    assert_eq!(decide(&look), Decision::Work(0));
    look.tallies[0] = tally(100, 56, 3);
    assert!(matches!(decide(&look), Decision::Halt(_)));
    look.forgiven = 3;
    assert_eq!(decide(&look), Decision::Work(0));
    look.tallies[0] = tally(100, 56, 6);
    assert!(matches!(decide(&look), Decision::Halt(_)));
}

#[test]
fn a_share_holds_in_a_small_fleet_and_at_the_beginning_of_a_large_one() {
    for (share, tried, halts) in [
        (0.0, tally(500, 0, 1), true),
        (0.0, tally(0, 2, 1), true),
        (0.1, tally(0, 8, 2), true),
        (0.1, tally(0, 9, 1), false),
        (0.1, tally(7, 1, 2), true),
        (0.1, tally(500, 0, 2), false),
        (0.1, tally(500, 0, 3), true),
        (0.1, tally(500, 27, 3), false),
        (1.0, tally(0, 0, 9), false),
    ] {
        let mut look = look(vec![], vec![tried]);
        look.halt_share = share;
        let decided = decide(&look);
        assert_eq!(matches!(decided, Decision::Halt(_)), halts, "{look:?}");
    }
}

#[test]
fn what_is_past_its_share_is_over_when_an_operator_says_so() {
    let mut look = look(vec![], vec![tally(0, 1, 9)]);
    assert!(matches!(decide(&look), Decision::Halt(_)));
    look.forgiven = 9;
    assert_eq!(decide(&look), Decision::Finish);
}

#[test]
fn what_an_operator_said_goes_first() {
    let mut look = look(vec![], vec![tally(5, 0, 0)]);
    for (state, goes_on) in [
        (RolloutState::Paused, false),
        (RolloutState::Halted, false),
        (RolloutState::Running, true),
    ] {
        look.state = state;
        assert_eq!(decide(&look) == Decision::Work(0), goes_on, "{state:?}");
        assert_ne!(decide(&look), Decision::Finish, "{state:?}");
    }
    look.state = RolloutState::Aborted;
    assert_eq!(decide(&look), Decision::Finish);
}

#[test]
fn senseless_requests_are_refused() {
    let with = |change: &dyn Fn(&mut RolloutRequest)| {
        let mut request = RolloutRequest::default();
        change(&mut request);
        check(&request).is_ok()
    };
    assert!(with(&|_| {}));
    assert!(with(&|request| request.waves = canaries()));
    assert!(with(&|request| request.halt_share = 0.0));
    assert!(!with(&|request| request.title = "x".repeat(101)));
    assert!(!with(&|request| request.title = "a\nb".to_owned()));
    assert!(!with(&|request| request.concurrency = 0));
    assert!(!with(&|request| request.concurrency = 65));
    assert!(!with(&|request| request.halt_share = f64::NAN));
    assert!(!with(&|request| request.halt_share = 1.1));
    assert!(!with(&|request| request.waves = vec![Wave::Percent(0)]));
    assert!(!with(&|request| request.waves = vec![Wave::Percent(101)]));
    assert!(!with(&|request| request.waves = vec![Wave::Tenants(vec![])]));
    assert!(!with(&|request| request.waves = vec![Wave::Percent(5); 21]));
    assert!(!with(&|request| request.filter = Selection {
        status: Some(TenantStatus::Deleted),
        ..Selection::default()
    }));
}

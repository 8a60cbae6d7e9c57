//! How calls grow and shrink, and who goes into the next one.

use std::time::Duration;

use contract::SchemaVersions;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{Call, Line, MOST, Pace, QUICK};
use crate::rollouts::store::work::Turn;

fn call(tenants: usize, done: usize, milliseconds: u64) -> Call {
    Call {
        tenants,
        done,
        took: Duration::from_millis(milliseconds),
    }
}

#[test]
fn quick_migrations_share_calls_of_a_fifth_of_a_second_and_slow_ones_do_not() {
    for (before, call, after) in [
        // One at first; twice as many each time, for as long as they fit.
        (1, call(1, 1, 10), 2),
        (2, call(2, 2, 20), 4),
        (8, call(8, 8, 80), 16),
        (16, call(16, 16, 160), 16),
        (16, call(16, 16, 0), 16),
        (8, call(8, 8, 160), 10),
        (10, call(10, 10, 400), 5),
        (4, call(4, 4, 200), 4),
        // The last ones of a wave say nothing against it.
        (8, call(1, 1, 10), 16),
        // Slow.
        (16, call(4, 4, 204), 1),
        (1, call(1, 1, 60_000), 1),
        // Somebody failed or was left.
        (16, call(1, 0, 10), 1),
        (16, call(16, 15, 150), 1),
        (2, call(2, 1, 5), 1),
        (2, call(2, 0, 5), 1),
    ] {
        assert_eq!(Pace(before).after(&call), Pace(after), "{before} {call:?}");
    }
}

fn turn(number: usize, attempts: u32) -> Turn {
    Turn {
        tenant: format!("t_n{number}").parse().unwrap(),
        cluster: "main".parse().unwrap(),
        copy: 1,
        versions: SchemaVersions::new(),
        attempts,
        alone: false,
    }
}

fn line(at_once: usize, pace: usize, attempts: &[u32]) -> Line {
    let mut line = Line::new(at_once);
    line.pace = Pace(pace);
    let turns = attempts.iter().enumerate();
    line.join(turns.map(|(number, attempts)| turn(number, *attempts)));
    line
}

fn calls(mut line: Line) -> Vec<usize> {
    std::iter::from_fn(|| line.next().map(|turns| turns.len())).collect()
}

#[test]
fn the_last_turns_are_shared_out_and_those_tried_in_vain_go_alone() {
    assert_eq!(calls(line(2, 4, &[0; 12])), [4, 4, 2, 1, 1]);
    assert_eq!(calls(line(8, 16, &[0; 8])), [1; 8]);
    assert_eq!(calls(line(1, 4, &[0, 0, 0, 1, 1])), [3, 1, 1]);
    assert_eq!(calls(line(1, 4, &[1, 0, 0])), [1, 2]);
    assert_eq!(calls(line(4, 4, &[])), [0; 0]);
}

#[test]
fn who_had_no_turn_has_the_next_one_and_alone() {
    let mut line = line(1, 4, &[0; 6]);
    let mut turns = line.next().unwrap();
    let left = turns.split_off(1);
    line.learn(&call(4, 1, 5), left);
    let order: Vec<Vec<String>> = std::iter::from_fn(|| line.next())
        .map(|turns| turns.iter().map(|turn| turn.tenant.to_string()).collect())
        .collect();
    assert_eq!(order[0], ["t_n1"]);
    assert_eq!(order.concat(), ["t_n1", "t_n2", "t_n3", "t_n4", "t_n5"]);
}

#[test]
fn all_of_a_call_without_an_answer_go_alone_and_first() {
    let mut line = line(1, 4, &[0; 8]);
    let turns = line.next().unwrap();
    line.learn(&call(4, 0, 5), turns);
    // However quick their calls are, and those before them.
    line.pace = Pace(MOST);
    let order: Vec<Vec<String>> = std::iter::from_fn(|| line.next())
        .map(|turns| turns.iter().map(|turn| turn.tenant.to_string()).collect())
        .collect();
    let sizes: Vec<usize> = order.iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 1, 1, 1, 4]);
    assert_eq!(
        order.concat(),
        (0..8).map(|n| format!("t_n{n}")).collect::<Vec<_>>()
    );
}

#[test]
fn after_a_slow_call_no_more_wait_than_calls_are_soon_for() {
    let slow = call(1, 1, 60_000);
    let early = |line: &mut Line, call: &Call| {
        let turns = line.learn(call, Vec::new());
        turns
            .into_iter()
            .map(|turn| turn.tenant.to_string())
            .collect::<Vec<_>>()
    };
    // As many as two takings of turns, which are those at the front.
    let mut ahead = line(4, 16, &[0; 380]);
    let back = early(&mut ahead, &slow);
    assert_eq!((back.len(), back[0].as_str()), (348, "t_n32"));
    assert_eq!(ahead.wants(), None);
    assert!(early(&mut ahead, &slow).is_empty());
    // Neither after a quick one, nor where there are no more than that.
    assert!(early(&mut line(4, 16, &[0; 380]), &call(16, 16, 160)).is_empty());
    assert!(early(&mut line(4, 16, &[0; 32]), &slow).is_empty());
    assert!(early(&mut line(4, 16, &[]), &slow).is_empty());
}

#[test]
fn who_is_to_go_alone_is_kept_for_that() {
    let mut line = line(1, 16, &[0; 40]);
    let turns = line.next().unwrap();
    let early = line.learn(&call(16, 0, 60_000), turns);
    assert_eq!((early.len(), calls(line)), (24, vec![1; 16]));
}

proptest! {
    #[test]
    fn no_call_is_empty_or_above_its_most_and_what_is_slow_goes_alone(
        calls in proptest::collection::vec((1..=MOST, any::<proptest::sample::Index>(), 0_u64..2_000), 1..30)
    ) {
        let mut pace = Pace(1);
        for (tenants, done, milliseconds) in calls {
            let call = call(tenants, done.index(tenants + 1), milliseconds);
            let next = pace.after(&call);
            prop_assert!((1..=MOST).contains(&next.0) && next.0 <= 2 * pace.0);
            if call.done < tenants || call.took / u32::try_from(tenants).unwrap() > QUICK {
                prop_assert_eq!(next, Pace(1));
            }
            pace = next;
        }
    }
}

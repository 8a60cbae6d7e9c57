//! The budget holds whatever is lost, and replicas converge to equal shares.

use proptest::prelude::*;

use super::*;

impl Share {
    /// After the replica said what it keeps to.
    fn confirmed(self, held: u32) -> Self {
        Self { held, ..self }
    }
}

/// A replica as it is: what it keeps to, and the answer that is still under way to it.
#[derive(Debug, Clone, Default)]
struct Replica {
    share: Share,
    keeps_to: u32,
    answer: Option<u32>,
}

#[derive(Debug, Clone)]
enum Event {
    Join,
    /// The replica says what it keeps to and is granted anew.
    Heartbeat(usize),
    /// The answer arrives.
    Answer(usize),
    /// The answer is lost.
    Loss(usize),
    /// The operator changes nothing but the replica goes away, and says so.
    Leave(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => Just(Event::Join),
        6 => any::<usize>().prop_map(Event::Heartbeat),
        6 => any::<usize>().prop_map(Event::Answer),
        2 => any::<usize>().prop_map(Event::Loss),
        1 => any::<usize>().prop_map(Event::Leave),
    ]
}

fn regrant(budget: u32, replicas: &mut [Replica]) {
    let shares: Vec<Share> = replicas.iter().map(|replica| replica.share).collect();
    for (replica, granted) in replicas.iter_mut().zip(grants(budget, &shares)) {
        replica.share = replica.share.regranted(granted);
    }
}

proptest! {
    #[test]
    fn the_budget_is_never_exceeded(
        budget in 1_u32..200,
        events in prop::collection::vec(event(), 1..200),
    ) {
        let mut replicas: Vec<Replica> = Vec::new();
        for event in events {
            match event {
                Event::Join if replicas.len() < 12 => replicas.push(Replica::default()),
                Event::Join => {}
                Event::Heartbeat(which) if !replicas.is_empty() => {
                    let index = which % replicas.len();
                    // A replica sends its next heartbeat when it has given up on the last answer.
                    replicas[index].answer = None;
                    let keeps_to = replicas[index].keeps_to;
                    replicas[index].share = replicas[index].share.confirmed(keeps_to);
                    regrant(budget, &mut replicas);
                    replicas[index].answer = Some(replicas[index].share.granted);
                }
                Event::Answer(which) if !replicas.is_empty() => {
                    let index = which % replicas.len();
                    if let Some(granted) = replicas[index].answer.take() {
                        replicas[index].keeps_to = granted;
                    }
                }
                Event::Loss(which) if !replicas.is_empty() => {
                    let index = which % replicas.len();
                    replicas[index].answer = None;
                }
                Event::Leave(which) if !replicas.is_empty() => {
                    let index = which % replicas.len();
                    replicas.remove(index);
                }
                _ => {}
            }
            let kept: u32 = replicas.iter().map(|replica| replica.keeps_to).sum();
            let reserved: u32 = replicas.iter().map(|replica| replica.share.reserved()).sum();
            prop_assert!(kept <= budget, "{kept} of {budget} in use");
            prop_assert!(reserved <= budget, "{reserved} of {budget} reserved");
        }
    }

    #[test]
    fn shares_become_equal_and_one_stays_free(budget in 1_u32..500, count in 1_usize..10) {
        let mut shares = vec![Share::default(); count];
        for _ in 0..=count {
            for index in 0..count {
                shares[index] = shares[index].confirmed(shares[index].granted);
                let granted = grants(budget, &shares);
                shares = shares.iter().zip(granted).map(|(s, g)| s.regranted(g)).collect();
            }
        }
        let fair = budget / (u32::try_from(count).unwrap() + 1);
        if fair > 0 {
            prop_assert!(shares.iter().all(|share| share.granted == fair), "{shares:?}");
        }
    }
}

#[test]
fn a_starting_replica_gets_the_free_share_at_once() {
    let shares = [
        Share {
            granted: 30,
            held: 30,
        },
        Share::default(),
    ];
    assert_eq!(grants(60, &shares), [20, 20]);
}

#[test]
fn a_smaller_share_counts_when_it_is_confirmed() {
    let first = Share {
        granted: 60,
        held: 60,
    };
    assert_eq!(grants(60, &[first, Share::default()]), [20, 0]);
    let first = first.regranted(20).confirmed(20);
    assert_eq!(grants(60, &[first, Share::default()]), [20, 20]);
}

//! The gate's rules: the budget holds under every order of events, nobody starves, turns go by
//! weight.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::lane::LATE;
use super::state::SPARE_AFTER;
use super::*;

fn tenant(number: usize) -> TenantId {
    format!("t_x{number}").parse().unwrap()
}

fn claim(limit: usize, weight: u32) -> Claim {
    Claim { limit, weight }
}

impl<C> Gate<C> {
    /// As if so much time had passed.
    fn age(&self, by: Duration) {
        let older = |since: &mut Instant| *since = since.checked_sub(by).unwrap();
        for lane in self.state().lanes.values_mut() {
            lane.idle.iter_mut().for_each(|(_, since, _)| older(since));
            lane.waiters.iter_mut().for_each(|(since, _)| older(since));
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Enter(usize),
    GiveBack(usize),
    Break(usize),
    FinishClosing,
    AbandonWait(usize),
    Review,
    SetShare(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..5usize).prop_map(Step::Enter),
        4 => (0..64usize).prop_map(Step::GiveBack),
        1 => (0..64usize).prop_map(Step::Break),
        4 => Just(Step::FinishClosing),
        1 => (0..64usize).prop_map(Step::AbandonWait),
            2 => Just(Step::Review),
        1 => (1..6usize).prop_map(Step::SetShare),
    ];
    proptest::collection::vec(step, 1..200)
}

/// Plays the part of the connections: who holds, who waits, what is being closed.
#[derive(Default)]
struct Player {
    used: Vec<(usize, u32)>,
    waiting: Vec<(usize, oneshot::Receiver<Turn<u32>>)>,
    closing: VecDeque<TenantId>,
    next: u32,
}

const LIMIT: usize = 2;

impl Player {
    fn open(&mut self, tenant: usize) {
        self.next += 1;
        self.used.push((tenant, self.next));
    }

    fn take(&mut self, close: ToClose<u32>) {
        self.closing
            .extend(close.0.into_iter().map(|(tenant, _)| tenant));
    }

    /// Whoever was given a turn uses it.
    fn collect(&mut self) {
        let mut still = Vec::new();
        for (number, mut receiver) in std::mem::take(&mut self.waiting) {
            match receiver.try_recv() {
                Ok(Turn::Open) => self.open(number),
                Ok(Turn::Handed(connection)) => self.used.push((number, connection)),
                Err(_) => still.push((number, receiver)),
            }
        }
        self.waiting = still;
    }

    fn play(&mut self, gate: &Gate<u32>, step: &Step) {
        match *step {
            Step::Enter(number) => {
                let (entry, close) = gate.enter(&tenant(number), claim(LIMIT, 1));
                self.take(close);
                match entry {
                    Entry::Idle(connection, _) => self.used.push((number, connection)),
                    Entry::Open => self.open(number),
                    Entry::Wait(receiver) => self.waiting.push((number, receiver)),
                    Entry::Full => panic!("the queue is far from full"),
                }
            }
            Step::GiveBack(index) if !self.used.is_empty() => {
                let (number, connection) = self.used.swap_remove(index % self.used.len());
                let close = gate.give_back(&tenant(number), connection);
                self.take(close);
            }
            Step::Break(index) if !self.used.is_empty() => {
                let (number, _) = self.used.swap_remove(index % self.used.len());
                let close = gate.gone(&tenant(number));
                self.take(close);
            }
            Step::FinishClosing => {
                if let Some(tenant) = self.closing.pop_front() {
                    let close = gate.closed(&tenant);
                    self.take(close);
                }
            }
            Step::AbandonWait(index) if !self.waiting.is_empty() => {
                let (number, mut receiver) = self.waiting.swap_remove(index % self.waiting.len());
                receiver.close();
                match receiver.try_recv() {
                    Ok(Turn::Open) => {
                        let close = gate.gone(&tenant(number));
                        self.take(close);
                    }
                    Ok(Turn::Handed(connection)) => {
                        let close = gate.give_back(&tenant(number), connection);
                        self.take(close);
                    }
                    Err(_) => {}
                }
            }
            Step::Review => {
                gate.age(SPARE_AFTER / 2);
                if let Some(close) = gate.review() {
                    self.take(close);
                }
            }
            Step::SetShare(share) => {
                let close = gate.set_share(share);
                self.take(close);
            }
            _ => {}
        }
        self.collect();
    }
}

proptest! {
    #[test]
    fn the_budget_holds_and_everybody_is_served_in_the_end(steps in steps()) {
        let gate = Gate::new();
        let _ = gate.set_share(4);
        let mut player = Player::default();
        for step in &steps {
            let before = gate.usage();
            player.play(&gate, step);
            let usage = gate.usage();
            prop_assert!(usage.taken <= usage.share.max(before.taken), "{usage:?} after {step:?}");
            prop_assert_eq!(
                usage.taken,
                player.used.len() + player.closing.len() + usage.idle,
                "permits are exactly the connections"
            );
            let mut per_tenant: HashMap<usize, usize> = HashMap::new();
            for (number, _) in &player.used {
                *per_tenant.entry(*number).or_default() += 1;
            }
            prop_assert!(per_tenant.values().all(|held| *held <= LIMIT));
        }
        // Everything comes back: everybody who waits must be served, and nothing may be left.
        for _ in 0..10_000 {
            player.play(&gate, &Step::FinishClosing);
            if player.used.is_empty() && player.closing.is_empty() {
                break;
            }
            player.play(&gate, &Step::GiveBack(0));
        }
        prop_assert_eq!(player.waiting.len(), 0, "{:?}", gate.usage());
        let usage = gate.usage();
        prop_assert_eq!(usage.taken, usage.idle);
        prop_assert!(usage.taken <= usage.share);
        let close = gate.idle_for(Duration::ZERO, 0);
        for (tenant, _) in close.0 {
            let _ = gate.closed(&tenant);
        }
        prop_assert_eq!(gate.usage().taken, 0);
        prop_assert_eq!(gate.state().lanes.len(), 0, "an idle tenant costs nothing");
    }
}

/// With one connection and two tenants that always want it, turns go by weight.
#[test]
fn turns_go_by_weight() {
    let gate = Gate::new();
    let _ = gate.set_share(1);
    let weights = [1, 4];
    let mut waiting: Vec<VecDeque<oneshot::Receiver<Turn<u32>>>> =
        vec![VecDeque::new(), VecDeque::new()];
    let mut served = [0_u32; 2];
    let ask = |number: usize, waiting: &mut Vec<VecDeque<_>>| {
        let (entry, close) = gate.enter(&tenant(number), claim(1, weights[number]));
        assert!(close.0.is_empty());
        match entry {
            Entry::Wait(receiver) => {
                waiting[number].push_back(receiver);
                None
            }
            Entry::Open => Some(number),
            _ => panic!("nothing is idle here"),
        }
    };
    let mut holder = ask(0, &mut waiting);
    for _ in 0..4 {
        assert_eq!(ask(0, &mut waiting), None);
        assert_eq!(ask(1, &mut waiting), None);
    }
    for _ in 0..1000 {
        let number = holder.take().unwrap();
        served[number] += 1;
        assert_eq!(ask(number, &mut waiting), None);
        let mut close = gate.give_back(&tenant(number), 7);
        while let Some((tenant, _)) = close.0.pop() {
            close.0.extend(gate.closed(&tenant).0);
        }
        for (number, receivers) in waiting.iter_mut().enumerate() {
            if let Some(receiver) = receivers.front_mut()
                && receiver.try_recv().is_ok()
            {
                receivers.pop_front();
                holder = Some(number);
            }
        }
    }
    let ratio = f64::from(served[1]) / f64::from(served[0]);
    assert!((3.0..5.0).contains(&ratio), "{served:?}");
}

#[test]
fn the_least_recently_used_idle_connection_makes_room() {
    let gate = Gate::new();
    let _ = gate.set_share(2);
    for number in 0..2 {
        assert!(matches!(
            gate.enter(&tenant(number), claim(1, 1)).0,
            Entry::Open
        ));
    }
    assert!(gate.give_back(&tenant(0), 10).0.is_empty());
    assert!(gate.give_back(&tenant(1), 11).0.is_empty());
    let (entry, close) = gate.enter(&tenant(2), claim(1, 1));
    let Entry::Wait(mut receiver) = entry else {
        panic!("the share is spent");
    };
    assert_eq!(close.0, vec![(tenant(0), 10)]);
    assert!(receiver.try_recv().is_err(), "only when it is closed");
    assert!(gate.closed(&tenant(0)).0.is_empty());
    assert!(matches!(receiver.try_recv(), Ok(Turn::Open)));
}

#[test]
fn a_share_that_shrinks_closes_what_is_idle() {
    let gate = Gate::new();
    let _ = gate.set_share(3);
    for number in 0..3 {
        assert!(matches!(
            gate.enter(&tenant(number), claim(1, 1)).0,
            Entry::Open
        ));
        let _ = gate.give_back(&tenant(number), 1);
    }
    assert_eq!(gate.set_share(1).0.len(), 2);
}

#[test]
fn a_second_connection_is_opened_only_when_the_first_is_waited_for() {
    let gate = Gate::new();
    let _ = gate.set_share(3);
    let enter = || gate.enter(&tenant(0), claim(2, 1)).0;
    assert!(matches!(enter(), Entry::Open));
    let Entry::Wait(mut first) = enter() else {
        panic!("its own connection will be free soon");
    };
    let Entry::Wait(mut second) = enter() else {
        panic!("its own connection will be free soon");
    };
    assert!(gate.review().unwrap().0.is_empty());
    assert!(first.try_recv().is_err(), "it has not waited yet");
    gate.age(PATIENCE);
    assert!(gate.review().unwrap().0.is_empty());
    assert!(matches!(first.try_recv(), Ok(Turn::Open)));
    assert!(second.try_recv().is_err(), "two are its limit");
    assert!(gate.give_back(&tenant(0), 1).0.is_empty());
    assert!(matches!(second.try_recv(), Ok(Turn::Handed(1))));
}

#[test]
fn a_peak_of_one_tenant_takes_nothing_from_another_until_it_is_late() {
    let gate = Gate::new();
    let _ = gate.set_share(2);
    for number in 0..2 {
        assert!(matches!(
            gate.enter(&tenant(number), claim(2, 1)).0,
            Entry::Open
        ));
    }
    assert!(gate.give_back(&tenant(1), 11).0.is_empty());
    let (entry, close) = gate.enter(&tenant(0), claim(2, 1));
    assert!(matches!(entry, Entry::Wait(_)));
    assert!(close.0.is_empty());
    gate.age(PATIENCE);
    assert!(
        gate.review().unwrap().0.is_empty(),
        "the other used it a moment ago"
    );
    gate.age(LATE);
    assert_eq!(gate.review().unwrap().0, vec![(tenant(1), 11)]);
}

/// Where everybody has a connection and wants more, they do not take them from one another.
#[test]
fn tenants_under_load_keep_their_connections() {
    let gate = Gate::new();
    let _ = gate.set_share(3);
    let mut held = Vec::new();
    for number in [0, 1] {
        assert!(matches!(
            gate.enter(&tenant(number), claim(2, 1)).0,
            Entry::Open
        ));
        held.push(number);
    }
    let mut waiting = Vec::new();
    let mut ask = |number: usize| {
        let (entry, close) = gate.enter(&tenant(number), claim(2, 1));
        assert!(close.0.is_empty());
        let Entry::Wait(receiver) = entry else {
            panic!("nothing is idle");
        };
        waiting.push(receiver);
        gate.age(LATE);
        assert!(gate.review().unwrap().0.is_empty());
    };
    for _ in 0..4 {
        ask(0);
        ask(1);
    }
    // One of them got the third.
    assert_eq!(gate.usage().taken, 3);
    for round in 0..100 {
        for &number in &held {
            let close = gate.give_back(&tenant(number), 1);
            assert!(close.0.is_empty(), "closed in round {round}");
            ask(number);
        }
    }
}

/// Tenants that are alike are served in the order in which they came, whatever their names.
#[test]
fn who_comes_first_is_served_first() {
    let gate = Gate::<u32>::new();
    let _ = gate.set_share(1);
    assert!(matches!(gate.enter(&tenant(0), claim(1, 1)).0, Entry::Open));
    let mut waiting: Vec<_> = [5, 3, 4, 1]
        .into_iter()
        .map(|number| match gate.enter(&tenant(number), claim(1, 1)).0 {
            Entry::Wait(receiver) => (number, receiver),
            _ => panic!("the share is spent"),
        })
        .collect();
    let mut holder = 0;
    for expected in [5, 3, 4, 1] {
        let _ = gate.gone(&tenant(holder));
        let (number, receiver) = waiting.first_mut().unwrap();
        assert_eq!(*number, expected);
        assert!(matches!(receiver.try_recv(), Ok(Turn::Open)));
        holder = *number;
        waiting.remove(0);
    }
}

/// One that had a grant before waits behind those who came meanwhile for a round, not for ever.
#[test]
fn newcomers_do_not_pass_for_ever() {
    let gate = Gate::<u32>::new();
    let _ = gate.set_share(1);
    let wait = |number: usize| match gate.enter(&tenant(number), claim(1, 1)).0 {
        Entry::Wait(receiver) => receiver,
        _ => panic!("the share is spent"),
    };
    assert!(matches!(gate.enter(&tenant(0), claim(1, 1)).0, Entry::Open));
    let mut again = wait(0);
    let mut others: VecDeque<_> = (1..4).map(|number| (number, wait(number))).collect();
    let mut holder = 0;
    for next in 4..20 {
        let _ = gate.gone(&tenant(holder));
        if again.try_recv().is_ok() {
            return;
        }
        let place = others
            .iter_mut()
            .position(|(_, receiver)| receiver.try_recv().is_ok());
        holder = others.remove(place.unwrap()).unwrap().0;
        others.push_back((next, wait(next)));
    }
    panic!("passed by everybody");
}

//! The budget holds whoever is cut off, for how long, and whoever starts anew; who is seen loses nothing.

use proptest::prelude::*;

use super::super::shares::{Share, grants};
use super::*;

const SILENT_AFTER: Duration = Duration::from_secs(10);

fn told() -> ShareLease {
    ShareLease::new(SILENT_AFTER, SILENT_AFTER * 6)
}

/// A replica as it is, and what the platform has of it.
#[derive(Debug, Clone)]
struct Replica {
    /// `None` once it is given up.
    stored: Option<Share>,
    live_until: Instant,
    absence: Option<Absence>,
    keeps_to: u32,
    sign: Instant,
    /// What it was granted, and when it had asked; still under way.
    answer: Option<(u32, Instant)>,
    open: u32,
    /// Whether one was open since the last look.
    was_open: bool,
}

impl Replica {
    fn new(now: Instant) -> Self {
        Self {
            stored: None,
            live_until: now,
            absence: None,
            keeps_to: 0,
            sign: now,
            answer: None,
            open: 0,
            was_open: false,
        }
    }

    /// What it would still open.
    fn left(&self, now: Instant) -> u32 {
        let share = usize::try_from(self.keeps_to).unwrap();
        u32::try_from(told().left(share, now - self.sign)).unwrap()
    }

    fn opens(&mut self, now: Instant) {
        self.keeps_to = self.left(now);
        if self.open < self.keeps_to {
            self.open += 1;
            self.was_open = true;
            self.sign = now;
        }
    }

    fn takes(&mut self, granted: u32, sent: Instant, now: Instant) {
        if now - sent < told().whole() {
            self.sign = self.sign.max(sent);
            self.keeps_to = granted;
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Join,
    /// It is heard and granted anew; the answer is on its way.
    Beat(usize),
    Answer(usize),
    /// Both, at once.
    Heard(usize),
    Loss(usize),
    Open(usize),
    /// A session of it is asked for an answer.
    Ping(usize),
    /// All its sessions end.
    End(usize),
    /// So many looks.
    Pass(u32),
    PlatformDown,
    PlatformUp,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => Just(Event::Join),
        3 => any::<usize>().prop_map(Event::Beat),
        3 => any::<usize>().prop_map(Event::Answer),
        20 => any::<usize>().prop_map(Event::Heard),
        1 => any::<usize>().prop_map(Event::Loss),
        6 => any::<usize>().prop_map(Event::Open),
        3 => any::<usize>().prop_map(Event::Ping),
        4 => any::<usize>().prop_map(Event::End),
        6 => (1_u32..4).prop_map(Event::Pass),
        1 => (4_u32..12).prop_map(Event::Pass),
        1 => Just(Event::PlatformDown),
        2 => Just(Event::PlatformUp),
    ]
}

struct Fleet {
    now: Instant,
    budget: u32,
    is_up: bool,
    replicas: Vec<Replica>,
}

impl Fleet {
    fn new(budget: u32) -> Self {
        Self {
            now: Instant::now(),
            budget,
            is_up: true,
            replicas: Vec::new(),
        }
    }

    fn apply(&mut self, event: Event) {
        let (now, count) = (self.now, self.replicas.len());
        match event {
            Event::Join if count < 6 => self.replicas.push(Replica::new(now)),
            Event::Pass(looks) => (0..looks).for_each(|_| self.look()),
            Event::PlatformDown => self.is_up = false,
            Event::PlatformUp if !self.is_up => {
                self.is_up = true;
                self.replicas.iter_mut().for_each(|one| one.absence = None);
            }
            Event::Beat(which) if count > 0 && self.is_up => self.beat(which % count),
            Event::Answer(which) if count > 0 => {
                let replica = &mut self.replicas[which % count];
                if let Some((granted, sent)) = replica.answer.take() {
                    replica.takes(granted, sent, now);
                }
            }
            Event::Heard(which) => {
                self.apply(Event::Beat(which));
                self.apply(Event::Answer(which));
            }
            Event::Loss(which) if count > 0 => self.replicas[which % count].answer = None,
            Event::Open(which) if count > 0 => self.replicas[which % count].opens(now),
            Event::Ping(which) if count > 0 => {
                let replica = &mut self.replicas[which % count];
                if replica.open > 0 {
                    replica.sign = now;
                }
            }
            Event::End(which) if count > 0 => self.replicas[which % count].open = 0,
            _ => {}
        }
    }

    fn beat(&mut self, index: usize) {
        let now = self.now;
        let replica = &mut self.replicas[index];
        replica.keeps_to = replica.left(now);
        replica.live_until = now + SILENT_AFTER;
        replica.absence = None;
        replica.stored = Some(Share {
            granted: replica.stored.unwrap_or_default().granted,
            held: replica.keeps_to.max(replica.open),
        });
        let is_live = |one: &&mut Replica| one.live_until > now;
        let reserved: u32 = self
            .replicas
            .iter()
            .filter(|one| one.live_until <= now)
            .filter_map(|one| one.stored)
            .map(Share::reserved)
            .sum();
        let mut live: Vec<_> = self.replicas.iter_mut().filter(is_live).collect();
        let before: Vec<Share> = live.iter().filter_map(|one| one.stored).collect();
        let granted = grants(self.budget.saturating_sub(reserved), &before);
        for (one, granted) in live.iter_mut().zip(granted) {
            one.stored = one.stored.map(|share| share.regranted(granted));
        }
        let replica = &mut self.replicas[index];
        replica.answer = replica.stored.map(|share| (share.granted, now));
    }

    /// Time passes, and the platform looks at those who are silent.
    fn look(&mut self) {
        self.now += look_every(told());
        for one in &mut self.replicas {
            let was_open = std::mem::replace(&mut one.was_open, one.open > 0);
            let Some(share) = one.stored else { continue };
            if !self.is_up || one.live_until > self.now {
                continue;
            }
            if was_open || one.open > 0 {
                one.absence = None;
                continue;
            }
            let absence = Absence::go_on(one.absence, self.now, told());
            one.absence = Some(absence);
            one.stored = match absence.kept(told()) {
                Kept::Whole => Some(share),
                Kept::Last => Some(Share {
                    granted: share.granted.min(1),
                    held: share.held.min(1),
                }),
                Kept::Nothing => None,
            };
        }
    }

    /// Connections that there may be at the most.
    fn most(&self) -> u32 {
        let most = |one: &Replica| one.open.max(one.left(self.now));
        self.replicas.iter().map(most).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn the_budget_is_never_exceeded_whoever_is_silent(
        budget in 1_u32..20,
        events in prop::collection::vec(event(), 50..300),
    ) {
        let mut fleet = Fleet::new(budget);
        for event in events {
            fleet.apply(event);
            let most = fleet.most();
            prop_assert!(most <= budget, "{most} of {budget}");
        }
    }
}

fn granted(fleet: &Fleet) -> Vec<u32> {
    let granted = |one: &Replica| one.stored.map_or(0, |share| share.granted);
    fleet.replicas.iter().map(granted).collect()
}

/// A fleet in which everybody was heard until now.
fn heard(budget: u32, count: usize) -> Fleet {
    let mut fleet = Fleet::new(budget);
    (0..count).for_each(|_| fleet.apply(Event::Join));
    for _ in 0..=count {
        for which in 0..count {
            fleet.apply(Event::Beat(which));
            fleet.apply(Event::Answer(which));
        }
    }
    fleet
}

#[test]
fn whoever_is_seen_loses_nothing_and_whoever_is_not_keeps_one_for_long() {
    let mut fleet = heard(60, 3);
    assert_eq!(granted(&fleet), [15, 15, 15]);
    fleet.apply(Event::Open(0));
    for _ in 0..25 {
        fleet.apply(Event::Pass(1));
        fleet.apply(Event::Ping(0));
        fleet.apply(Event::Beat(2));
        fleet.apply(Event::Answer(2));
    }
    assert_eq!(granted(&fleet), [15, 1, 22]);
    fleet.apply(Event::Pass(20));
    assert_eq!(granted(&fleet)[..2], [15, 0]);
    assert_eq!(fleet.replicas[0].left(fleet.now), 1, "nobody asked it");
    assert_eq!(fleet.replicas[1].left(fleet.now), 0);
}

#[test]
fn after_a_start_everybody_has_time_to_be_heard() {
    let mut fleet = heard(60, 5);
    assert_eq!(granted(&fleet), [10; 5]);
    fleet.apply(Event::PlatformDown);
    fleet.apply(Event::Pass(100));
    fleet.apply(Event::PlatformUp);
    fleet.apply(Event::Pass(5));
    fleet.apply(Event::Beat(0));
    assert_eq!(granted(&fleet), [10; 5]);
}

#[test]
fn a_break_in_the_looks_begins_the_wait_anew() {
    let start = Instant::now();
    let (lease, step) = (told(), look_every(told()));
    let mut absence = Absence::go_on(None, start, lease);
    for look in 1..10 {
        absence = Absence::go_on(Some(absence), start + step * look, lease);
    }
    assert_eq!(absence.kept(lease), Kept::Whole);
    let none_missed = Absence::go_on(Some(absence), start + step * 10, lease);
    assert_eq!(none_missed.kept(lease), Kept::Last);
    let some_missed = Absence::go_on(Some(absence), start + step * 13, lease);
    assert_eq!(some_missed.kept(lease), Kept::Whole);
}

//! A soak: two real processes of platform-service, killed at random while every kind of operation runs
//! over a fleet that is written to all the time.
//!
//! Deliberately judged by its end alone: what is refused or undone on the way is as it may be. Invariant:
//! the seed fixes how often and after what pauses is killed, and what each tenant goes through; both
//! are printed. `WORLD_SOAK_SECONDS` makes it longer, `WORLD_SOAK_SEED` another one.

mod chores;
mod desk;
mod verdict;
mod writers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;
use world::{DEADLINE, Logs, PlatformProcess, World};

use self::desk::Desk;
use self::writers::Subject;
use super::fleet::backups::Keeping;
use super::fleet::harness;

const TENANTS: usize = 20;
/// Kills, where no time is given.
const KILLS: usize = 12;
const PROGRAM: &str = env!("CARGO_BIN_EXE_world-platform");

/// How long it soaks, and what it does.
struct Measure {
    seed: u64,
    lasts: Option<Duration>,
}

impl Measure {
    fn of_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok()?.parse().ok();
        Self {
            seed: number("WORLD_SOAK_SEED").unwrap_or(20_260_105),
            lasts: number("WORLD_SOAK_SECONDS").map(Duration::from_secs),
        }
    }

    fn goes_on(&self, kills: usize, since: Instant) -> bool {
        match self.lasts {
            Some(lasts) => since.elapsed() < lasts,
            None => kills < KILLS,
        }
    }
}

/// Kills one process or both, again and again, and starts them anew; gives how many it killed.
async fn kill_at_random(world: &World, desk: &Desk, measure: &Measure) -> usize {
    let mut random = StdRng::seed_from_u64(measure.seed);
    let mut running: [Option<PlatformProcess>; 2] = [None, None];
    let began = Instant::now();
    let mut kills = 0;
    while measure.goes_on(kills, began) {
        start_missing(world, desk, &mut running).await;
        pause(&mut random, 500..=5_000).await;
        let victims: &[usize] = match random.random_range(0..5) {
            0 => &[0, 1],
            one if one % 2 == 0 => &[0],
            _ => &[1],
        };
        for victim in victims {
            desk.lost(*victim);
            if let Some(process) = running[*victim].take() {
                process.kill().await;
                kills += 1;
            }
        }
        if let Some(left) = running.iter().flatten().next() {
            world.direct_to(left);
        }
        pause(&mut random, 0..=500).await;
    }
    start_missing(world, desk, &mut running).await;
    desk.keep(running.into_iter().flatten().collect());
    kills
}

async fn start_missing(world: &World, desk: &Desk, running: &mut [Option<PlatformProcess>; 2]) {
    for (place, process) in running.iter_mut().enumerate() {
        if process.is_none() {
            let started = world.platform_process(PROGRAM).await;
            desk.found(place, started.url());
            world.direct_to(&started);
            *process = Some(started);
        }
    }
}

/// Instants are random here on purpose.
async fn pause(random: &mut StdRng, milliseconds: std::ops::RangeInclusive<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(milliseconds))).await;
}

#[expect(
    clippy::print_stdout,
    reason = "how hard it was is for whoever reads the run"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_lose_no_tenant_and_no_row_and_leave_nothing_behind() {
    let _everything = Logs::everything();
    let measure = Measure::of_environment();
    let started = Instant::now();
    let options = harness::roomy()
        .platform_setting("operations.lease", "3s")
        .app_replicas(2)
        .max_connections(200)
        .platform_setting("purge.window", "00:00-00:00");
    let keeping = Keeping::start(options).await;
    let world = &keeping.world;
    world.second_cluster().await;
    let mut subjects = Vec::new();
    for number in 0..TENANTS {
        let tenant = world.tenant(&format!("soak{number}")).await;
        subjects.push(Arc::new(Subject::new(tenant)));
    }
    let patience = measure.lasts.unwrap_or_default() + DEADLINE * 20;
    let desk = Desk::new(world.operator(), patience);
    world.kill_platform();

    let over = CancellationToken::new();
    let writing: Vec<_> = subjects
        .iter()
        .map(|subject| tokio::spawn(writers::write(Arc::clone(subject), over.clone())))
        .collect();
    let stop = CancellationToken::new();
    let life = async {
        let of_tenants = subjects.iter().enumerate().map(|(number, subject)| {
            let random = StdRng::seed_from_u64(measure.seed + 1 + number as u64);
            chores::of_a_tenant(world, &desk, subject, random, &stop)
        });
        let of_the_fleet = chores::of_the_fleet(world, &desk, &subjects, measure.seed, &stop);
        futures::future::join(join_all(of_tenants), of_the_fleet).await;
    };
    let began = Instant::now();
    let killing = async {
        let kills = kill_at_random(world, &desk, &measure).await;
        stop.cancel();
        (kills, began.elapsed())
    };
    let ((kills, soaked), ()) = futures::future::join(killing, life).await;
    let settled = began.elapsed();
    verdict::operations_are_over(world).await;
    // What the kills let nobody do, and what nobody came to, is done with none.
    for kind in verdict::never_done(world).await {
        chores::one_of(world, &desk, &subjects[0], kind).await;
    }
    verdict::operations_are_over(world).await;
    over.cancel();
    let written = join_all(writing).await;
    let met = written.into_iter().map(|met| met.expect("no panic"));
    let words = verdict::on(&keeping, &desk, &subjects, met.collect()).await;
    println!(
        "seed {}, {kills} kills in {soaked:.1?}, settled after {settled:.1?}, {:.1?} in all: {words}",
        measure.seed,
        started.elapsed(),
    );
}

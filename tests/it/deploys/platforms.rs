//! Replicas of platform-service take each other's place while people sign up and operators work.
//!
//! Deliberately as real processes, each told to stop by a signal once others are asked. Invariant: whoever asks
//! one that lives is answered, and what was begun at one that stops comes to its end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use world::{Answer, PlatformProcess, Speaker, World, WorldOptions, until};

use crate::saga::{id_of, owner_logs_in};
use crate::support::{signup, unique};

const PROGRAM: &str = env!("CARGO_BIN_EXE_world-platform");
const DEPLOYS: usize = 3;
/// From the signal to the end: the notice, and what is open meanwhile; the settings allow half of it.
const GONE: Duration = Duration::from_secs(60);

/// Whom to ask, and what came of it.
#[derive(Debug, Default)]
struct Desk {
    living: Mutex<String>,
    over: AtomicBool,
    asked: AtomicU64,
    signed_up: Mutex<Vec<String>>,
}

impl Desk {
    fn at(&self, speaker: &Speaker) -> Speaker {
        speaker.clone().at(&self.living.lock().unwrap())
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn taken(&self, answer: &Answer) {
        assert!(matches!(answer.status(), 200..=202), "{answer}");
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    async fn sign_ups(&self, visitor: Speaker) {
        while self.goes_on() {
            let slug = unique("newcomer");
            let asked = self.at(&visitor).from_another_address();
            self.taken(&asked.post("/v1/signup", signup(&slug)).await);
            self.signed_up.lock().unwrap().push(slug);
        }
    }

    /// One operation after the other, each waited for at whoever lives then.
    async fn operations(&self, operator: Speaker, tenant: String) {
        for (number, verb) in ["suspend", "resume", "rotate"].iter().cycle().enumerate() {
            if !self.goes_on() && number % 3 == 0 {
                return;
            }
            let path = format!("/v1/tenants/{tenant}/{verb}");
            let body = match *verb {
                "suspend" => json!({ "wall": "blocked" }),
                _ => json!({}),
            };
            self.taken(&self.at(&operator).post(&path, body).await);
            until("the operation has ended well", || async {
                let path = format!("/v1/operations?tenant={tenant}&limit=100");
                let listed = self.at(&operator).get(&path).await.expect(200).json();
                let mut all = listed["data"].as_array().unwrap().iter();
                all.all(|one| one["state"] == "done")
            })
            .await;
        }
    }
}

/// Lets a new process take the place of the one before.
async fn deploy(world: &World, desk: &Desk, before: Option<PlatformProcess>) -> PlatformProcess {
    let newer = world.platform_process(PROGRAM).await;
    world.direct_to(&newer);
    *desk.living.lock().unwrap() = newer.url();
    let asked = desk.asked.load(Ordering::Relaxed);
    match before {
        Some(before) => tokio::time::timeout(GONE, before.terminate()).await,
        None => tokio::time::timeout(GONE, world.stop_platform()).await,
    }
    .expect("it is gone in time");
    until("work goes on at the new one", || async {
        desk.asked.load(Ordering::Relaxed) > asked + 5
    })
    .await;
    newer
}

#[tokio::test]
async fn platforms_are_replaced_under_sign_ups_and_operations_and_nobody_is_refused() {
    // So long does who has just picked it still find it.
    let options = WorldOptions::default().platform_setting("drain.notice", "1s");
    let world = World::with(options).await;
    let (visitor, operator) = (world.visitor(), world.operator());
    let mut tenants = Vec::new();
    for _ in 0..2 {
        tenants.push(world.tenant("worked-on").await.id().to_string());
    }
    let desk = Desk::default();
    *desk.living.lock().unwrap() = world.platform_url();
    let working = tenants
        .iter()
        .map(|tenant| desk.operations(operator.clone(), tenant.clone()));
    let load = async { tokio::join!(desk.sign_ups(visitor), join_all(working)) };
    let deploys = async {
        let mut last = None;
        for _ in 0..DEPLOYS {
            last = Some(deploy(&world, &desk, last).await);
        }
        desk.over.store(true, Ordering::Relaxed);
        last
    };
    let (_, last) = tokio::join!(load, deploys);
    let registry = world.postgres();
    until("every operation has ended", || async {
        let live = "select count(*) from registry.operation where state not in ('done', 'undone')";
        registry.number("registry", live).await == 0
    })
    .await;
    let undone = "select kind || ' ' || plan::text from registry.operation where state = 'undone'";
    assert_eq!(
        registry.texts("registry", undone).await,
        Vec::<String>::new()
    );
    let signed_up = desk.signed_up.lock().unwrap().clone();
    assert!(signed_up.len() > DEPLOYS, "{signed_up:?}");
    let active = "select id from registry.tenant where status = 'active'";
    let active = registry.texts("registry", active).await;
    for slug in &signed_up {
        assert!(active.contains(&id_of(slug)), "{slug}: {active:?}");
    }
    for slug in signed_up.iter().rev().take(DEPLOYS) {
        owner_logs_in(&world, slug).await;
    }
    drop(last);
}

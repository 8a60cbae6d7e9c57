//! Replicas of a new release take the place of old ones while clients work.
//!
//! Deliberately with clients that are balanced as load balancers do it: by `/readyz`, looked at now and then,
//! over connections that are kept. Invariant: nobody sees a deploy.

mod platforms;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::time::interval;
use world::{Speaker, World, WorldOptions, until};

use crate::limits::lay_over;
use crate::support::entry;

const DEPLOYS: usize = 5;
const CLIENTS: usize = 4;
/// How often the balancer looks; the notice that replicas give is much longer.
const LOOK: Duration = Duration::from_millis(50);
/// How often each client asks.
const PACE: Duration = Duration::from_millis(10);

/// Where requests are sent.
#[derive(Debug, Default)]
struct Balancer {
    replicas: Mutex<Vec<String>>,
    ready: Mutex<Vec<String>>,
    next: AtomicU64,
    over: AtomicBool,
    answered: AtomicU64,
}

impl Balancer {
    fn add(&self, url: String) {
        self.replicas.lock().unwrap().push(url);
    }

    fn knows(&self, url: &str) -> bool {
        self.ready.lock().unwrap().iter().any(|ready| ready == url)
    }

    fn target(&self) -> String {
        let ready = self.ready.lock().unwrap();
        let next = usize::try_from(self.next.fetch_add(1, Ordering::Relaxed)).unwrap();
        ready[next % ready.len()].clone()
    }

    async fn look(&self, http: &reqwest::Client) {
        let mut looks = interval(LOOK);
        while !self.over.load(Ordering::Relaxed) {
            looks.tick().await;
            let replicas = self.replicas.lock().unwrap().clone();
            let mut ready = Vec::new();
            for url in replicas {
                let looked = http.get(format!("{url}/readyz")).send().await;
                if looked.is_ok_and(|answer| answer.status() == 200) {
                    ready.push(url);
                }
            }
            // Where nobody is ready a balancer asks those of before: better than nobody. That is a look
            // that came to nothing, as on a busy machine: a replica is always there.
            if !ready.is_empty() {
                *self.ready.lock().unwrap() = ready;
            }
        }
    }

    /// Reads and writes; a request that fails in any way fails the test.
    async fn work(&self, owner: Speaker, path: &str) {
        let mut pace = interval(PACE);
        while !self.over.load(Ordering::Relaxed) {
            pace.tick().await;
            let owner = owner.clone().at(&self.target());
            owner.get(path).await.expect(200);
            owner
                .post("/v1/entries", entry("Deployed"))
                .await
                .expect(201);
            self.answered.fetch_add(2, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn replicas_are_replaced_under_load_and_no_client_sees_it() {
    let options = WorldOptions::default().app_setting("drain.notice", "3s");
    let world = World::with(options).await;
    let acme = world.tenant("deployed").await;
    let unlimited = json!({ "limits": { "requests_per_second": null } });
    lay_over(&world, acme.id().as_str(), unlimited).await;
    let made = acme.owner().post("/v1/entries", entry("Steady")).await;
    let path = made.expect(201).header("location").to_owned();
    let balancer = Arc::new(Balancer::default());
    balancer.add(world.app_url(0));
    let http = reqwest::Client::new();
    let look = balancer.look(&http);
    let load = async {
        until("there is somebody to ask", || async {
            balancer.knows(&world.app_url(0))
        })
        .await;
        join_all((0..CLIENTS).map(|_| balancer.work(acme.owner(), &path))).await;
    };
    let deploys = async {
        for _ in 0..DEPLOYS {
            let newer = world.add_app_replica().await;
            let url = world.app_url(newer);
            balancer.add(url.clone());
            until("the new one is asked", || async { balancer.knows(&url) }).await;
            world.take_app_replica(0).stop().await;
        }
        balancer.over.store(true, Ordering::Relaxed);
    };
    tokio::join!(look, load, deploys);
    assert!(balancer.answered.load(Ordering::Relaxed) > 100);
}

//! What operators want of the tenants and of the fleet while processes are killed.
//!
//! Deliberately every kind of operation. Invariants: a chore leaves its tenant active; what it makes on
//! the way is purged, or named at the desk.

use std::ops::RangeInclusive;
use std::sync::Arc;

use futures::future::join_all;
use http::Method;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use world::{OperationKind, PASSWORD, World};

use super::desk::{Desk, End};
use super::pause;
use super::writers::Subject;
use crate::support::unique;

#[derive(Debug, Clone, Copy)]
enum Chore {
    Suspend,
    Delete,
    Rotate,
    Restore,
    Clone,
    Export,
    Move(&'static str),
    Transfer,
    Change,
}

const CHORES: [Chore; 10] = [
    Chore::Suspend,
    Chore::Delete,
    Chore::Rotate,
    Chore::Restore,
    Chore::Clone,
    Chore::Export,
    Chore::Move("dump"),
    Chore::Move("replicate"),
    Chore::Transfer,
    Chore::Change,
];

/// Before each chore of a tenant.
const CHORE_PAUSE: RangeInclusive<u64> = 0..=6_000;

/// One chore after the other, in an order of its own, until it is told to stop.
pub(super) async fn of_a_tenant(
    world: &World,
    desk: &Desk,
    subject: &Subject,
    mut random: StdRng,
    stop: &CancellationToken,
) {
    let mut chores = CHORES;
    loop {
        chores.shuffle(&mut random);
        for chore in chores {
            pause(&mut random, CHORE_PAUSE).await;
            if stop.is_cancelled() {
                return;
            }
            let at = At {
                world,
                desk,
                subject,
            };
            at.do_it(chore).await;
        }
    }
}

/// Where a chore is done.
struct At<'a> {
    world: &'a World,
    desk: &'a Desk,
    subject: &'a Subject,
}

impl At<'_> {
    fn path(&self, rest: &str) -> String {
        format!("/v1/tenants/{}{rest}", self.subject.id())
    }

    async fn post(&self, verb: &str, body: Option<Value>) -> End {
        let path = self.path(verb);
        self.desk.wish(Method::POST, &path, body.as_ref()).await
    }

    /// Whether it was done; a refusal has to be for what others do.
    async fn done(&self, verb: &str, body: Option<Value>) -> Option<Value> {
        match self.post(verb, body).await {
            End::Done(operation) => Some(operation),
            End::Undone => None,
            End::Refused(answer) => {
                // Another operation is under way, or there is no room while a cluster is emptied.
                assert!(
                    matches!(
                        answer.code(),
                        contract::Code::Conflict | contract::Code::ClusterFull
                    ),
                    "{answer}"
                );
                None
            }
        }
    }

    async fn do_it(&self, chore: Chore) {
        match chore {
            Chore::Suspend => {
                let wall = json!({ "wall": "blocked", "reason": "A soak." });
                if self.done("/suspend", Some(wall)).await.is_some() {
                    self.desk
                        .insist(Method::POST, &self.path("/resume"), None)
                        .await;
                }
            }
            Chore::Delete => {
                let path = self.path(&format!("?confirm={}", self.subject.id()));
                if let End::Done(_) = self.desk.wish(Method::DELETE, &path, None).await {
                    self.desk
                        .insist(Method::POST, &self.path("/restore"), None)
                        .await;
                }
            }
            Chore::Rotate => drop(self.done("/rotate", None).await),
            Chore::Restore => self.back_and_forth().await,
            Chore::Clone => self.copied().await,
            Chore::Export => self.exported().await,
            Chore::Move(variant) => {
                drop(
                    self.done("/move", Some(json!({ "variant": variant })))
                        .await,
                );
            }
            Chore::Transfer => {
                let to = format!("{}@soak.example", unique("next"));
                let body = json!({ "to": to, "others": "keep", "password": PASSWORD });
                drop(self.done("/transfer", Some(body)).await);
            }
            Chore::Change => self.renamed().await,
        }
    }

    /// Backed up, verified, brought back to that, brought back to before, and the backup removed.
    async fn back_and_forth(&self) {
        let _quiet = self.subject.quiet.write().await;
        let body = json!({ "encryption": "tenant" });
        let Some(made) = self.done("/backups", Some(body)).await else {
            return;
        };
        let backup = made["result"]["backup"].as_str().unwrap().to_owned();
        let of_it = format!("/v1/backups/{backup}");
        drop(
            self.desk
                .wish(Method::POST, &format!("{of_it}/verify"), None)
                .await,
        );
        let id = self.subject.id();
        for from in [backup.as_str(), "previous"] {
            let body = json!({ "from": from, "confirm": id });
            if self.done("/restore-backup", Some(body)).await.is_none() {
                break;
            }
        }
        let confirmed = format!("{of_it}?confirm={backup}");
        drop(self.desk.wish(Method::DELETE, &confirmed, None).await);
    }

    /// Cloned; the clone has what was acknowledged before, and is purged.
    async fn copied(&self) {
        let slug = unique("soak-clone");
        let before = self.subject.acknowledged();
        if self
            .done("/clones", Some(json!({ "slug": slug })))
            .await
            .is_some()
        {
            self.had(&slug, &before).await;
        }
    }

    /// Exported, and imported as another tenant, which is purged.
    async fn exported(&self) {
        let slug = unique("soak-import");
        let before = self.subject.acknowledged();
        let Some(made) = self.done("/export", None).await else {
            return;
        };
        let export = made["result"]["export"].as_str().unwrap().to_owned();
        let path = format!("/v1/exports/{export}/archive");
        let archive = self.desk.fetch(&path).await;
        self.desk.upload(&slug, archive).await;
        let body = json!({ "archive": slug, "slug": slug });
        if let End::Done(_) = self
            .desk
            .wish(Method::POST, "/v1/imports", Some(&body))
            .await
        {
            self.had(&slug, &before).await;
        }
        let confirmed = format!("/v1/backups/{export}?confirm={export}");
        drop(self.desk.wish(Method::DELETE, &confirmed, None).await);
    }

    async fn had(&self, slug: &str, before: &[String]) {
        let id = format!("t_{}", slug.replace('-', "_"));
        super::verdict::has_rows(self.world, self.desk, &id, before).await;
        purged(self.desk, &id).await;
    }

    async fn renamed(&self) {
        let path = self.path("");
        let shown = self.desk.ask(Method::GET, &path, None).await.expect(200);
        let body = json!({ "company": unique("Soaked") });
        let answer = self.desk.patch(&path, shown.header("etag"), &body).await;
        // Another change came first, or the answer to this one was swallowed.
        assert!(matches!(answer.status(), 200 | 409 | 412), "{answer}");
    }
}

async fn purged(desk: &Desk, id: &str) {
    let path = format!("/v1/tenants/{id}");
    desk.insist(Method::DELETE, &format!("{path}?confirm={id}"), None)
        .await;
    let body = json!({ "confirm": id, "force": id, "final_backup": "none" });
    desk.insist(Method::POST, &format!("{path}/purge"), Some(&body))
        .await;
}

/// Does one of a kind, where nobody is killed.
pub(super) async fn one_of(world: &World, desk: &Desk, subject: &Subject, kind: OperationKind) {
    let at = At {
        world,
        desk,
        subject,
    };
    let round = async |round| rounded(world, desk, round, &[subject.id()]).await;
    match kind {
        OperationKind::Suspend | OperationKind::Resume => at.do_it(Chore::Suspend).await,
        OperationKind::Delete | OperationKind::Undelete => at.do_it(Chore::Delete).await,
        OperationKind::Rotate => at.do_it(Chore::Rotate).await,
        OperationKind::Backup
        | OperationKind::VerifyBackup
        | OperationKind::RestoreBackup
        | OperationKind::ForgetBackup => at.do_it(Chore::Restore).await,
        OperationKind::Clone | OperationKind::Purge => at.do_it(Chore::Clone).await,
        OperationKind::Export | OperationKind::Import => at.do_it(Chore::Export).await,
        OperationKind::Move => at.do_it(Chore::Move("dump")).await,
        OperationKind::Transfer => at.do_it(Chore::Transfer).await,
        OperationKind::Change => at.do_it(Chore::Change).await,
        OperationKind::Create => round(Round::SignUp).await,
        OperationKind::BulkCreate => round(Round::File).await,
        OperationKind::Rollout => round(Round::RollOut).await,
        OperationKind::Drift => round(Round::Drift).await,
        OperationKind::RolloutTrial => round(Round::Trial).await,
        OperationKind::RotateFleet => round(Round::RotateFleet).await,
        OperationKind::Reseal => round(Round::Reseal).await,
        OperationKind::RotateSigningKey => round(Round::RotateSigningKey).await,
        OperationKind::Query => round(Round::Ask).await,
        OperationKind::Drain => round(Round::Drain("second")).await,
        OperationKind::Adopt => {}
    }
}

/// What concerns many.
#[derive(Debug, Clone, Copy)]
enum Round {
    SignUp,
    File,
    RollOut,
    Drift,
    Trial,
    RotateFleet,
    Reseal,
    RotateSigningKey,
    Ask,
    Drain(&'static str),
}

/// Those of a lane come one after the other, again and again; lanes go on side by side.
const LANES: [&[Round]; 10] = [
    &[Round::SignUp],
    &[Round::File],
    &[Round::RollOut],
    &[Round::Drift],
    &[Round::Trial],
    &[Round::RotateFleet],
    &[Round::Reseal],
    &[Round::RotateSigningKey],
    &[Round::Ask],
    &[Round::Drain("main"), Round::Drain("second")],
];

/// Between two rounds of a lane.
const ROUND_PAUSE: RangeInclusive<u64> = 2_000..=8_000;

/// What concerns many, until it is told to stop; the first round of each lane in any case.
pub(super) async fn of_the_fleet(
    world: &World,
    desk: &Desk,
    subjects: &[Arc<Subject>],
    seed: u64,
    stop: &CancellationToken,
) {
    let lanes = LANES.iter().enumerate().map(|(lane, rounds)| async move {
        let mut random = StdRng::seed_from_u64(seed - 1 - lane as u64);
        for number in 0.. {
            if stop.is_cancelled() && number > 0 {
                return;
            }
            let first = random.random_range(0..subjects.len());
            let some = subjects[first..].iter().take(4).map(|subject| subject.id());
            rounded(
                world,
                desk,
                rounds[number % rounds.len()],
                &some.collect::<Vec<_>>(),
            )
            .await;
            pause(&mut random, ROUND_PAUSE).await;
        }
    });
    join_all(lanes).await;
}

async fn rounded(world: &World, desk: &Desk, round: Round, some: &[&str]) {
    let filter = json!({ "ids": some });
    match round {
        Round::SignUp => signed_up(desk).await,
        Round::File => filed(desk).await,
        Round::RollOut => rolled_out(world, desk, some).await,
        Round::Drift => drop(post(desk, "/v1/drift", json!({ "filter": filter })).await),
        Round::Trial => {
            drop(post(desk, "/v1/rollouts/trial", json!({ "tenant": some[0] })).await);
        }
        Round::RotateFleet => {
            let body = json!({ "filter": filter, "at_once": 2 });
            drop(post(desk, "/v1/keys/credentials/rotate", body).await);
        }
        Round::Reseal => drop(desk.wish(Method::POST, "/v1/keys/reseal", None).await),
        Round::RotateSigningKey => {
            let path = "/v1/keys/signing/rotate";
            desk.ask(Method::POST, path, None).await.expect(200);
        }
        Round::Ask => {
            let body = json!({ "sql": "select count(*) from entries.entry" });
            drop(desk.ask(Method::POST, "/v1/query", Some(&body)).await);
        }
        Round::Drain(cluster) => drained(desk, cluster).await,
    }
}

async fn post(desk: &Desk, path: &str, body: Value) -> End {
    desk.wish(Method::POST, path, Some(&body)).await
}

/// Signed up with one key however often a kill swallows it, and stays.
async fn signed_up(desk: &Desk) {
    let slug = unique("soak-new");
    let body = crate::support::signup(&slug);
    let answer = desk.ask(Method::POST, "/v1/signup", Some(&body)).await;
    assert!(matches!(answer.status(), 201 | 202), "{answer}");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    if answer.status() == 202
        && !matches!(
            desk.follow(&super::desk::ticket(&answer)).await,
            End::Done(_)
        )
    {
        return;
    }
    desk.made(&id);
}

/// Two tenants of a file, who stay.
async fn filed(desk: &Desk) {
    let slugs = [unique("soak-row"), unique("soak-row")];
    let rows = slugs
        .each_ref()
        .map(|slug| crate::support::signup(slug).to_string());
    let begun = desk.file(&rows.join("\n")).await;
    if let End::Done(_) = desk
        .follow(&crate::fleet::harness::operation_of(&begun))
        .await
    {
        for slug in slugs {
            desk.made(&format!("t_{}", slug.replace('-', "_")));
        }
    }
}

/// As if the registry had missed that they are migrated.
async fn rolled_out(world: &World, desk: &Desk, some: &[&str]) {
    let ids: Vec<String> = some.iter().map(|id| format!("'{id}'")).collect();
    let sql = format!(
        "update registry.tenant set schema_versions = schema_versions || '{{\"entries\": 1}}'
         where id in ({})",
        ids.join(", ")
    );
    world.postgres().run("registry", &sql).await;
    drop(post(desk, "/v1/rollouts", json!({ "filter": { "ids": some } })).await);
}

async fn drained(desk: &Desk, cluster: &str) {
    let path = format!("/v1/clusters/{cluster}");
    drop(
        desk.wish(Method::POST, &format!("{path}/drain"), Some(&json!({})))
            .await,
    );
    let body = json!({ "status": "active" });
    desk.ask(Method::PATCH, &path, Some(&body))
        .await
        .expect(200);
}

//! An operator who asks whichever process of the platform lives, again and again with one key, until
//! there is an answer.
//!
//! Deliberately keeps what it has asked for: the verdict is about all of it. Invariant: one wish is one
//! `Idempotency-Key`, so a request that a kill has swallowed is not made twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;
use world::{Answer, PlatformProcess, Request, Speaker};

use crate::fleet::harness::operation_of;
use crate::support::unique;

const PAUSE: Duration = Duration::from_millis(60);

pub(super) struct Desk {
    operator: Speaker,
    /// How long a wish may take: with kills that come faster than its longest step it does not end.
    patience: Duration,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    urls: [Option<String>; 2],
    processes: Vec<PlatformProcess>,
    /// Tenants that were made besides the subjects and are to be there in the end.
    made: BTreeSet<String>,
    /// By kind and end.
    ends: BTreeMap<(String, String), usize>,
    undone: Vec<String>,
}

/// How a wish ended.
pub(super) enum End {
    Done(Value),
    Undone,
    Refused(Answer),
}

impl Desk {
    pub(super) fn new(operator: Speaker, patience: Duration) -> Self {
        Self {
            operator,
            patience,
            kept: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lost(&self, place: usize) {
        self.kept().urls[place] = None;
    }

    pub(super) fn found(&self, place: usize, url: String) {
        self.kept().urls[place] = Some(url);
    }

    /// Keeps processes until the end.
    pub(super) fn keep(&self, processes: Vec<PlatformProcess>) {
        self.kept().processes = processes;
    }

    /// A tenant was made that stays.
    pub(super) fn made(&self, tenant: &str) {
        self.kept().made.insert(tenant.to_owned());
    }

    pub(super) fn all_made(&self) -> BTreeSet<String> {
        self.kept().made.clone()
    }

    pub(super) fn ends(&self) -> BTreeMap<(String, String), usize> {
        self.kept().ends.clone()
    }

    pub(super) fn undone(&self) -> Vec<String> {
        self.kept().undone.clone()
    }

    fn any(&self) -> Option<Speaker> {
        let kept = self.kept();
        let living: Vec<_> = kept.urls.iter().flatten().collect();
        let chosen = living.get(rand::random_range(0..living.len().max(1)))?;
        Some(self.operator.clone().at(chosen))
    }

    /// Asks until somebody answers with anything but "not now".
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.send(&method, path, |request| match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    pub(super) async fn patch(&self, path: &str, tag: &str, body: &Value) -> Answer {
        let dress = |request: Request| request.header("if-match", tag).json(body);
        self.send(&Method::PATCH, path, dress).await
    }

    /// Begins the tenants of a file.
    pub(super) async fn file(&self, rows: &str) -> Answer {
        let kind = "application/x-ndjson";
        let dress = |request: Request| request.body_of_type(kind, rows.to_owned());
        let path = "/v1/tenants/bulk?wait=none";
        self.send(&Method::POST, path, dress).await.expect(202)
    }

    pub(super) async fn upload(&self, name: &str, archive: Vec<u8>) {
        let path = format!("/v1/imports/{name}");
        let dress = |request: Request| request.body_of_type("application/x-tar", archive.clone());
        self.send(&Method::PUT, &path, dress).await.expect(200);
    }

    pub(super) async fn fetch(&self, path: &str) -> Vec<u8> {
        let answer = self.ask(Method::GET, path, None).await.expect(200);
        answer.body().to_vec()
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        dress: impl Fn(Request) -> Request,
    ) -> Answer {
        let (began, key) = (Instant::now(), unique("soak"));
        let mut last = String::new();
        loop {
            assert!(began.elapsed() < self.patience, "{method} {path}: {last}");
            let Some(operator) = self.any() else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let mut request = operator.request(method.clone(), path);
            if *method == Method::POST || *method == Method::DELETE {
                request = request.header("idempotency-key", &key);
            }
            match dress(request)
                .give_up_after(Duration::from_secs(20))
                .try_send()
                .await
            {
                Ok(answer) if answer.status() < 500 && answer.status() != 429 => return answer,
                Ok(answer) => last = answer.to_string(),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, None).await.expect(200).json()
    }

    /// Begins an operation and follows it to its end.
    pub(super) async fn wish(&self, method: Method, path: &str, body: Option<&Value>) -> End {
        let joint = if path.contains('?') { '&' } else { '?' };
        let begun = self
            .ask(method, &format!("{path}{joint}wait=none"), body)
            .await;
        if begun.status() >= 300 {
            return End::Refused(begun);
        }
        self.follow(&operation_of(&begun)).await
    }

    /// Follows an operation to its end.
    pub(super) async fn follow(&self, id: &str) -> End {
        let (began, path) = (Instant::now(), format!("/v1/operations/{id}"));
        loop {
            let operation = self.get(&path).await;
            let state = operation["state"].as_str().unwrap_or_default().to_owned();
            if matches!(state.as_str(), "done" | "undone" | "stuck") {
                let kind = operation["kind"].as_str().unwrap_or_default().to_owned();
                *self.kept().ends.entry((kind, state.clone())).or_insert(0) += 1;
                assert_ne!(state, "stuck", "{operation:#}");
                if state == "done" {
                    return End::Done(operation);
                }
                self.kept().undone.push(format!("{operation:#}"));
                return End::Undone;
            }
            assert!(began.elapsed() < self.patience, "{operation:#}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Wishes the same until it is so: others' operations may stand in the way for a while.
    pub(super) async fn insist(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let began = Instant::now();
        loop {
            match self.wish(method.clone(), path, body).await {
                End::Done(operation) => return operation,
                End::Undone => {}
                End::Refused(answer) => {
                    assert_eq!(answer.code(), contract::Code::Conflict, "{answer}");
                    assert!(began.elapsed() < self.patience, "{answer}");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The operation of a sign-up that takes longer.
pub(super) fn ticket(answer: &Answer) -> String {
    let path = answer.json()["operation"]["path"].clone();
    let path = path.as_str().expect("a path").to_owned();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

//! Requests that nobody would send, made of what the documents describe.
//!
//! Deliberately without a tool from outside: a seed and a number name a case, and `WORLD_FUZZ_SEED` repeats a run;
//! what came of a case also depends on those before it. Invariants: no answer is our fault; whatever is refused
//! says so in one shape; no answer holds a secret or a field that is not described.

mod made;

use std::collections::BTreeMap;

use contract::ProblemDocument;
use futures::StreamExt as _;
use http::Method;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt, SeedableRng as _};
use serde_json::{Value, json};
use world::{Answer, Request, Speaker, World, WorldOptions};

use self::made::{Bent, case_of};
use crate::bodies::{body_schema, undocumented};
use crate::limits::unlimited;
use crate::support::{Described, document, entry, operations};

const CASES: u64 = 10_000;
/// Of a run that nobody gave one: what is green stays green, and other seeds are for who looks for more.
const SEED: u64 = 1;
/// The soak's desk of operators has as many hands.
const AT_ONCE: usize = 16;

/// An operation, and who may call it.
struct Target {
    document: usize,
    operation: Described,
    speaker: Speaker,
    /// What it may be told in its path, its query and its headers: name, place, example.
    parameters: Vec<(String, String)>,
    body: Option<Value>,
}

/// All listeners.
struct Ground {
    documents: Vec<Value>,
    targets: Vec<Target>,
    /// Names of things that are there.
    there: Vec<String>,
    secrets: Vec<String>,
}

impl Ground {
    async fn of(world: &World) -> Self {
        let (acme, beta) = (world.tenant("fuzzed").await, world.tenant("victim").await);
        unlimited(world, &acme).await;
        let made = acme.owner().post("/v1/entries", entry("There")).await;
        let made = made.expect(201).json()["id"].as_str().unwrap().to_owned();
        let key = json!({ "name": "there", "scopes": ["tenants:read"] });
        let key = world.operator().post("/v1/operator-keys", key).await;
        let key = key.expect(201).json()["id"].as_str().unwrap().to_owned();
        let export = format!("/v1/tenants/{}/export", beta.id());
        let export = world.operator().post(&export, json!({})).await.json();
        let export = export["id"].as_str().unwrap_or("op_").to_owned();
        let mut ground = Self {
            documents: Vec::new(),
            targets: Vec::new(),
            there: vec![
                made,
                key,
                export,
                beta.id().to_string(),
                "main".to_owned(),
                "standard".to_owned(),
            ],
            secrets: world.secrets(),
        };
        let own = "select platform_credential from registry.cluster";
        ground
            .secrets
            .extend(world.postgres().texts("registry", own).await);
        for (document, speaker) in [
            (document(&world.anonymous()).await, acme.owner()),
            (document(&world.visitor()).await, world.operator()),
            (document(&world.platform()).await, world.platform()),
            (document(&world.service()).await, world.service()),
        ] {
            ground.add(document, &speaker);
        }
        ground
    }

    fn add(&mut self, document: Value, speaker: &Speaker) {
        for operation in operations(&document) {
            // An answer that does not end by itself.
            if operation.id == "rollouts.events" {
                continue;
            }
            let method = operation.method.as_str().to_ascii_lowercase();
            let described = &document["paths"][&operation.path][method]["parameters"];
            let parameters = described.as_array().into_iter().flatten();
            let parameters = parameters.map(|one| {
                let text = |field: &str| one[field].as_str().unwrap().to_owned();
                (text("name"), text("in"))
            });
            let schema = body_schema(&document, &operation);
            self.targets.push(Target {
                document: self.documents.len(),
                parameters: parameters.collect(),
                body: schema.map(|schema| crate::bodies::example(&document, schema)),
                speaker: speaker.clone(),
                operation,
            });
        }
        self.documents.push(document);
    }

    /// What is wrong with an answer to a call that is this operation's, or anything.
    fn objection(&self, operation: Option<&Target>, answer: &Answer) -> Option<String> {
        let said = answer.text();
        if let Some(secret) = self.secrets.iter().find(|secret| said.contains(&***secret)) {
            let start: String = secret.chars().take(6).collect();
            return Some(format!("it holds the secret {start}..."));
        }
        // The client opens nothing that it did not ask for itself.
        let is_packed = !answer.header("content-encoding").is_empty();
        match answer.status() {
            500..=502 | 504.. => Some("our fault".to_owned()),
            _ if is_packed => None,
            200..=299 => {
                let target = operation?;
                if !answer.header("content-type").ends_with("/json") {
                    return None;
                }
                let document = &self.documents[target.document];
                let beyond = undocumented(document, &target.operation, answer);
                (!beyond.is_empty()).then(|| format!("not described: {beyond:?}"))
            }
            // An answer to HEAD has no body to say anything in.
            _ if answer.body().is_empty() && operation.is_none() => None,
            status => {
                let is_problem = answer.header("content-type") == "application/problem+json";
                let document = serde_json::from_slice::<ProblemDocument>(answer.body());
                let fits = document.is_ok_and(|document| {
                    document.status == status && document.request_id.is_some()
                });
                let when = answer.header("retry-after").parse::<u64>();
                let says_when = !matches!(status, 429 | 503) || when.is_ok_and(|after| after > 0);
                (!(is_problem && fits && says_when)).then(|| "not a problem document".to_owned())
            }
        }
    }
}

/// One case: what is asked, and of whom.
async fn tried(ground: &Ground, seed: u64, number: u64) -> (u16, Option<String>) {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(CASES).wrapping_add(number));
    let target = ground.targets.choose(&mut rng).unwrap();
    let (request, bent) = case_of(&mut rng, target, &ground.there);
    let operation = matches!(bent, Bent::Contents).then_some(target);
    let shown = format!("case {number}: {request:?}");
    let answer = match request.try_send().await {
        Ok(answer) => answer,
        // What this client does not send.
        Err(error) if error.is_builder() => return (0, None),
        Err(error) => return (0, Some(format!("{shown}\n  {error:?}"))),
    };
    let objection = ground.objection(operation, &answer);
    let objection = objection.map(|objection| format!("{shown}\n  {objection}: {answer}"));
    (answer.status(), objection)
}

#[tokio::test]
#[expect(
    clippy::print_stdout,
    reason = "what repeats the run, and what it came to"
)]
async fn whatever_is_sent_is_answered_in_one_shape_and_is_never_our_fault() {
    let objects = tempfile::tempdir().unwrap();
    let options = WorldOptions::default()
        .stock_level(1)
        .platform_setting("objects.folder", objects.path().to_str().unwrap())
        // Nobody waits for what is begun.
        .platform_setting("operations.wait", "10ms")
        .platform_setting("signup.wait", "10ms")
        .platform_setting("signup.per_address", "1000000/1s")
        .platform_setting("signup.overall", "1000000/1s")
        .app_setting("auth.sign_in_per_address", "1000000/1s");
    let world = World::with(options).await;
    let ground = Ground::of(&world).await;
    let seed = std::env::var("WORLD_FUZZ_SEED").ok();
    let seed = seed.map_or(SEED, |seed| seed.parse().unwrap());
    println!("WORLD_FUZZ_SEED={seed}");
    let mut statuses = BTreeMap::<u16, u64>::new();
    let mut objections = Vec::new();
    let began = std::time::Instant::now();
    let mut cases = futures::stream::iter(0..CASES)
        .map(|number| tried(&ground, seed, number))
        .buffer_unordered(AT_ONCE);
    while let Some((status, objection)) = cases.next().await {
        *statuses.entry(status).or_default() += 1;
        objections.extend(objection);
    }
    println!("{statuses:?} in {:?}", began.elapsed());
    assert!(
        objections.is_empty(),
        "WORLD_FUZZ_SEED={seed}: {} of {CASES}\n{}",
        objections.len(),
        objections[..objections.len().min(30)].join("\n")
    );
    // It is not the door alone that was tried.
    for deep in [200, 400, 404, 415, 422] {
        assert!(statuses.contains_key(&deep), "{deep}: {statuses:?}");
    }
    let served: u64 = statuses.range(200..300).map(|(_, count)| count).sum();
    assert!(served > CASES / 20, "{statuses:?}");
}

//! Rules of passwords: what is accepted, what is stored, what is found.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::*;

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn password(text: &str) -> Password {
    Password::parse(secret(text), &[]).unwrap()
}

fn refusal(text: &str, about: &[&str]) -> PasswordRefusal {
    Password::parse(secret(text), about).unwrap_err()
}

fn weak() -> Hasher {
    Hasher::new(PasswordCost::weak_for_tests()).unwrap()
}

#[tokio::test]
async fn stored_text_has_the_owasp_minimum() {
    let hasher = Hasher::new(PasswordCost::default()).unwrap();
    let stored = hasher
        .hash(&password("correct horse battery"))
        .await
        .unwrap();
    assert!(
        stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
        "{stored}"
    );
    let found = hasher
        .verify(&secret("correct horse battery"), &stored)
        .await
        .unwrap();
    assert_eq!(
        found,
        Verified::Match {
            stored: Stored::Current
        }
    );
    assert_eq!(
        hasher
            .verify(&secret("correct horse batterz"), &stored)
            .await
            .unwrap(),
        Verified::Mismatch
    );
    hasher
        .verify_nobody(&secret("correct horse battery"))
        .await
        .unwrap();
    assert!(hasher.dummy.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
}

#[tokio::test]
async fn hash_of_another_cost_is_outdated() {
    let stored = weak()
        .hash(&password("correct horse battery"))
        .await
        .unwrap();
    let hasher = Hasher::new(PasswordCost::default()).unwrap();
    assert_eq!(
        hasher
            .verify(&secret("correct horse battery"), &stored)
            .await
            .unwrap(),
        Verified::Match {
            stored: Stored::Outdated
        }
    );
}

#[tokio::test]
async fn long_and_foreign_passwords_are_hashed_whole() {
    let hasher = weak();
    let base: String = "пароль-лошадь-батарея-🐴 "
        .chars()
        .cycle()
        .take(127)
        .collect();
    let stored = hasher.hash(&password(&format!("{base}a"))).await.unwrap();
    let other = hasher
        .verify(&secret(&format!("{base}b")), &stored)
        .await
        .unwrap();
    assert_eq!(other, Verified::Mismatch);
    let trimmed = hasher
        .hash(&password(" correct horse battery "))
        .await
        .unwrap();
    let other = hasher
        .verify(&secret("correct horse battery"), &trimmed)
        .await
        .unwrap();
    assert_eq!(other, Verified::Mismatch);
}

#[tokio::test]
async fn two_hashes_of_one_password_differ() {
    let hasher = weak();
    let chosen = password("correct horse battery");
    assert_ne!(
        hasher.hash(&chosen).await.unwrap(),
        hasher.hash(&chosen).await.unwrap()
    );
}

#[tokio::test]
async fn stored_nonsense_is_an_error_and_not_a_mismatch() {
    let found = weak().verify(&secret("whatever"), "not a hash").await;
    assert!(matches!(found, Err(PasswordError::Stored(_))));
}

#[tokio::test]
async fn full_queue_is_refused() {
    let hasher = weak();
    let all = u32::try_from(hasher.waiting.available_permits()).unwrap();
    let taken = hasher.waiting.acquire_many(all).await.unwrap();
    assert!(matches!(
        hasher.verify_nobody(&secret("x")).await,
        Err(PasswordError::Busy)
    ));
    drop(taken);
    hasher.verify_nobody(&secret("x")).await.unwrap();
}

/// Who is at work, and whether they may end.
#[derive(Default)]
struct Workshop {
    inside: Mutex<(usize, usize)>,
    open: (Mutex<bool>, Condvar),
}

impl Workshop {
    /// Works until the workshop is opened.
    fn work(&self) {
        {
            let mut inside = self.inside.lock().unwrap();
            inside.0 += 1;
            inside.1 = inside.1.max(inside.0);
        }
        let (open, opened) = &self.open;
        let closed = open.lock().unwrap();
        drop(opened.wait_while(closed, |open| !*open).unwrap());
        self.inside.lock().unwrap().0 -= 1;
    }

    fn open(&self) {
        *self.open.0.lock().unwrap() = true;
        self.open.1.notify_all();
    }

    fn at_once(&self) -> usize {
        self.inside.lock().unwrap().1
    }
}

/// Nobody is kept in a workshop whose test has failed.
struct OpenAtLast(Arc<Workshop>);

impl Drop for OpenAtLast {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[tokio::test]
async fn two_hashes_per_core_run_at_once_whoever_waits_and_whoever_goes_away() {
    const LOG_INS: usize = 200;
    let hasher = weak();
    let cores = std::thread::available_parallelism().unwrap().get();
    let at_most = 2 * cores;
    let workshop = Arc::new(Workshop::default());
    let _open = OpenAtLast(Arc::clone(&workshop));
    let log_ins: Vec<_> = (0..LOG_INS + at_most)
        .map(|_| {
            let (hasher, workshop) = (hasher.clone(), Arc::clone(&workshop));
            tokio::spawn(async move {
                let work = move |_: &Argon2<'static>| {
                    workshop.work();
                    Ok(())
                };
                hasher.run(work).await
            })
        })
        .collect();
    let began = Instant::now();
    while workshop.at_once() < at_most {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::task::yield_now().await;
    }
    // Whoever goes away leaves its place to nobody before its work is done.
    let (gone, stayed) = log_ins.split_at(at_most);
    for log_in in gone {
        log_in.abort();
    }
    while !gone.iter().all(tokio::task::JoinHandle::is_finished) {
        tokio::task::yield_now().await;
    }
    // Whoever had such a place by now would be before this in the workers' queue.
    tokio::task::yield_now().await;
    tokio::task::spawn_blocking(|| ()).await.unwrap();
    assert_eq!(workshop.at_once(), at_most);
    assert!(stayed.iter().all(|log_in| !log_in.is_finished()));
    workshop.open();
    for log_in in log_ins.into_iter().skip(at_most) {
        log_in.await.unwrap().unwrap();
    }
    assert_eq!(workshop.at_once(), at_most);
}

#[test]
fn length_is_counted_in_characters() {
    assert_eq!(refusal("gT5#kP2", &[]), PasswordRefusal::TooShort);
    assert_eq!(refusal("🐴🐴🐴🐴🐴🐴🐴", &[]), PasswordRefusal::TooShort);
    assert_eq!(refusal(&"x7".repeat(65), &[]), PasswordRefusal::TooLong);
    assert_eq!(
        refusal(&"x7".repeat(100_000), &[]),
        PasswordRefusal::TooLong
    );
}

#[test]
fn common_passwords_are_refused_with_advice() {
    for common in [
        "password",
        "12345678",
        "qwertyuiop",
        "iloveyou1",
        "Password1!",
        "aaaaaaaaaaaa",
        "abcdefgh",
        "trustno1",
    ] {
        let words = refusal(common, &[]).to_string();
        assert!(
            words.starts_with("is too easy to guess: "),
            "{common}: {words}"
        );
    }
}

/// The 3,000 most common passwords, the most common first, of the frequency list of zxcvbn 3.1.1,
/// whose licence lies beside it.
const COMMON: &str = include_str!("common.txt");

#[test]
fn the_three_thousand_most_common_passwords_are_refused() {
    assert_eq!(COMMON.lines().count(), 3_000);
    let mut guessable = 0;
    for common in COMMON.lines() {
        match refusal(common, &[]) {
            PasswordRefusal::TooShort => assert!(common.chars().count() < 8, "{common}"),
            refused => {
                assert!(
                    matches!(refused, PasswordRefusal::Guessable { .. }),
                    "{common}"
                );
                guessable += 1;
            }
        }
        // Nor is it any better twice.
        let twice = Password::parse(secret(&common.repeat(2)), &[]);
        assert!(twice.is_err(), "{common}");
    }
    assert!(guessable > 100, "{guessable}");
}

#[test]
fn what_is_known_of_the_person_is_refused() {
    let about = ["annabel.quist@zimbolla.example", "Zimbolla Machines"];
    for chosen in ["annabel.quist", "Zimbolla1", "zimbollaquist"] {
        assert!(Password::parse(secret(chosen), &[]).is_ok(), "{chosen}");
        assert!(
            matches!(refusal(chosen, &about), PasswordRefusal::Guessable { .. }),
            "{chosen}"
        );
    }
}

#[test]
fn debug_shows_nothing() {
    let shown = format!("{:?} {:?}", password("correct horse battery"), weak());
    assert!(!shown.contains("horse"));
}

#[test]
fn cost_has_a_floor_and_a_ceiling() {
    assert!(PasswordCost::new(19 * 1024, 2, 1).is_ok());
    assert!(PasswordCost::new(46 * 1024, 1, 1).is_ok());
    for (memory, iterations, lanes) in [
        (19 * 1024 - 1, 2, 1),
        (19 * 1024, 1, 1),
        (19 * 1024, 2, 0),
        (u32::MAX, 2, 1),
        (19 * 1024, u32::MAX, 1),
        (64, 1, 1),
    ] {
        assert!(PasswordCost::new(memory, iterations, lanes).is_err());
    }
}

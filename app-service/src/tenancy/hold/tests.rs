//! Who waits, who is woken, and who is sent away.

use futures::future::join_all;

use super::*;

/// Long enough for all to be counted: they come in one turn of the loop.
const MOMENT: Duration = Duration::from_millis(20);

/// Longer than any of these tests.
const LONG: Duration = Duration::from_secs(10);

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

#[tokio::test]
async fn the_end_wakes_everybody() {
    let (holds, acme) = (Holds::default(), tenant("t_acme"));
    holds.begin(&acme, 4);
    assert!(holds.is_held(&acme));
    let waiting = join_all((0..10).map(|_| holds.wait(&acme, LONG)));
    let ending = async {
        tokio::task::yield_now().await;
        holds.end(&acme, 5);
    };
    let (waited, ()) = tokio::join!(waiting, ending);
    assert!(waited.iter().all(Result::is_ok));
    assert!(!holds.is_held(&acme));
    assert_eq!(holds.0.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn nobody_waits_for_a_tenant_that_is_not_held() {
    let holds = Holds::default();
    assert_eq!(holds.wait(&tenant("t_acme"), LONG).await, Ok(()));
}

#[tokio::test]
async fn older_news_end_nothing() {
    let (holds, acme) = (Holds::default(), tenant("t_acme"));
    holds.begin(&acme, 4);
    holds.end(&acme, 3);
    holds.end(&acme, 4);
    holds.end(&tenant("t_beta"), 9);
    assert!(holds.is_held(&acme));
    holds.begin(&acme, 6);
    holds.end(&acme, 5);
    assert!(holds.is_held(&acme));
    holds.end_all();
    assert!(!holds.is_held(&acme));
}

#[tokio::test]
async fn a_wait_is_bounded_in_time_and_number() {
    let (holds, acme) = (Holds::default(), tenant("t_acme"));
    holds.begin(&acme, 1);
    let waiting = join_all((0..=WAITING_PER_TENANT).map(|_| holds.wait(&acme, MOMENT)));
    let waited = waiting.await;
    let crowded = waited.iter().filter(|waited| waited.is_err()).count();
    assert_eq!(crowded, 1);
    // All of them are gone.
    assert_eq!(holds.wait(&acme, MOMENT).await, Ok(()));
    assert!(holds.is_held(&acme));
}

//! Digests tell requests apart, and a key is taken in once at a time.

use super::*;

fn secret() -> Secret {
    Secret::new("0123456789abcdef0123456789abcdef".to_owned())
}

fn of(door: &str, key: &str, fields: &[Option<&str>]) -> Fingerprint {
    fingerprint(&secret(), door, key, fields).unwrap()
}

#[test]
fn the_same_request_has_the_same_fingerprint() {
    let fields = [Some("Acme"), None, Some("a@acme.test")];
    assert_eq!(of("signup", "k", &fields), of("signup", "k", &fields));
}

#[test]
fn fields_do_not_run_into_each_other() {
    let requests = [
        of("signup", "k", &[Some("ab"), Some("c")]),
        of("signup", "k", &[Some("a"), Some("bc")]),
        of("signup", "k", &[Some("abc"), None]),
        of("signup", "k", &[None, Some("abc")]),
        of("signup", "k", &[Some("abc"), Some("")]),
    ];
    for (index, one) in requests.iter().enumerate() {
        for other in &requests[index + 1..] {
            assert_ne!(one.request, other.request);
        }
    }
}

#[test]
fn doors_do_not_share_keys() {
    assert_ne!(of("signup", "k", &[]).key, of("operator/x", "k", &[]).key);
    assert_ne!(of("a", "bk", &[]).key, of("ab", "k", &[]).key);
}

#[test]
fn a_repeat_gets_the_same_token_and_others_do_not() {
    let first = of("signup", "k", &[Some("Acme")]);
    let token = |of: Option<&Fingerprint>| PollToken::new(&secret(), of).unwrap();
    assert_eq!(token(Some(&first)).expose(), token(Some(&first)).expose());
    let other = of("signup", "k", &[Some("Other")]);
    assert_ne!(token(Some(&first)).expose(), token(Some(&other)).expose());
    assert_ne!(token(None).expose(), token(None).expose());
    assert_eq!(
        Some(token(Some(&first)).digest()),
        poll_digest(token(Some(&first)).expose())
    );
}

#[test]
fn a_key_is_taken_in_once_at_a_time() {
    let keys = InProgress::default();
    let request = of("signup", "k", &[]);
    let first = keys.begin(&request).unwrap();
    assert_eq!(
        keys.begin(&request).unwrap_err().code(),
        Code::IdempotencyKeyInProgress
    );
    drop(first);
    assert!(keys.begin(&request).is_ok());
}

#[test]
fn what_is_no_poll_token_is_not_looked_up() {
    for text in ["", "poll_", "poll_short", "opk_x", "eyJhbGciOi.e30.x"] {
        assert_eq!(poll_digest(text), None, "{text}");
    }
}

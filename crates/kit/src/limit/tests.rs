//! Rules of rate limits: bursts, waits, and memory that stays bounded under a flood of keys.

use super::*;

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

#[test]
fn burst_then_wait() {
    let limiter = GlobalLimiter::new(rate("3/1h"));
    for _ in 0..3 {
        limiter.check().unwrap();
    }
    let Wait(wait) = limiter.check().unwrap_err();
    assert!(
        wait > Duration::from_secs(1_100) && wait <= Duration::from_secs(1_200),
        "{wait:?}"
    );
}

#[test]
fn keys_have_limits_of_their_own() {
    let limiter = KeyedLimiter::new(rate("2/1h"), 10);
    limiter.check(&"a").unwrap();
    limiter.check(&"a").unwrap();
    assert!(limiter.check(&"a").is_err());
    limiter.check(&"b").unwrap();
}

#[test]
fn flood_of_keys_is_refused_and_known_keys_go_on() {
    let limiter = KeyedLimiter::new(rate("100/1h"), 50);
    limiter.check(&0).unwrap();
    let refused = (1..2_000).filter(|key| limiter.check(key).is_err()).count();
    assert_eq!(limiter.len(), 50);
    assert_eq!(refused, 1_950);
    limiter.check(&0).unwrap();
}

#[test]
fn stale_keys_make_room() {
    let limiter = KeyedLimiter::new(rate("1000/1ms"), 50);
    let mut granted = 0;
    let started = Instant::now();
    for key in 0.. {
        granted += usize::from(limiter.check(&key).is_ok());
        assert!(limiter.len() <= 50);
        if granted > 50 || started.elapsed() > Duration::from_secs(30) {
            break;
        }
    }
    assert!(granted > 50);
}

#[test]
fn rates_are_read_and_written() {
    for text in ["10/1m", "1/1s", "5000/1s"] {
        assert_eq!(rate(text).to_string(), text);
    }
    for text in ["", "10", "0/1m", "10/0s", "10/m", "-1/1s", "4000000000/1s"] {
        assert!(text.parse::<Rate>().is_err(), "{text}");
    }
}

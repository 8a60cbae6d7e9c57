//! What the configuration file says.

use super::{Profile, file};

#[test]
fn only_the_throw_away_profile_is_unsafe() {
    assert!(!file(5432, 100, Profile::Durable, &[]).contains("fsync"));
    assert!(file(5432, 100, Profile::ThrowAway, &[]).contains("fsync = 'off'"));
}

#[test]
fn further_settings_come_last_and_are_quoted() {
    let text = file(
        5432,
        42,
        Profile::Durable,
        &[("cluster_name".to_owned(), "it's".to_owned())],
    );
    assert!(text.contains("port = '5432'") && text.contains("max_connections = '42'"));
    assert!(text.ends_with("cluster_name = 'it''s'\n"), "{text}");
    assert_eq!(text.contains("syncfs"), cfg!(target_os = "linux"));
}

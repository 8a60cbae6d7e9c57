//! Quoting, and which texts are names of ours.

use super::name::NotOurs;
use super::*;

#[test]
fn quotes_cannot_be_left() {
    assert_eq!(
        ident("t_a\"; drop role x; --"),
        "\"t_a\"\"; drop role x; --\""
    );
    assert_eq!(literal("it's \\'"), "E'it''s \\\\'''");
}

#[test]
fn names_are_read_as_they_are_written() {
    let longest = format!("t_{}", "a".repeat(40));
    for text in [
        "t_acme",
        "stock:7",
        "tpl:12",
        "side:t_acme:4",
        "old:t_acme:3",
        &format!("deleted:{longest}:4294967295"),
        "scratch:0192f0c1a2b37c4d8e9f0a1b2c3d4e5f",
        "psql:0192f0c1a2b37c4d8e9f0a1b2c3d4e5f",
    ] {
        assert_eq!(text.parse::<Name>().unwrap().to_string(), text);
        assert!(text.len() <= 63, "{text}");
    }
    for text in [
        "",
        "postgres",
        "stock:",
        "stock:07",
        "stock:+7",
        "tpl:x",
        "deleted:t_acme",
        "deleted:t_acme:03",
        "old:acme:3",
        "scratch:0192F0C1A2B37C4D8E9F0A1B2C3D4E5F",
        "t_",
    ] {
        assert_eq!(text.parse::<Name>(), Err(NotOurs), "{text}");
    }
}

#[test]
fn only_what_is_meant_is_dropped() {
    let found = |mark: &str, state| Look {
        database: Some(DatabaseLook {
            marker: None,
            state,
        }),
        role: Some(RoleLook {
            mark: Some(mark.to_owned()),
        }),
    };
    let mine = found("tenantry:mine", DatabaseState::Open);
    let others = found("tenantry:others", DatabaseState::Open);
    let broken = found("tenantry:others", DatabaseState::HalfDropped);
    assert!(Whose::Marked("tenantry:mine").covers(&mine));
    assert!(!Whose::Marked("tenantry:mine").covers(&others));
    assert!(!Whose::HalfDropped.covers(&others));
    assert!(Whose::HalfDropped.covers(&broken));
}

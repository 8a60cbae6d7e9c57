//! The edges of the rules of entries.

use serde_json::{Value, json};

use super::{Batch, Body, Search, Title};
use crate::entries::{EntryPatch, NewEntry};

fn title(text: &str) -> bool {
    Title::try_from(text.to_owned()).is_ok()
}

fn body(value: Value) -> bool {
    serde_json::from_value::<Body>(value).is_ok()
}

#[test]
fn a_title_has_1_to_200_characters() {
    assert!(title("a"));
    assert!(title(&"é".repeat(200)));
    assert!(title("'; drop table entries.entry; --"));
    for refused in ["", "  ", "a\0b", "a\nb", "\u{1b}[31m", &"é".repeat(201)] {
        assert!(!title(refused), "{refused:?}");
    }
}

#[test]
fn a_body_is_an_object_of_at_most_64_kib() {
    assert!(body(json!({})));
    assert!(body(json!({"a": [1, {"b": null}]})));
    // {"a":"..."} has 8 bytes around the text.
    assert!(body(json!({"a": "x".repeat(65_536 - 8)})));
    assert!(!body(json!({"a": "x".repeat(65_536 - 7)})));
    for refused in [json!([]), json!("text"), json!(1), json!(null), json!(true)] {
        assert!(!body(refused.clone()), "{refused}");
    }
}

#[test]
fn a_batch_has_1_to_500_entries() {
    let batch = |count: usize| {
        let entries: Vec<NewEntry> = std::iter::repeat_with(|| {
            serde_json::from_value(json!({"title": "a", "body": {}})).unwrap()
        })
        .take(count)
        .collect();
        Batch::try_from(entries).is_ok()
    };
    assert!(!batch(0));
    assert!(batch(1));
    assert!(batch(500));
    assert!(!batch(501));
}

#[test]
fn a_search_has_1_to_200_characters() {
    for (text, valid) in [
        ("kickoff", true),
        ("\"a b\" -c", true),
        ("", false),
        (" ", false),
        ("a\0", false),
    ] {
        assert_eq!(Search::try_from(text.to_owned()).is_ok(), valid, "{text:?}");
    }
    assert!(Search::try_from("a".repeat(201)).is_err());
}

#[test]
fn fields_that_are_ours_to_set_are_refused() {
    for (name, value) in [
        ("id", json!("ent_0192f0c1a4b27c3d8e9fa0b1c2d3e4f5")),
        ("tenant_id", json!("t_other")),
        ("version", json!(7)),
        ("created_by", json!("usr_other")),
        ("created_at", json!("2020-01-01T00:00:00Z")),
    ] {
        let mut entry = json!({"title": "a", "body": {}});
        entry[name] = value;
        assert!(
            serde_json::from_value::<NewEntry>(entry.clone()).is_err(),
            "{name}"
        );
        assert!(
            serde_json::from_value::<EntryPatch>(entry).is_err(),
            "{name}"
        );
    }
}

#[test]
fn a_patch_leaves_out_but_never_nulls() {
    let patch: EntryPatch = serde_json::from_value(json!({"title": "b"})).unwrap();
    assert!(patch.title.is_some() && patch.body.is_none());
    assert!(serde_json::from_value::<EntryPatch>(json!({"title": null})).is_err());
    assert!(serde_json::from_value::<EntryPatch>(json!({"body": null})).is_err());
}

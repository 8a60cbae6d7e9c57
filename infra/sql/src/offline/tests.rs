//! Comparing and replacing folders of offline data.

use super::{Drift, OfflineData};

fn data(files: &[(&str, &str)]) -> OfflineData {
    let file = |(name, query): &(&str, &str)| {
        let content = serde_json::json!({ "query": query }).to_string();
        ((*name).to_owned(), content.into_bytes())
    };
    OfflineData(files.iter().map(file).collect())
}

#[test]
fn drift_names_every_statement() {
    let kept = data(&[("a", "select  1"), ("b", "select 2"), ("c", "select 3")]);
    let needed = data(&[("a", "select  1"), ("b", "select 20"), ("d", "select\n 4")]);
    let drift = Drift::between(&kept, &needed).to_string();
    assert_eq!(
        drift,
        "3 differ from what is kept\n  changed: select 20\n  missing: select 4\n  \
         not needed any more: select 3"
    );
    assert!(Drift::between(&needed, &needed).is_none());
}

#[test]
fn a_folder_is_made_to_hold_exactly_this() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join(".sqlx");
    data(&[("a", "select 1"), ("b", "select 2")])
        .replace(&kept)
        .unwrap();
    std::fs::write(kept.join("c.new"), "left by a killed run").unwrap();
    let needed = data(&[("a", "select 10"), ("d", "select 4")]);
    needed.replace(&kept).unwrap();
    assert!(Drift::between(&OfflineData::read(&kept).unwrap(), &needed).is_none());
}

#[test]
fn a_missing_folder_has_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let read = OfflineData::read(&folder.path().join("none")).unwrap();
    assert_eq!(read.len(), 0);
}

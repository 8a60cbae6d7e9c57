//! What is listed of two counts.

use super::*;

fn rows(tables: &[(&str, Option<u64>)]) -> Rows {
    let tables = tables.iter();
    tables
        .map(|(name, rows)| ((*name).to_owned(), *rows))
        .collect()
}

#[test]
fn tables_that_differ_are_listed_by_how_much() {
    let now = rows(&[
        ("auth.account", Some(3)),
        ("entries.entry", Some(10)),
        ("entries.gone", Some(2)),
        ("entries.nothing", Some(0)),
        ("entries.slow", None),
    ]);
    let then = rows(&[
        ("auth.account", Some(3)),
        ("entries.come", Some(7)),
        ("entries.entry", Some(4)),
        ("entries.slow", Some(1)),
    ]);
    let changes = Changes::between(&now, &then);
    let listed: Vec<_> = changes
        .tables
        .iter()
        .map(|one| (one.table.as_str(), one.rows_now, one.rows_then))
        .collect();
    let expected = [
        ("entries.come", Some(0), Some(7)),
        ("entries.entry", Some(10), Some(4)),
        ("entries.gone", Some(2), Some(0)),
        ("entries.slow", None, Some(1)),
    ];
    assert_eq!(listed, expected);
    assert_eq!(changes.unlisted, 0);
}

#[test]
fn a_list_has_an_end() {
    let names: Vec<String> = (0..60).map(|number| format!("a.t{number:02}")).collect();
    let now = names.iter().enumerate();
    let now: Rows = now
        .map(|(number, name)| (name.clone(), Some(number as u64 + 1)))
        .collect();
    let changes = Changes::between(&now, &Rows::new());
    assert_eq!((changes.tables.len(), changes.unlisted), (LISTED, 10));
    assert_eq!(changes.tables[0].table, "a.t59");
}

//! What is refused before anything is sent.

use super::*;

#[test]
fn a_migration_without_its_statements_is_not_noted_as_applied() {
    let file = Migration::unapplied("V1__first", "select 1").unwrap();
    assert_eq!(statements_of(&file).unwrap(), "select 1");
    let now = OffsetDateTime::now_utc();
    let noted = Migration::applied(file.version(), file.name().to_owned(), now, file.checksum());
    assert!(matches!(
        statements_of(&noted),
        Err(MigrateError::Failed {
            statement: None,
            ..
        })
    ));
}

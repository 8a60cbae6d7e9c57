//! The statement of each kind of change.

use super::*;

fn tables() -> HashMap<u32, Table> {
    let column = |name: &str, of_type: &str, part, settable| TableColumn {
        name: name.to_owned(),
        of_type: of_type.to_owned(),
        part,
        settable,
    };
    let table = Table {
        name: "entries.\"Entry\"".to_owned(),
        columns: vec![
            column("id", "bigint", Part::Key, Settable::AtBirth),
            column(
                "title",
                "character varying(20)",
                Part::Plain,
                Settable::Always,
            ),
            column("body", "jsonb", Part::Plain, Settable::Always),
        ],
    };
    HashMap::from([(7, table)])
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn of(change: Message) -> (String, Vec<Option<String>>) {
    let statement = statement(&tables(), change).unwrap().unwrap();
    (statement.sql, statement.values)
}

#[test]
fn a_new_row_has_every_value() {
    let (sql, values) = of(Message::Insert {
        relation: 7,
        new: vec![text("1"), text("it's"), Value::Null],
    });
    assert_eq!(
        sql,
        "insert into entries.\"Entry\" (id, title, body) overriding system value \
         values ($1::text::bigint, $2::text::character varying(20), $3::text::jsonb)"
    );
    assert_eq!(
        values,
        [Some("1".to_owned()), Some("it's".to_owned()), None]
    );
}

#[test]
fn a_change_leaves_out_what_stays() {
    let (sql, values) = of(Message::Update {
        relation: 7,
        key: None,
        new: vec![text("1"), text("b"), Value::Unchanged],
    });
    assert_eq!(
        sql,
        "update entries.\"Entry\" set title = $1::text::character varying(20) \
         where id = $2::text::bigint"
    );
    assert_eq!(values, [Some("b".to_owned()), Some("1".to_owned())]);
    let nothing = Message::Update {
        relation: 7,
        key: None,
        new: vec![text("1"), Value::Unchanged, Value::Unchanged],
    };
    assert_eq!(statement(&tables(), nothing).unwrap(), None);
}

#[test]
fn a_row_is_found_by_the_key_that_it_had() {
    let (sql, values) = of(Message::Delete {
        relation: 7,
        key: vec![text("1"), Value::Null, Value::Null],
    });
    assert_eq!(
        sql,
        "delete from entries.\"Entry\" where id = $1::text::bigint"
    );
    assert_eq!(values, [Some("1".to_owned())]);
}

#[test]
fn tables_are_emptied_together() {
    let (sql, _) = of(Message::Truncate {
        relations: vec![7],
        cascade: Cascade::No,
        sequences: Sequences::Restart,
    });
    assert_eq!(sql, "truncate entries.\"Entry\" restart identity restrict");
}

#[test]
fn what_does_not_fit_is_refused() {
    let unknown = Message::Delete {
        relation: 8,
        key: Vec::new(),
    };
    let short = Message::Insert {
        relation: 7,
        new: vec![Value::Null],
    };
    let keyless = Message::Delete {
        relation: 7,
        key: vec![Value::Unchanged, Value::Null, Value::Null],
    };
    for change in [unknown, short, keyless] {
        assert!(statement(&tables(), change).is_err());
    }
}

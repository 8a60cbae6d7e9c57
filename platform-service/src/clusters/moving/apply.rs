//! From a change of the source to a statement for the copy.
//!
//! Deliberately by text: each value goes as it was written, cast to the type that the copy's column
//! has. Invariants: names are quoted by the server; values are bound and never part of a statement.

use std::collections::HashMap;

use kit::error::Problem;
use sqlx::PgConnection;

use super::decode::{Cascade, Message, Part, Relation, Sequences, Value};
use crate::stop::Stop;

/// A table of the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// Quoted.
    name: String,
    columns: Vec<TableColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct TableColumn {
    /// Quoted.
    name: String,
    /// As SQL writes it.
    of_type: String,
    part: Part,
    /// Whether it can only have what was given when the row was made.
    settable: Settable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settable {
    Always,
    AtBirth,
}

/// A statement and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) values: Vec<Option<String>>,
    pub(super) needs_row: NeedsRow,
}

/// Whether it must meet one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NeedsRow {
    Yes,
    /// A foreign key may have done it before.
    No,
}

/// What the copy knows of a table.
pub(super) async fn describe(
    connection: &mut PgConnection,
    relation: Relation,
) -> Result<Table, Stop> {
    let found: Vec<(String, String, String, bool)> = sqlx::query_as(
        "select attribute.attname::text, quote_ident(attribute.attname),
             format_type(attribute.atttypid, attribute.atttypmod), attribute.attidentity = 'a'
         from pg_attribute attribute
         where attribute.attrelid = to_regclass(pg_catalog.format('%I.%I', $1::text, $2::text))
             and attribute.attnum > 0 and not attribute.attisdropped",
    )
    .bind(&relation.schema)
    .bind(&relation.table)
    .fetch_all(&mut *connection)
    .await?;
    let columns = relation
        .columns
        .into_iter()
        .map(|column| {
            let (_, name, of_type, is_identity) = found
                .iter()
                .find(|(plain, ..)| *plain == column.name)
                .ok_or_else(|| foreign("the copy lacks a column of the tenant"))?;
            Ok(TableColumn {
                name: name.clone(),
                of_type: of_type.clone(),
                part: column.part,
                settable: if *is_identity {
                    Settable::AtBirth
                } else {
                    Settable::Always
                },
            })
        })
        .collect::<Result<_, Stop>>()?;
    let name = sqlx::query_scalar("select pg_catalog.format('%I.%I', $1::text, $2::text)")
        .bind(&relation.schema)
        .bind(&relation.table)
        .fetch_one(connection)
        .await?;
    Ok(Table { name, columns })
}

fn foreign(words: &'static str) -> Stop {
    Stop::Fail(Problem::internal(words))
}

/// The statements of a change.
pub(super) fn statement(
    tables: &HashMap<u32, Table>,
    change: Message,
) -> Result<Option<Statement>, Stop> {
    let table = |id: u32| {
        tables
            .get(&id)
            .ok_or_else(|| foreign("a change names a table that was not described"))
    };
    match change {
        Message::Insert { relation, new } => Ok(Some(insert(table(relation)?, new)?)),
        Message::Update { relation, key, new } => update(table(relation)?, key, new),
        Message::Delete { relation, key } => {
            let table = table(relation)?;
            let mut values = Vec::new();
            let rows = identify(table, &key, &mut values)?;
            Ok(Some(Statement {
                sql: format!("delete from {} where {rows}", table.name),
                values,
                needs_row: NeedsRow::No,
            }))
        }
        Message::Truncate {
            relations,
            cascade,
            sequences,
        } => {
            let names: Vec<&str> = relations
                .into_iter()
                .map(|id| Ok(table(id)?.name.as_str()))
                .collect::<Result<_, Stop>>()?;
            let sequences = match sequences {
                Sequences::Restart => "restart identity",
                Sequences::Continue => "continue identity",
            };
            let cascade = match cascade {
                Cascade::Yes => "cascade",
                Cascade::No => "restrict",
            };
            Ok(Some(Statement {
                sql: format!("truncate {} {sequences} {cascade}", names.join(", ")),
                values: Vec::new(),
                needs_row: NeedsRow::No,
            }))
        }
        Message::Begin { .. } | Message::Commit { .. } | Message::Relation(_) | Message::Other => {
            Ok(None)
        }
    }
}

fn pairs(
    table: &Table,
    values: Vec<Value>,
) -> Result<impl Iterator<Item = (&TableColumn, Value)>, Stop> {
    if values.len() == table.columns.len() {
        Ok(table.columns.iter().zip(values))
    } else {
        Err(foreign("a change has other columns than its table"))
    }
}

/// The value as a placeholder that is bound, cast to its column's type.
fn bound(column: &TableColumn, value: Value, values: &mut Vec<Option<String>>) -> Option<String> {
    values.push(match value {
        Value::Unchanged => return None,
        Value::Null => None,
        Value::Text(text) => Some(text),
    });
    Some(format!("${}::text::{}", values.len(), column.of_type))
}

fn insert(table: &Table, new: Vec<Value>) -> Result<Statement, Stop> {
    let (mut names, mut places, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (column, value) in pairs(table, new)? {
        if let Some(place) = bound(column, value, &mut values) {
            names.push(column.name.as_str());
            places.push(place);
        }
    }
    Ok(Statement {
        sql: format!(
            "insert into {} ({}) overriding system value values ({})",
            table.name,
            names.join(", "),
            places.join(", ")
        ),
        values,
        needs_row: NeedsRow::Yes,
    })
}

fn update(
    table: &Table,
    key: Option<Vec<Value>>,
    new: Vec<Value>,
) -> Result<Option<Statement>, Stop> {
    let identity = key.unwrap_or_else(|| new.clone());
    let (mut changes, mut values) = (Vec::new(), Vec::new());
    for (column, value) in pairs(table, new)? {
        if column.settable == Settable::Always
            && let Some(place) = bound(column, value, &mut values)
        {
            changes.push(format!("{} = {place}", column.name));
        }
    }
    if changes.is_empty() {
        return Ok(None);
    }
    let rows = identify(table, &identity, &mut values)?;
    Ok(Some(Statement {
        sql: format!(
            "update {} set {} where {rows}",
            table.name,
            changes.join(", ")
        ),
        values,
        needs_row: NeedsRow::Yes,
    }))
}

/// The condition that finds a row by its key.
fn identify(
    table: &Table,
    row: &[Value],
    values: &mut Vec<Option<String>>,
) -> Result<String, Stop> {
    let mut conditions = Vec::new();
    for (column, value) in pairs(table, row.to_vec())? {
        if column.part == Part::Key
            && let Some(place) = bound(column, value, values)
        {
            conditions.push(format!("{} = {place}", column.name));
        }
    }
    if conditions.is_empty() {
        return Err(foreign("a change does not say which row it is about"));
    }
    Ok(conditions.join(" and "))
}

#[cfg(test)]
mod tests;

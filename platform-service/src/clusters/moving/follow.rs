//! Following a tenant while it moves: its changes are read from the slot and made in the copy.
//!
//! Deliberately one batch at a time, each in one transaction of the copy that also records how far it is:
//! whoever goes on after a kill repeats nothing. Invariants: a transaction that the copied snapshot saw is
//! left out; a message that is not of the protocol, or a change that finds no row, stops the move.

use std::collections::HashMap;

use kit::error::Problem;
use sqlx::postgres::PgArguments;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::Side;
use super::apply::{self, Table};
use super::decode::{Message, Snapshot, decode};
use super::slot::{self, PUBLICATION};
use crate::platform::Platform;
use crate::stop::Stop;

/// Changes that are read at once; a transaction is never cut.
const BATCH: i32 = 2000;

/// Both ends of a copy that follows.
pub(crate) struct Following {
    source: PgConnection,
    target: PgConnection,
    slot: String,
    snapshot: Snapshot,
    applied: u64,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// There was nothing to read.
    Nothing,
    /// So many changes were read.
    Changes(usize),
}

impl Read {
    /// How many changes were read.
    pub(crate) fn changes(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Changes(count) => count,
        }
    }
}

impl Following {
    /// Opens both ends.
    pub(crate) async fn open(
        platform: &Platform,
        (source, target): (Side<'_>, Side<'_>),
        slot: String,
        snapshot: Snapshot,
    ) -> Result<Self, Stop> {
        let source = slot::connect(platform, source).await?;
        let mut target = target.owner(platform).await?;
        let applied: String = sqlx::query_scalar("select lsn::text from tn_move.applied")
            .fetch_one(&mut target)
            .await?;
        Ok(Self {
            source,
            target,
            slot,
            snapshot,
            applied: lsn(&applied)?,
        })
    }

    /// Does the next changes in the copy.
    pub(crate) async fn batch(&mut self) -> Result<Read, Stop> {
        let rows = sqlx::query(
            "select data from pg_logical_slot_peek_binary_changes($1, null, $2,
                 'proto_version', '1', 'publication_names', $3)",
        )
        .bind(&self.slot)
        .bind(BATCH)
        .bind(PUBLICATION)
        .fetch_all(&mut self.source)
        .await?;
        if rows.is_empty() {
            return Ok(Read::Nothing);
        }
        let messages = rows
            .iter()
            .map(|row| decode(row.try_get("data")?).map_err(unreadable))
            .collect::<Result<Vec<_>, Stop>>()?;
        let count = messages.len();
        sqlx::raw_sql("begin").execute(&mut self.target).await?;
        let end = self.apply(messages).await?;
        sqlx::query("update tn_move.applied set lsn = $1::text::pg_lsn")
            .bind(text(end))
            .execute(&mut self.target)
            .await?;
        sqlx::raw_sql("commit").execute(&mut self.target).await?;
        self.applied = end;
        sqlx::query("select pg_replication_slot_advance($1, $2::text::pg_lsn)")
            .bind(&self.slot)
            .bind(text(end))
            .execute(&mut self.source)
            .await?;
        Ok(Read::Changes(count))
    }

    /// Does messages in the open transaction of the copy; gives where they end.
    async fn apply(&mut self, messages: Vec<Message>) -> Result<u64, Stop> {
        let mut tables: HashMap<u32, Table> = HashMap::new();
        let (mut end, mut skipped) = (self.applied, false);
        for message in messages {
            match message {
                Message::Begin { commit, xid } => {
                    skipped = commit < self.applied || self.snapshot.sees(xid);
                }
                Message::Commit { end: after } => end = end.max(after),
                Message::Relation(relation) => {
                    let id = relation.id;
                    let table = apply::describe(&mut self.target, relation).await?;
                    tables.insert(id, table);
                }
                Message::Other => {}
                _ if skipped => {}
                change => {
                    if let Some(statement) = apply::statement(&tables, change)? {
                        self.run(statement).await?;
                    }
                }
            }
        }
        Ok(end)
    }

    async fn run(&mut self, statement: apply::Statement) -> Result<(), Stop> {
        let mut arguments = PgArguments::default();
        for value in statement.values {
            use sqlx::Arguments as _;
            arguments.add(value).map_err(Problem::internal)?;
        }
        let done = sqlx::query_with(AssertSqlSafe(statement.sql), arguments)
            .execute(&mut self.target)
            .await?;
        if statement.needs_row == apply::NeedsRow::Yes && done.rows_affected() != 1 {
            return Err(Stop::Fail(Problem::internal(
                "a change of the tenant meets no row of its copy",
            )));
        }
        Ok(())
    }

    /// Does all that the source has committed until now; nobody may be writing to it any more.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Stop> {
        // Its commit makes everything before it durable, and what is not durable is not read.
        sqlx::query("select pg_logical_emit_message(true, $1, 'end')")
            .bind(PUBLICATION)
            .execute(&mut self.source)
            .await?;
        while self.batch().await? != Read::Nothing {}
        Ok(())
    }

    /// Ends it.
    pub(crate) async fn close(self) -> Result<(), Stop> {
        self.source.close().await?;
        Ok(self.target.close().await?)
    }
}

fn unreadable(error: super::decode::Malformed) -> Stop {
    Stop::Fail(Problem::internal(error))
}

/// Reads e.g. `16/B374D848`.
fn lsn(text: &str) -> Result<u64, Stop> {
    let parsed = text.split_once('/').and_then(|(high, low)| {
        let high = u64::from_str_radix(high, 16).ok()?;
        let low = u64::from_str_radix(low, 16).ok()?;
        Some(high << 32 | low)
    });
    parsed.ok_or_else(|| Stop::Fail(Problem::internal("a place in a log cannot be read")))
}

fn text(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

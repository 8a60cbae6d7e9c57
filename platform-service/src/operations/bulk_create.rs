//! Making many tenants: the rows are recorded, then each is made by an operation of its own.
//!
//! Deliberately a few at once, so that sign-ups go on. Invariants: a row is begun once; a row that fails
//! says why and stops no other.

use std::time::Duration;

use adapters::secret_store::SecretSubject;
use contract::secret::SecretRef;
use contract::{Code, OperationId};
use kit::error::{Problem, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::outcome::failure_of;
use super::saga::{Cancel, Progress, Saga, Traits, Wish};
use super::{Head, Step, Stop, children};
use crate::audit::Actor;
use crate::platform::Platform;
use crate::tenants::bulk::NewRow;
use crate::tenants::bulk::store::{self, Counts, Recorded};
use crate::tenants::intake::{self, NewSignup};

/// Tenants that are made at once.
const AT_ONCE: u64 = 8;
/// How long hashing one password may take, with the wait for its turn.
const HASHING: Duration = Duration::from_secs(60);

/// The rows until they are recorded, then how many stand where.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkCreatePlan {
    rows: Vec<Recorded>,
    total: u64,
    done: u64,
    failed: u64,
}

/// A row as it is kept: its password sealed.
#[derive(Debug, Serialize, Deserialize)]
struct SealedRow {
    #[serde(flatten)]
    signup: Value,
    password: SecretRef,
}

impl BulkCreatePlan {
    /// A plan for these rows.
    ///
    /// # Errors
    /// A password cannot be sealed.
    pub(crate) async fn seal(
        platform: &Platform,
        operation: OperationId,
        rows: Vec<NewRow>,
    ) -> Result<Self> {
        let mut sealed = Vec::with_capacity(rows.len());
        for row in rows {
            sealed.push(match row {
                Ok(signup) => (seal_row(platform, operation, &signup).await?, None),
                Err(failure) => (json!({}), Some(failure)),
            });
        }
        Ok(Self {
            total: sealed.len() as u64,
            rows: sealed,
            done: 0,
            failed: 0,
        })
    }

    fn note(&mut self, counts: Counts) {
        self.done = counts.done;
        self.failed = counts.failed;
    }

    async fn make(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        if head.wish == Wish::End {
            let mut registry = platform.registry.acquire().await?;
            let cancelled = failure_of(&Problem::new(Code::OperationCancelled));
            store::give_up(&mut registry, head.id, &cancelled).await?;
        }
        self.settle(platform, head).await?;
        let (shared, parent) = (platform.clone(), head.id);
        let looked = children::advance(platform, head, AT_ONCE, move |db, room| {
            Box::pin(async move { begin_rows(&shared, db, parent, room).await })
        })
        .await;
        // Also what ended since, and what failed before it was begun.
        self.settle(platform, head).await?;
        looked.map(|_| ())
    }

    async fn settle(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let mut registry = platform.registry.acquire().await?;
        self.note(store::settle(&mut registry, head.id).await?);
        Ok(())
    }
}

async fn seal_row(
    platform: &Platform,
    operation: OperationId,
    signup: &NewSignup,
) -> Result<Value> {
    let subject = SecretSubject::Operation(operation);
    let sealed = platform.seal.put(&subject, "row", signup.password()).await;
    let row = SealedRow {
        signup: signup.without_password(),
        password: sealed.map_err(Problem::internal)?,
    };
    serde_json::to_value(row).map_err(Problem::internal)
}

/// Begins up to `room` rows; gives how many were begun or still wait.
async fn begin_rows(
    platform: &Platform,
    connection: &mut PgConnection,
    parent: OperationId,
    room: u64,
) -> Result<u64, Stop> {
    // Passwords are hashed in between, in one queue with those of sign-ups.
    kit::db::may_idle(&mut *connection, HASHING).await?;
    // One more than there is room for shows whether any is left.
    let limit = i64::try_from(room + 1).unwrap_or(i64::MAX);
    let rows = store::pending(&mut *connection, parent, limit).await?;
    let wanted = rows.len() as u64;
    for row in rows.into_iter().take(usize::try_from(room).unwrap_or(0)) {
        let place = (parent, row.number);
        match begin_row(platform, &mut *connection, parent, row.request).await {
            Ok((tenant, child)) => {
                store::begun(&mut *connection, place, &tenant, child).await?;
            }
            // It may pass, and what was begun before it is not lost: all of it is tried again. What is
            // wrong here, such as a key that the ring lacks, is not the row's fault.
            Err(problem) if problem.code().is_retryable() || problem.code() == Code::Internal => {
                return Err(problem.into());
            }
            Err(problem) => {
                let failure = failure_of(&problem);
                store::failed(&mut *connection, place, &failure).await?;
            }
        }
    }
    Ok(wanted)
}

async fn begin_row(
    platform: &Platform,
    connection: &mut PgConnection,
    parent: OperationId,
    request: Value,
) -> Result<(contract::TenantId, OperationId)> {
    let row: SealedRow = serde_json::from_value(request).map_err(Problem::internal)?;
    let subject = SecretSubject::Operation(parent);
    let password = platform.seal.open(&subject, &row.password).await;
    let password = password.map_err(Problem::internal)?;
    let signup = NewSignup::with_password(row.signup, &password)?;
    intake::begin_for(platform, connection, Actor::Platform, parent, signup).await
}

impl Saga for BulkCreatePlan {
    const STEPS: &'static [Step] = &[Step::Rows, Step::Make];

    fn point_of_no_return(&self) -> Step {
        Step::Rows
    }

    fn traits(&self) -> Traits {
        Traits {
            cancel: Cancel::Heeded,
            ..Traits::FLEET
        }
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Rows => {
                let mut registry = platform.registry.acquire().await?;
                store::insert(&mut registry, head.id, &self.rows).await?;
                self.rows = Vec::new();
                Ok(())
            }
            Step::Make => self.make(platform, head).await,
            other => Err(other.unexpected()),
        }
    }

    async fn undo(&mut self, _platform: &Platform, _head: &Head) -> Result<(), Stop> {
        Ok(())
    }

    async fn forget(&self, connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        Ok(store::delete(connection, head.id).await?)
    }

    fn result(&self) -> Option<Value> {
        Some(json!({ "rows": self.total, "done": self.done, "failed": self.failed }))
    }

    fn progress(&self) -> Option<Progress> {
        Some(Progress {
            done: self.done + self.failed,
            total: self.total,
            unit: "tenants".to_owned(),
            note: (self.failed > 0).then(|| format!("{} failed", self.failed)),
        })
    }
}

//! Questions to the fleet: one statement that reads, put to every selected tenant.
//!
//! Deliberately answered while it is asked, tenant by tenant, in no order. Invariants: a tenant's rows
//! stand together and are followed by what is missing of them; the audit has the question before the
//! first tenant is asked, and no connection is held while the asker reads.

mod answer;
mod statement;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use contract::operator::fleet::{NewQuery, QueryEnd, QueryError, QueryFormat, Selection};
use contract::{Code, TenantId};
use futures::{StreamExt as _, stream};
use http::header;
use kit::error::{Problem, Result};
use kit::extract::Json;
use sha2::{Digest as _, Sha256};
use sqlx::Connection as _;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use utoipa_axum::router::OpenApiRouter;

use self::answer::Writer;
use crate::audit::{self, Action, Actor};
use crate::clusters::connections::ClusterRole;
use crate::clusters::postgres::question::{self, Bounds, Extent};
use crate::operations::begin::record_done;
use crate::operations::{OperationKind, Step, Subject};
use crate::operators::{Operator, TenantsQuery};
use crate::platform::Platform;
use crate::stop::Stop;
use crate::tenants;
use crate::tenants::place::Placed;

/// Tenants that are asked at once where nothing is said; `tn_query` may have few sessions per server.
pub(crate) const AT_ONCE: u32 = 8;
const MOST_AT_ONCE: u32 = 16;
const TIMEOUT_MS: u32 = 10_000;
const TIMEOUTS_MS: std::ops::RangeInclusive<u32> = 100..=300_000;
const ROWS: u32 = 1_000;
const MOST_ROWS: u32 = 100_000;
/// Of one tenant's rows, as JSON: what is kept in memory while the asker reads.
const MOST_BYTES: usize = 4 << 20;
/// Tenants' answers that wait for the asker.
const WAITING: usize = 4;
/// Pause before a server without a free connection is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(100);
/// How the server calls a statement that it cannot read.
const SYNTAX_ERROR: &str = "42601";

/// A question that can be asked.
#[derive(Debug, Clone)]
struct Question {
    sql: String,
    at_once: usize,
    bounds: Bounds,
}

impl Question {
    fn of(new: &NewQuery) -> Result<Self> {
        let within = |field: &'static str, value: u32, range: std::ops::RangeInclusive<u32>| {
            let rule = || Problem::field(field, format!("is {} to {}", range.start(), range.end()));
            range.contains(&value).then_some(value).ok_or_else(rule)
        };
        let at_once = within("/at_once", new.at_once.unwrap_or(AT_ONCE), 1..=MOST_AT_ONCE)?;
        let rows = within("/row_limit", new.row_limit.unwrap_or(ROWS), 1..=MOST_ROWS)?;
        let timeout = new.timeout_ms.unwrap_or(TIMEOUT_MS);
        let timeout = within("/timeout_ms", timeout, TIMEOUTS_MS)?;
        Ok(Self {
            sql: statement::checked(&new.sql)?.to_owned(),
            at_once: at_once as usize,
            bounds: Bounds {
                timeout: Duration::from_millis(u64::from(timeout)),
                rows: rows as usize,
                bytes: MOST_BYTES,
            },
        })
    }
}

/// What one tenant answered.
#[derive(Debug)]
struct Answered {
    tenant: TenantId,
    /// Each a JSON object.
    rows: Vec<String>,
    /// Why there are not more; none where these are all.
    missing: Option<QueryError>,
}

/// Ask many tenants one question.
///
/// One statement that reads (`select`, `with`, `values`, `table`) is put to every selected tenant as a
/// role that can do nothing else. The answer is written while it comes: rows of a tenant stand
/// together, and a tenant of which rows are missing is named with the reason. An answer whose last line
/// is not the end broke off. In comma-separated values, lines that start with `#` outside of quotes are no
/// rows: what is missing of a tenant, and the end, which is `# end: ...`, or `# partial: ...` where rows are
/// missing; a text that starts with `=`, `+`, `-`, `@`, a tab or a carriage return has an apostrophe before
/// it, so that no spreadsheet takes it for a formula.
#[utoipa::path(
    post,
    path = "/v1/query",
    operation_id = "query.run",
    tag = "upkeep",
    request_body = NewQuery,
    responses((
        status = 200,
        description = "Lines of `QueryLine`, or comma-separated values.",
        content(
            (contract::operator::fleet::QueryLine = "application/x-ndjson"),
            (String = "text/csv"),
        )
    ))
)]
pub(crate) async fn run(
    operator: Operator<TenantsQuery>,
    State(platform): State<Platform>,
    Json(new): Json<NewQuery>,
) -> Result<Response> {
    let question = Question::of(&new)?;
    let tenants = {
        let mut registry = platform.registry.acquire().await?;
        tenants::named::selection(&mut registry, &new.filter).await?;
        tenants::store::select_all(&mut registry, &new.filter).await?
    };
    let asked = Arc::new(Asked {
        platform: platform.clone(),
        actor: operator.actor(),
        question,
        selection: new.filter,
        tenants,
    });
    asked.note().await?;
    // A statement that the server cannot read is said at once and not once per tenant.
    let first = match asked.tenants.first() {
        Some(tenant) => Some(asked.ask(tenant.clone()).await),
        None => None,
    };
    if let Some(error) = first.as_ref().and_then(unreadable) {
        return Err(Problem::field("/sql", error));
    }
    let (sender, receiver) = mpsc::channel(WAITING);
    let content_type = match new.format {
        QueryFormat::Ndjson => "application/x-ndjson",
        QueryFormat::Csv => "text/csv; charset=utf-8",
    };
    tokio::spawn(asked.run(first, Writer::new(new.format), sender));
    let lines = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<Bytes>| {
        let chunk = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), receiver))
    })
    // Compression asks once more after the end.
    .fuse();
    let headers = [(header::CONTENT_TYPE, content_type)];
    Ok((headers, Body::from_stream(lines)).into_response())
}

fn unreadable(first: &Answered) -> Option<String> {
    let missing = first.missing.as_ref()?;
    (missing.sqlstate.as_deref() == Some(SYNTAX_ERROR)).then(|| missing.detail.clone())
}

/// A question on its way through the fleet.
struct Asked {
    platform: Platform,
    actor: Actor,
    question: Question,
    selection: Selection,
    tenants: Vec<TenantId>,
}

impl Asked {
    fn digest(&self) -> String {
        let digest = Sha256::digest(self.question.sql.as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Says in the audit what is going to be asked. The text may hold personal data, which an audit
    /// does not: it is kept with the operation, and as long as that.
    async fn note(&self) -> Result<()> {
        let detail = serde_json::json!({
            "sha256": self.digest(),
            "tenants": self.tenants.len(),
        });
        let mut registry = self.platform.registry.acquire().await?;
        let action = Action::QueryRun;
        audit::record(&mut registry, self.actor, action, None, detail).await?;
        Ok(())
    }

    /// Asks all but the first, which has answered, and writes what comes; records how it ended.
    async fn run(
        self: Arc<Self>,
        first: Option<Answered>,
        mut writer: Writer,
        sender: mpsc::Sender<Bytes>,
    ) {
        let mut end = End {
            tenants: self.tenants.len() as u64,
            ..End::default()
        };
        let others = stream::iter(self.tenants.iter().skip(1).cloned())
            .map(|tenant| Arc::clone(&self).begin(tenant))
            .buffer_unordered(self.question.at_once);
        let mut answers = std::pin::pin!(stream::iter(first).chain(others));
        loop {
            let answered = tokio::select! {
                answered = answers.next() => answered,
                () = self.platform.stopping.cancelled() => break,
                // Nobody reads any more: nobody is asked any more.
                () = sender.closed() => break,
            };
            let Some(answered) = answered else { break };
            let lines = writer.tenant(&answered, &mut end);
            if !lines.is_empty() && sender.send(lines).await.is_err() {
                break;
            }
        }
        match self.record(end).await {
            Ok(end) => {
                let _ = sender.send(writer.end(&end)).await;
            }
            Err(problem) => {
                // The answer has no last line, which says that it broke off.
                let cause = kit::error::chain(&problem);
                tracing::error!(cause, "a question to the fleet could not be recorded");
            }
        }
    }

    async fn record(&self, end: End) -> Result<QueryEnd> {
        let complete = end.failed == 0 && end.answered == end.tenants;
        let result = serde_json::json!({
            "sql": self.question.sql,
            "sha256": self.digest(),
            "filter": self.selection,
            "tenants": end.tenants,
            "answered": end.answered,
            "rows": end.rows,
            "failed": end.failed,
            "complete": complete,
        });
        let mut transaction = self.platform.registry.begin().await?;
        let kind = (OperationKind::Query, Step::Finish);
        let operation =
            record_done(&mut transaction, self.actor, &Subject::Fleet, kind, result).await?;
        transaction.commit().await?;
        Ok(QueryEnd {
            tenants: end.tenants,
            rows: end.rows,
            failed: end.failed,
            complete,
            operation,
        })
    }

    /// Asks one tenant in a task of its own, which goes on while the asker reads what others said.
    async fn begin(self: Arc<Self>, tenant: TenantId) -> Answered {
        let asked = tenant.clone();
        let task = tokio::spawn(async move { self.ask(asked).await });
        let ended = AbortOnDropHandle::new(task).await;
        ended.unwrap_or_else(|_| Answered {
            tenant,
            rows: Vec::new(),
            missing: Some(missing(Code::Internal, "It could not be asked.".to_owned())),
        })
    }

    /// Asks one tenant, for as long as it may take.
    async fn ask(&self, tenant: TenantId) -> Answered {
        let mut rows = Vec::new();
        let timeout = self.question.bounds.timeout;
        let asking = self.rows_of(&tenant, &mut rows);
        let missing = match tokio::time::timeout(timeout, asking).await {
            Ok(Ok(extent)) => self.beyond(extent),
            Ok(Err(error)) => Some(error),
            Err(_) => Some(missing(Code::Timeout, "It took too long.".to_owned())),
        };
        Answered {
            tenant,
            rows,
            missing,
        }
    }

    fn beyond(&self, extent: Extent) -> Option<QueryError> {
        let bounds = self.question.bounds;
        let detail = match extent {
            Extent::All => return None,
            Extent::MoreRows => format!("It has more than {} rows.", bounds.rows),
            Extent::MoreBytes => format!("Its rows have more than {} bytes.", bounds.bytes),
        };
        Some(missing(Code::BodyTooLarge, detail))
    }

    async fn rows_of(
        &self,
        tenant: &TenantId,
        rows: &mut Vec<String>,
    ) -> Result<Extent, QueryError> {
        let placed = Placed::find(&self.platform, tenant)
            .await
            .map_err(stopped)?;
        let mut connection = loop {
            let role = ClusterRole::Query;
            let opened = placed
                .server
                .connect_as(&self.platform, role, &placed.database);
            match opened.await {
                // All sessions of the role are in use: others' questions end.
                Err(Stop::Retry(problem)) if problem.code() == Code::Overloaded => {
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                opened => break opened.map_err(stopped)?,
            }
        };
        let extent = question::ask(
            &mut connection,
            &self.question.sql,
            self.question.bounds,
            rows,
        )
        .await
        .map_err(refused)?;
        // The transaction ends with its session; the rows are here already.
        if let Err(error) = connection.close().await {
            tracing::debug!(cause = %error, "a session was not closed in order");
        }
        Ok(extent)
    }
}

/// How far a question is.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    tenants: u64,
    answered: u64,
    rows: u64,
    failed: u64,
}

fn missing(code: Code, detail: String) -> QueryError {
    QueryError {
        code,
        sqlstate: None,
        detail,
    }
}

fn stopped(stop: Stop) -> QueryError {
    match stop {
        Stop::Retry(problem) | Stop::Fail(problem) => {
            let document = problem.document(None);
            let detail = document.detail.unwrap_or(document.title);
            missing(problem.code(), detail)
        }
        Stop::Later { reason, .. } => missing(Code::NotReady, reason.into_owned()),
    }
}

/// What a server said, for whoever asked: its words are about their statement.
fn refused(error: sqlx::Error) -> QueryError {
    let Some(refusal) = error.as_database_error() else {
        return stopped(error.into());
    };
    let detail = refusal.message().to_owned();
    let sqlstate = refusal.code().map(std::borrow::Cow::into_owned);
    let class = sqlstate.as_deref().and_then(|state| state.get(..2));
    let code = match class {
        // Syntax, names and rights; values; the transaction that only reads.
        Some("42" | "22" | "25") => Code::ValidationFailed,
        _ => Problem::from(error).code(),
    };
    QueryError {
        code,
        sqlstate,
        detail,
    }
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(run)
}

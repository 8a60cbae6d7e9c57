//! Operations: list, show, watch, retry, cancel.
//!
//! Deliberately nothing that begins one: other nouns do. Invariant: what is shown of one is the same
//! wherever it is shown.

use clap::{Args, Subcommand};
use contract::operator::operation::{KINDS, OperationState};
use contract::{ClusterName, OperationId, TenantId};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::api::Query;
use crate::context::Context;
use crate::failure::Failure;
use crate::follow;
use crate::output::{Column, Format, columns, counted, plain, state, time};
use crate::values;

columns! {
    const COLUMNS: "OperationSummary" = [
        plain("id", "/id"),
        plain("kind", "/kind"),
        plain("subject", "/tenant").or("/cluster"),
        state("state", "/state"),
        plain("step", "/step"),
        plain("done", "/progress/done"),
        plain("of", "/progress/total"),
        time("started", "/created_at"),
        time("finished", "/finished_at"),
    ];

    /// What is shown of one operation.
    pub(crate) const FIELDS: "OperationView" = [
        plain("operation", "/id"),
        plain("kind", "/kind"),
        plain("tenant", "/tenant"),
        plain("cluster", "/cluster"),
        plain("part of", "/parent"),
        state("state", "/state"),
        plain("step", "/step"),
        plain("done", "/progress/done"),
        plain("of", "/progress/total"),
        plain("unit", "/progress/unit"),
        plain("note", "/progress/note"),
        plain("failure", "/failure/code"),
        plain("reason", "/failure/detail"),
        plain("result", "/result"),
        time("started", "/created_at"),
        time("finished", "/finished_at"),
    ];
}

/// The same for who shows what came of it apart.
pub(crate) fn fields_but_result() -> Vec<Column<'static>> {
    let fields = FIELDS.iter().copied();
    fields.filter(|field| !field.shows("/result")).collect()
}

/// What a restore changes: a part of its result, which no schema describes.
const CHANGES: &[Column<'_>] = &[
    plain("table", "/table"),
    plain("rows now", "/rows_now"),
    plain("rows then", "/rows_then"),
];

columns! {
    const LOG: "LogLine" = [
        time("at", "/at"),
        plain("step", "/step"),
        plain("event", "/event"),
        plain("detail", "/detail"),
    ];

    /// What is shown of a row of a file of tenants.
    pub(crate) const ROWS: "BulkRowView" = [
        plain("row", "/number"),
        state("state", "/state"),
        plain("tenant", "/tenant"),
        plain("operation", "/operation"),
        plain("failure", "/failure/code"),
        plain("reason", "/failure/detail"),
    ];
}

/// What can be done with operations.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List operations, newest first.
    #[command(after_help = "Examples:
  tenantctl operations list --state stuck
  tenantctl operations list --tenant t_acme --kind move -o ndjson
  tenantctl operations list --since 24h --limit 0")]
    List(List),
    /// Show an operation and its log.
    #[command(after_help = "Example:
  tenantctl operations show op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Show(Named),
    /// Follow an operation until it ends.
    #[command(after_help = "Example:
  tenantctl operations watch op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f --timeout 10m")]
    Watch(Named),
    /// Retry a stuck operation after its cause was fixed.
    #[command(after_help = "Example:
  tenantctl operations retry op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Retry(Named),
    /// Cancel an operation: it is undone, or ends early.
    #[command(after_help = "Example:
  tenantctl operations cancel op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f

An operation that is past its point of no return continues.")]
    Cancel(Named),
    /// Show the result of each row of a bulk creation.
    #[command(after_help = "Example:
  tenantctl operations rows op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Rows(Named),
}

/// Which operations.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only operations in this state.
    #[arg(long, value_parser = values::one_of::<OperationState>(OperationState::ALL.map(OperationState::as_str)))]
    state: Option<OperationState>,
    /// Only operations of this kind.
    #[arg(long, value_parser = values::one_of::<String>(KINDS))]
    kind: Option<String>,
    /// Only operations on this tenant.
    #[arg(long, value_parser = values::tenant)]
    tenant: Option<TenantId>,
    /// Only operations on this cluster.
    #[arg(long)]
    cluster: Option<ClusterName>,
    /// Only parts of this operation.
    #[arg(long, value_name = "OPERATION")]
    parent: Option<OperationId>,
    /// Only operations started since then: a time, or how long ago.
    #[arg(long, value_name = "TIME", value_parser = values::past)]
    since: Option<OffsetDateTime>,
    /// Only operations started before then: a time, or how long ago.
    #[arg(long, value_name = "TIME", value_parser = values::past)]
    until: Option<OffsetDateTime>,
    /// Show at most this many; 0 shows all.
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

/// One operation.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The operation id: op_ followed by 32 hexadecimal digits.
    #[arg(value_name = "OPERATION")]
    id: OperationId,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(context).await,
            Self::Show(named) => {
                let view = context.api()?.operation(named.id).await?;
                show(context, &view)?;
                context.out.part("log", LOG, entries(&view))
            }
            Self::Watch(named) => {
                let view = context.api()?.operation(named.id).await?;
                let view = follow::to_the_end(context, view).await?;
                follow::shown(context, &view)
            }
            Self::Retry(named) => named.change(context, "retry").await,
            Self::Cancel(named) => named.cancel(context).await,
            Self::Rows(named) => context.out.list(ROWS, &rows(context, named.id).await?),
        }
    }
}

/// The rows of an operation that makes tenants from a file.
pub(crate) async fn rows(context: &Context, id: OperationId) -> Result<Vec<Value>, Failure> {
    let path = format!("/v1/operations/{id}/rows");
    context
        .api()?
        .items(&path, &Query::new(), 0, "/number")
        .await
}

/// Shows an operation; what a restore changes, table by table.
pub(crate) fn show(context: &Context, view: &Value) -> Result<(), Failure> {
    let out = &context.out;
    let Some(changes) = view
        .pointer("/result/changes")
        .filter(|one| one.is_object())
    else {
        return out.item(FIELDS, view);
    };
    if out.format() != Format::Table {
        return out.item(FIELDS, view);
    }
    let mut rest = view.clone();
    rest["result"]["changes"] = Value::Null;
    out.item(FIELDS, &rest)?;
    let tables = changes["tables"].as_array().map_or(&[][..], Vec::as_slice);
    out.part("tables whose rows differ", CHANGES, tables)?;
    match (tables, changes["unlisted"].as_u64().unwrap_or(0)) {
        ([], _) => out.note("No table's row count differs."),
        (_, 0) => {}
        (_, more) => out.note(&format!(
            "Not listed: {} that differ or were not counted.",
            counted(more, "table")
        )),
    }
    Ok(())
}

fn entries(view: &Value) -> &[Value] {
    view["log"].as_array().map_or(&[], Vec::as_slice)
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut query = Query::new();
        query.extend(self.state.map(|state| ("state", state.as_str().to_owned())));
        query.extend(self.kind.map(|kind| ("kind", kind)));
        query.extend(self.tenant.map(|tenant| ("tenant", tenant.to_string())));
        query.extend(self.cluster.map(|cluster| ("cluster", cluster.to_string())));
        query.extend(self.parent.map(|parent| ("parent", parent.to_string())));
        query.extend(self.since.map(|since| ("since", values::written(since))));
        query.extend(self.until.map(|until| ("until", values::written(until))));
        context
            .list(COLUMNS, "/v1/operations", &query, self.limit)
            .await
    }
}

impl Named {
    async fn tell(&self, context: &Context, verb: &str) -> Result<Value, Failure> {
        let path = format!("/v1/operations/{}/{verb}", self.id);
        let api = context.api()?;
        api.post(&path, &Query::new(), &json!({}), Uuid::now_v7())
            .await?;
        api.operation(self.id).await
    }

    async fn change(&self, context: &Context, verb: &str) -> Result<(), Failure> {
        let view = self.tell(context, verb).await?;
        let view = follow::settled(context, view).await?;
        follow::shown(context, &view)
    }

    /// A cancelled operation that is undone did what was asked.
    async fn cancel(&self, context: &Context) -> Result<(), Failure> {
        let view = self.tell(context, "cancel").await?;
        let view = match follow::settled(context, view).await {
            Err(Failure::Operation(view)) if view["state"] == "undone" => *view,
            settled => settled?,
        };
        follow::shown(context, &view)
    }
}

//! The audit over HTTP: a list.
//!
//! Deliberately no change and no removal. Invariant: what is shown is what was recorded.

use axum::extract::State;
use contract::operator::oversight::AuditEntry;
use contract::{Code, TenantId};
use kit::error::{Problem, Result};
use kit::extract::{Json, Query};
use kit::page::{Limit, Page};
use serde::Deserialize;
use time::OffsetDateTime;
use utoipa_axum::router::OpenApiRouter;

use super::store::{self, Entry, Filter};
use super::{Action, Actor};
use crate::operators::{AuditRead, Operator};
use crate::platform::Platform;

/// Which entries to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// How many: 1 to 100.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
    /// The id of the last one of the page before.
    starting_after: Option<i64>,
    /// Only what was done to this tenant.
    tenant: Option<TenantId>,
    /// Only what they did: `platform`, `signup`, or the id of an operator key.
    #[param(example = "opr_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    actor: Option<String>,
    /// Only this action.
    #[param(example = "suspend.begun")]
    action: Option<String>,
    /// Only what was done then or later.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[param(value_type = Option<String>, format = DateTime, example = "2027-01-31T00:00:00Z")]
    since: Option<OffsetDateTime>,
    /// Only what was done before.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[param(value_type = Option<String>, format = DateTime, example = "2027-02-01T00:00:00Z")]
    until: Option<OffsetDateTime>,
}

impl AuditQuery {
    fn filter(&self) -> Result<Filter> {
        let refused = |field, rule: String| Problem::new(Code::QueryInvalid).and_field(field, rule);
        let actor = self.actor.as_deref().map(str::parse::<Actor>);
        let action = self.action.as_deref().map(str::parse::<Action>);
        Ok(Filter {
            tenant: self.tenant.clone(),
            actor: actor
                .transpose()
                .map_err(|error| refused("actor", error.to_string()))?,
            action: action
                .transpose()
                .map_err(|error| refused("action", error.to_string()))?,
            since: self.since,
            until: self.until,
        })
    }
}

impl From<Entry> for AuditEntry {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.number,
            at: entry.at,
            actor: entry.actor,
            actor_name: entry.actor_name,
            action: entry.action,
            tenant: entry.tenant,
            detail: entry.detail,
        }
    }
}

/// List who did what, newest first.
///
/// Each change by an operator or a sign-up is recorded with the change itself, and kept for ever. The list
/// says who asked; what came of an operation is in the operation that `detail` names.
#[utoipa::path(
    get,
    path = "/v1/audit",
    operation_id = "audit.list",
    tag = "operators",
    params(AuditQuery),
    responses((status = 200, description = "A page of entries.", body = Page<AuditEntry>))
)]
pub(crate) async fn list(
    _operator: Operator<AuditRead>,
    State(platform): State<Platform>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<AuditEntry>>> {
    let filter = query.filter()?;
    let mut transaction = platform.registry.begin().await?;
    let (after, limit) = (query.starting_after, query.limit.probe());
    let entries = store::list(&mut transaction, &filter, after, limit).await?;
    Ok(Json(Page::of(entries, query.limit).map(AuditEntry::from)))
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(list)
}

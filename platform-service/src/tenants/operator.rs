//! Operators and tenants: list, create, show, update.
//!
//! Deliberately no change of a status: operations do that. Invariant: a change commits with its
//! audit row, a new generation and its entry in the change feed.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use contract::operator::fleet::{SchemaAge, Selection};
use contract::{ClusterName, Code, Slug, TenantId, TenantStatus};
use http::{HeaderName, HeaderValue, StatusCode, header};
use kit::db::broken_constraint;
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use kit::page::{Limit, Page};
use kit::precondition::IfMatch;
use serde::Deserialize;
use sqlx::PgConnection;
use utoipa_axum::router::OpenApiRouter;

use super::answer::SignupView;
use super::idempotency::MaybeIdempotencyKey;
use super::intake::take_in;
use super::labelled::{Label, Labelled};
use super::overrides::Overrides;
use super::proposal::{self, Names};
use super::view::{TenantDetail, TenantView};
use super::{TenantRow, rules, slug, store};
use crate::audit::{self, Action};
use crate::operations::begin::{WaitQuery, record_done};
use crate::operations::{OperationKind, Step, Subject};
use crate::operators::{Operator, TenantsRead, TenantsWrite};
use crate::platform::Platform;
use crate::tiers;

const MAX_TEXT_CHARS: usize = 100;

/// Which tenants to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TenantsQuery {
    /// How many: 1 to 100.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
    /// The id of the last tenant of the page before.
    starting_after: Option<TenantId>,
    /// Only those with this status.
    status: Option<TenantStatus>,
    /// Only those of this tier.
    tier: Option<String>,
    /// Only those on this cluster.
    cluster: Option<ClusterName>,
    /// Only those of this region.
    region: Option<String>,
    /// Only those with this in their id, slug, company or contact address.
    text: Option<String>,
    /// Only those with this label, `name=value`.
    #[param(value_type = Option<String>, pattern = "^[^=]+=", example = "disk=nvme")]
    label: Option<Label>,
    /// Only those whose schemas are older than the newest (`behind`) or are not (`newest`); where no
    /// status is asked for, of those that are active or suspended.
    #[param(inline)]
    schema: Option<SchemaAge>,
}

/// What to change; what is left out stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"tier": "premium", "overrides": {"limits": {"users": 75}}}))]
pub(crate) struct TenantPatch {
    /// 1 to 200 characters.
    company: Option<String>,
    contact_email: Option<String>,
    /// A name of `GET /v1/tiers`.
    tier: Option<String>,
    /// IANA name.
    time_zone: Option<String>,
    /// Replaces all overrides.
    overrides: Option<Overrides>,
    /// What people type for it; the id stays.
    slug: Option<String>,
    /// Replaces all labels that its cluster must have; they count where it is placed next.
    labels: Option<BTreeMap<String, String>>,
}

type Tagged<T> = ([(HeaderName, HeaderValue); 1], Json<T>);

/// List tenants in the order of their ids.
#[utoipa::path(
    get,
    path = "/v1/tenants",
    operation_id = "tenants.list",
    tag = "tenants",
    params(TenantsQuery),
    responses((status = 200, description = "A page of tenants.", body = Page<TenantView>))
)]
pub(crate) async fn list(
    _operator: Operator<TenantsRead>,
    State(platform): State<Platform>,
    Query(query): Query<TenantsQuery>,
) -> Result<Json<Page<TenantView>>> {
    if query
        .text
        .as_ref()
        .is_some_and(|text| text.chars().count() > MAX_TEXT_CHARS)
    {
        return Err(Problem::new(Code::QueryInvalid).detail("`text` has more than 100 characters."));
    }
    let selection = Selection {
        ids: Vec::new(),
        status: query.status,
        tier: query.tier,
        cluster: query.cluster,
        region: query.region,
        text: query.text,
        labels: query.label.into_iter().map(|Label(pair)| pair).collect(),
        schema: query.schema,
    };
    let mut connection = platform.registry.acquire().await?;
    let after = query.starting_after.as_ref();
    let rows = store::list(&mut connection, &selection, after, query.limit.probe()).await?;
    Ok(Json(Page::of(rows, query.limit).map(TenantView::from)))
}

/// Create a tenant, as a sign-up does, whatever the sign-up policy is.
#[utoipa::path(
    post,
    path = "/v1/tenants",
    operation_id = "tenants.create",
    tag = "tenants",
    params(WaitQuery),
    request_body = Labelled,
    responses(
        (status = 201, description = "The tenant works.", body = SignupView),
        (
            status = 202,
            description = "The tenant is being made; `operation` says where to ask.",
            body = SignupView,
            headers(("location" = String), ("retry-after" = u32))
        ),
    )
)]
pub(crate) async fn create(
    operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    Query(query): Query<WaitQuery>,
    key: MaybeIdempotencyKey,
    Json(new): Json<Labelled>,
) -> Result<Response> {
    take_in(&platform, operator.actor(), key, new.into(), query.wait).await
}

/// Show a tenant, with the migrations that fail in its database.
#[utoipa::path(
    get,
    path = "/v1/tenants/{id}",
    operation_id = "tenants.show",
    tag = "tenants",
    params(("id" = TenantId, Path, example = "t_acme_corp")),
    responses((status = 200, description = "The tenant.", body = TenantDetail, headers(("etag" = String))))
)]
pub(crate) async fn show(
    _operator: Operator<TenantsRead>,
    State(platform): State<Platform>,
    Path(id): Path<TenantId>,
) -> Result<Tagged<TenantDetail>> {
    let mut connection = platform.registry.acquire().await?;
    let row = store::find(&mut connection, &id)
        .await?
        .ok_or_else(|| Problem::new(Code::NotFound))?;
    let failures = store::migration_failures(&mut connection, &id).await?;
    let etag = row.version().etag();
    let detail = TenantDetail {
        tenant: row.into(),
        migration_failures: failures
            .into_iter()
            .map(TryInto::try_into)
            .collect::<Result<_, sqlx::Error>>()?,
    };
    Ok(([(header::ETAG, etag)], Json(detail)))
}

/// Change a tenant's company, contact, tier, time zone, slug, labels or overrides.
///
/// Reaches every service within a second; `wait=replicas` answers when every replica has heard of it.
/// `If-Match` names the generation that the change was made from.
#[utoipa::path(
    patch,
    path = "/v1/tenants/{id}",
    operation_id = "tenants.update",
    tag = "tenants",
    params(("id" = TenantId, Path, example = "t_acme_corp"), WaitQuery),
    request_body = TenantPatch,
    responses(
        (status = 200, description = "The tenant after it.", body = TenantView, headers(("etag" = String))),
        (
            status = 202,
            description = "It is changed, and not every replica has heard of it yet.",
            body = TenantView,
            headers(("etag" = String))
        ),
    )
)]
pub(crate) async fn update(
    operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    Path(id): Path<TenantId>,
    Query(query): Query<WaitQuery>,
    IfMatch(version): IfMatch,
    Json(patch): Json<TenantPatch>,
) -> Result<(StatusCode, Tagged<TenantView>)> {
    let mut transaction = platform.registry.begin().await?;
    let row = store::find_for_update(&mut transaction, &id)
        .await?
        .ok_or_else(|| Problem::new(Code::NotFound))?;
    if row.status == TenantStatus::Deleted {
        return Err(Problem::new(Code::TenantDeleted));
    }
    if row.version() != version {
        return Err(Problem::new(Code::VersionStale)
            .detail(format!("Its generation is {} now.", row.generation)));
    }
    if let Some(tier) = &patch.tier {
        tiers::check_and_hold(&mut transaction, tier).await?;
    }
    let detail = patch.changed();
    let slug = wanted_slug(&mut transaction, &patch, &row).await?;
    let changed = patch.apply(row, slug.clone())?;
    let news = match store::update(&mut transaction, &changed).await {
        Ok(news) => news,
        // Somebody was faster; this transaction is of no more use.
        Err(error) if broken_constraint(&error) == Some("tenant_slug_key") => {
            drop(transaction);
            let mut connection = platform.registry.acquire().await?;
            return Err(proposal::taken(&mut connection, slug).await?);
        }
        Err(error) => return Err(error.into()),
    };
    let subject = Subject::Tenant(id.clone());
    let kind = (OperationKind::Change, Step::Record);
    record_done(
        &mut transaction,
        operator.actor(),
        &subject,
        kind,
        detail.clone(),
    )
    .await?;
    let action = Action::TenantUpdated;
    audit::record(
        &mut transaction,
        operator.actor(),
        action,
        Some(&id),
        detail,
    )
    .await?;
    let row = store::find(&mut transaction, &id)
        .await?
        .ok_or_else(|| Problem::internal("a locked tenant is gone"))?;
    news.announce(&mut transaction).await?;
    transaction.commit().await?;
    platform.feed.ring();
    let status = match query.wait.is_over_once_done(&platform).await? {
        true => StatusCode::OK,
        false => StatusCode::ACCEPTED,
    };
    let tag = [(header::ETAG, row.version().etag())];
    Ok((status, (tag, Json(row.into()))))
}

/// The slug that the tenant is to have: it breaks no rule, and nobody else has it or the id that it gives.
async fn wanted_slug(
    connection: &mut PgConnection,
    patch: &TenantPatch,
    row: &TenantRow,
) -> Result<Slug> {
    let Some(wanted) = patch.slug.as_deref() else {
        return Ok(row.slug.clone());
    };
    let names = Names {
        slug: Some(wanted),
        company: &row.company,
        email: &row.contact_email,
    };
    let slug = proposal::wanted_slug(&mut *connection, names).await?;
    if slug == row.slug {
        return Ok(slug);
    }
    if slug::is_reserved(&slug) {
        let problem = Problem::new(Code::SlugReserved);
        return Err(proposal::beside(connection, problem, slug).await?);
    }
    let (slugs, ids) = ([slug.to_string()], [slug.tenant_id().to_string()]);
    let holders = store::find_taken(&mut *connection, &slugs, &ids).await?;
    if holders.iter().any(|holder| holder.id != row.id.as_str()) {
        return Err(proposal::taken(connection, slug).await?);
    }
    Ok(slug)
}

impl TenantPatch {
    /// The names of what it changes, for the audit: no values, which may be personal.
    fn changed(&self) -> serde_json::Value {
        let names = [
            ("company", self.company.is_some()),
            ("contact_email", self.contact_email.is_some()),
            ("tier", self.tier.is_some()),
            ("time_zone", self.time_zone.is_some()),
            ("overrides", self.overrides.is_some()),
            ("slug", self.slug.is_some()),
            ("labels", self.labels.is_some()),
        ];
        let changed: Vec<&str> = names
            .into_iter()
            .filter(|(_, set)| *set)
            .map(|(name, _)| name)
            .collect();
        serde_json::json!({ "changed": changed, "tier": self.tier, "overrides": self.overrides })
    }

    /// The tenant after the change, with this slug.
    fn apply(self, mut row: TenantRow, slug: Slug) -> Result<TenantRow> {
        row.slug = slug;
        if let Some(company) = self.company {
            row.company = rules::company(&company)?;
        }
        if let Some(address) = self.contact_email {
            row.contact_email = rules::email("/contact_email", &address)?;
        }
        if let Some(tier) = self.tier {
            row.tier = tier;
        }
        if let Some(zone) = self.time_zone {
            row.time_zone = rules::time_zone(&zone)?;
        }
        if let Some(overrides) = self.overrides {
            overrides.check()?;
            row.overrides = overrides;
        }
        if let Some(labels) = self.labels {
            rules::labels("/labels", &labels)?;
            row.labels = labels;
        }
        Ok(row)
    }
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(list, create, show, update)
}

//! Users: oneself, all of a tenant, and new ones.
//!
//! Deliberately no change and no removal of users yet. Invariant: a tenant never has more active
//! users than its tier allows, however many are added at once.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::response::IntoResponse;
use contract::secret::Secret;
use contract::tenant::Limit as Granted;
use contract::{Code, TenantId, TierGrant};
use http::StatusCode;
use kit::db::OnConstraint;
use kit::email::Email;
use kit::error::{Problem, Result};
use kit::extract::{Json, Query};
use kit::operations;
use kit::page::{Limit, Page};
use kit::passwords::Password;
use kit::words::{self, NotWords};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa_axum::router::OpenApiRouter;

use super::store::{self, Account, AccountStatus, Admission, Audited, NewAccount};
use super::{Auth, UserId, user_of};
use crate::state::AppState;
use crate::tenancy::{InTenant, Permission, SignedIn, Tenant};

/// The limit of a tier that counts active users.
const USERS_LIMIT: &str = "users";

/// May see who the users are.
#[derive(Debug)]
struct ReadUsers;

impl Permission for ReadUsers {
    const NAME: &'static str = "users:read";
}

/// May add users and give them roles. Not called `write`, so that no role has it by `*:write`.
#[derive(Debug)]
struct ManageUsers;

impl Permission for ManageUsers {
    const NAME: &'static str = "users:manage";
}

/// A user.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct UserView {
    #[schema(example = "usr_0192f0c19b0e7d2a8c6f5e4d3c2b1a09")]
    id: UserId,
    #[schema(example = "ada@acme.example")]
    email: String,
    /// May be empty.
    #[schema(example = "Ada Lovelace")]
    name: String,
    status: AccountStatus,
    /// The most powerful first.
    #[schema(example = json!(["owner"]))]
    roles: Vec<String>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

impl From<&Account> for UserView {
    fn from(account: &Account) -> Self {
        Self {
            id: UserId::from_uuid(account.id),
            email: account.email.clone(),
            name: account.name.clone(),
            status: account.status,
            roles: account.roles.clone(),
            created_at: account.created_at,
        }
    }
}

/// Who calls, what they may do, and where.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct MeView {
    user: UserView,
    /// What the token that was sent allows.
    #[schema(example = json!(["entries:read", "entries:write"]))]
    permissions: BTreeSet<String>,
    tenant: TenantView,
    /// What the tenant's tier includes.
    #[schema(example = json!(["entries"]))]
    features: BTreeSet<String>,
    /// Limits of the tenant's tier by name; null is unlimited.
    #[schema(example = json!({"users": 50, "storage_bytes": 10_737_418_240_i64}))]
    limits: BTreeMap<String, Option<i64>>,
}

/// The caller's tenant.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct TenantView {
    id: TenantId,
    #[schema(example = "acme")]
    slug: String,
    #[schema(example = "Acme Corporation")]
    company: String,
    #[schema(example = "standard")]
    tier: String,
    #[schema(example = "eu-central")]
    region: String,
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
}

impl From<&Tenant> for TenantView {
    fn from(tenant: &Tenant) -> Self {
        let route = tenant.route();
        Self {
            id: route.tenant.clone(),
            slug: route.slug.to_string(),
            company: route.company.clone(),
            tier: route.tier.name.clone(),
            region: route.region.clone(),
            time_zone: route.time_zone.clone(),
        }
    }
}

/// A user to be added.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    email: Email,
    #[serde(default)]
    name: Name,
    /// Handed to the user by whoever adds them: 8 to 128 characters, not easy to guess.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 128, example = "correct horse battery staple")]
    password: Secret,
    /// The name of a role.
    #[schema(example = "editor")]
    role: String,
}

/// What a user is called; may be empty.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, max_length = 200, example = "Grace Hopper")]
struct Name(String);

impl Name {
    const MAX_CHARS: usize = 200;
}

impl TryFrom<String> for Name {
    type Error = NotWords;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let text = text.trim();
        words::check_optional(text, Self::MAX_CHARS)?;
        Ok(Self(text.to_owned()))
    }
}

/// Which users to list.
#[derive(Debug, Clone, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UserQuery {
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
    /// The last user of the page before.
    starting_after: Option<UserId>,
}

/// Show who calls and what they may do
#[utoipa::path(
    get, path = "/v1/me", operation_id = "users.me", tag = "users",
    responses((status = OK, body = MeView, description = "The caller."))
)]
async fn me(
    InTenant {
        tenant, principal, ..
    }: InTenant<SignedIn>,
) -> Result<Json<MeView>> {
    let user = user_of(&principal)?;
    let account = tenant.read(|db, _| Box::pin(store::find(db, user))).await?;
    let account =
        account.ok_or_else(|| Problem::new(Code::NotFound).detail("This user was removed."))?;
    let grant = tenant.grant();
    Ok(Json(MeView {
        user: UserView::from(&account),
        permissions: BTreeSet::clone(&principal.permissions),
        tenant: TenantView::from(&tenant),
        features: grant.features.clone(),
        limits: grant.limits.clone(),
    }))
}

/// List users, oldest first
#[utoipa::path(
    get, path = "/v1/users", operation_id = "users.list", tag = "users",
    params(UserQuery),
    responses((status = OK, body = Page<UserView>, description = "A page."))
)]
async fn list(
    InTenant { tenant, .. }: InTenant<ReadUsers>,
    Query(UserQuery {
        limit,
        starting_after,
    }): Query<UserQuery>,
) -> Result<Json<Page<UserView>>> {
    let found = tenant
        .read(|db, _| Box::pin(store::list(db, limit, starting_after)))
        .await?;
    Ok(Json(
        Page::of(found, limit).map(|account| UserView::from(&account)),
    ))
}

/// Add a user
#[utoipa::path(
    post, path = "/v1/users", operation_id = "users.create", tag = "users",
    request_body = NewUser,
    responses((status = CREATED, body = UserView, description = "The user was added."))
)]
async fn create(
    State(auth): State<Auth>,
    InTenant {
        tenant, principal, ..
    }: InTenant<ManageUsers>,
    Json(new): Json<NewUser>,
) -> Result<impl IntoResponse> {
    let actor = user_of(&principal)?;
    // Before its password costs anything: all tenants' are hashed by the same few.
    let admission = tenant
        .read(|db, _| Box::pin(store::admission(db, new.email.as_str(), &new.role)))
        .await?;
    admit(&admission, tenant.grant())?;
    let password = strong_enough(&new, &tenant.route().company).await?;
    let password_hash = auth.0.hasher.hash(&password).await?;
    let account = NewAccount {
        id: UserId::new(),
        email: new.email.as_str(),
        name: &new.name.0,
        password_hash: &password_hash,
    };
    let mut transaction = tenant.begin().await?;
    store::lock_accounts(&mut transaction).await?;
    let admission = store::admission(&mut transaction, account.email, &new.role).await?;
    if let Err(problem) = admit(&admission, tenant.grant()) {
        transaction.rollback().await?;
        return Err(problem);
    }
    store::insert(&mut transaction, &account).await?;
    store::ensure_role(&mut transaction, account.id, &new.role)
        .await
        .on_constraint("membership_role_fk", no_such_role)?;
    store::audit(
        &mut transaction,
        actor,
        Audited::UserCreated,
        account.id.uuid(),
    )
    .await?;
    let added = store::find(&mut transaction, account.id).await?;
    transaction.commit().await?;
    let added = added.ok_or_else(|| Problem::internal("a user that was just added is gone"))?;
    Ok((StatusCode::CREATED, Json(UserView::from(&added))))
}

/// Refuses who may not be added.
fn admit(admission: &Admission, tier: &TierGrant) -> Result<()> {
    if let Granted::AtMost(most) = tier.limit(USERS_LIMIT)
        && admission.active >= most
    {
        let detail = format!("The tier {} allows {most} active users.", tier.name);
        return Err(Problem::new(Code::LimitReached).detail(detail));
    }
    if admission.is_taken {
        let taken = "a user has this address already";
        return Err(Problem::new(Code::Conflict).and_field("/email", taken));
    }
    if !admission.has_role {
        return Err(no_such_role());
    }
    Ok(())
}

fn no_such_role() -> Problem {
    Problem::field("/role", "there is no role of this name")
}

async fn strong_enough(new: &NewUser, company: &str) -> Result<Password> {
    let about = [new.email.as_str(), &new.name.0, company].map(str::to_owned);
    let text = new.password.clone();
    // Guessing how hard it is to guess takes some milliseconds.
    tokio::task::spawn_blocking(move || {
        Password::parse(text, &about.each_ref().map(String::as_str))
    })
    .await
    .map_err(Problem::internal)?
    .map_err(|refusal| Problem::field("/password", refusal.to_string()))
}

/// The operations on users.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    operations!(me, list, create)
}

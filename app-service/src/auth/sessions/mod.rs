//! Signing in and staying signed in: log in, refresh, log out.
//!
//! Deliberately no cookies: tokens go to the caller, who keeps them. Invariants: what an answer, its
//! work and its time (see `level`) tell about a tenant or a user is the same whether they exist or
//! not, until the password was right; a refresh token is exchanged once, see `rotation`.

mod level;
mod rotation;
mod store;

use axum::extract::State;
use axum::middleware;
use axum::response::IntoResponse;
use contract::Code;
use contract::secret::Secret;
use http::{HeaderMap, StatusCode, header};
use kit::email::{Email, EmailKey};
use kit::error::{Problem, Result};
use kit::extract::Json;
use kit::operations;
use kit::passwords::{Stored, Verified};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa_axum::router::OpenApiRouter;

use self::rotation::{LOST_ANSWER_GRACE, Verdict};
use self::store::{Ended, Found, Started};
use super::grants::granted;
use super::people::UserView;
use super::store::{self as accounts, Account, AccountStatus, Audited};
use super::tokens::{Grant, RefreshDigest, new_refresh_token};
use super::{Auth, SessionId, UserId, user_of};
use crate::state::AppState;
use crate::tenancy::doors::TENANT_HEADER;
use crate::tenancy::{InTenant, SignIn, SigningOut, Tenant, Transaction};

/// Who wants to log in.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    #[schema(example = "ada@acme.example")]
    email: String,
    #[schema(value_type = String, format = Password, example = "correct horse battery staple")]
    password: Secret,
}

/// A refresh token to be exchanged.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Refresh {
    #[schema(value_type = String, format = Password, example = "rt_4Zx0mT1vQm1x8b7kq0y3y8n9h1jYw2d5c6e7f8g9h0i")]
    refresh_token: Secret,
}

/// Somebody is signed in.
#[derive(Serialize, utoipa::ToSchema)]
struct SignedInView {
    /// Send it as `Authorization: Bearer ...`.
    access_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the access token expires.
    #[schema(example = 900)]
    expires_in: u64,
    /// Good once, for the next access token.
    refresh_token: String,
    user: UserView,
}

/// Log in with e-mail address and password
#[utoipa::path(
    post, path = "/v1/auth/login", operation_id = "auth.login", tag = "auth",
    request_body = Credentials,
    responses((status = OK, body = SignedInView, description = "Tokens."))
)]
async fn login(
    State(auth): State<Auth>,
    sign_in: SignIn,
    headers: HeaderMap,
    Json(credentials): Json<Credentials>,
) -> Result<impl IntoResponse> {
    limit_tries(&auth, &headers, &credentials.email)?;
    let known = authenticate(&auth, &sign_in, &credentials).await?;
    if let Some(answer) = start(&auth, known, &credentials.password).await? {
        return Ok(answer);
    }
    // Another log-in with this password may have renewed its hash: what is stored now decides.
    let known = authenticate(&auth, &sign_in, &credentials).await?;
    let answer = start(&auth, known, &credentials.password).await?;
    answer.ok_or_else(credentials_wrong)
}

/// Starts a session of somebody whose password was right; none where the account is another one since.
async fn start(
    auth: &Auth,
    known: Known<'_>,
    password: &Secret,
) -> Result<Option<impl IntoResponse + use<>>> {
    let Known {
        tenant,
        account,
        stored,
    } = known;
    let renewed_hash = match stored {
        Stored::Current => None,
        Stored::Outdated => Some(auth.0.hasher.hash_verified(password).await?),
    };
    let user = UserId::from_uuid(account.id);
    let session = SessionId::new();
    let (refresh_token, digest) = new_refresh_token();
    let answer = signed_in(auth, tenant, session, &account, refresh_token)?;
    let mut transaction = tenant.begin().await?;
    let lifetime = auth.0.refresh_lifetime.get();
    let started = store::start(
        &mut transaction,
        session,
        user,
        &account.password_hash,
        lifetime,
    )
    .await?;
    if started == Started::AccountChanged {
        transaction.rollback().await?;
        return Ok(None);
    }
    store::insert_token(&mut transaction, session, digest, None).await?;
    store::tidy(&mut transaction, user).await?;
    if let Some(hash) = renewed_hash {
        accounts::replace_hash(&mut transaction, user, &account.password_hash, &hash).await?;
    }
    accounts::audit(&mut transaction, user, Audited::SignedIn, session.uuid()).await?;
    transaction.commit().await?;
    Ok(Some(answer))
}

/// Tries to log in to one account, existing or not, are counted alike.
fn limit_tries(auth: &Auth, headers: &HeaderMap, email: &str) -> Result<()> {
    let tenant = headers
        .get(TENANT_HEADER)
        .map_or(&b""[..], |value| value.as_bytes());
    let key = Sha256::new()
        .chain_update(tenant)
        .chain_update([0])
        .chain_update(EmailKey::of(email).as_str())
        .finalize();
    auth.0.per_account.check(&key.into()).map_err(|wait| {
        Problem::new(Code::RateLimited)
            .detail("Too many tries to log in to this account.")
            .retry_after(wait.0)
    })
}

/// Somebody whose password was right.
struct Known<'a> {
    tenant: &'a Tenant,
    account: Account,
    stored: Stored,
}

/// Checks a password; for nobody it takes as long.
async fn authenticate<'a>(
    auth: &Auth,
    sign_in: &'a SignIn,
    credentials: &Credentials,
) -> Result<Known<'a>> {
    let found = match (sign_in, Email::try_from(credentials.email.clone())) {
        (SignIn::Known(tenant), Ok(email)) => {
            let account = find_account(tenant, email.as_str()).await?;
            let key = EmailKey::of(email.as_str());
            account
                .filter(|account| account.status == AccountStatus::Active)
                // A database may take more letters for one another than the count of tries does.
                .filter(|account| EmailKey::of(&account.email) == key)
                .map(|account| (tenant, account))
        }
        _ => None,
    };
    let Some((tenant, account)) = found else {
        auth.0.hasher.verify_nobody(&credentials.password).await?;
        return Err(credentials_wrong());
    };
    match auth
        .0
        .hasher
        .verify(&credentials.password, &account.password_hash)
        .await?
    {
        Verified::Match { stored } => Ok(Known {
            tenant,
            account,
            stored,
        }),
        Verified::Mismatch => Err(credentials_wrong()),
    }
}

/// The account of an address; nobody's where the tenant was held back since the door.
async fn find_account(tenant: &Tenant, email: &str) -> Result<Option<Account>> {
    // The connection is back before the password is hashed.
    let found = tenant
        .read(|db, _| Box::pin(accounts::find_by_email(db, email)))
        .await;
    match found {
        Err(problem) if problem.code() == Code::CredentialsWrong => Ok(None),
        found => found,
    }
}

/// Exchange a refresh token
///
/// Good once: keep the new refresh token. A client whose answer was lost may send the old one again
/// within ten seconds. Otherwise a token that was exchanged before ends the session.
#[utoipa::path(
    post, path = "/v1/auth/refresh", operation_id = "auth.refresh", tag = "auth",
    request_body = Refresh,
    responses((status = OK, body = SignedInView, description = "New tokens."))
)]
async fn refresh(
    State(auth): State<Auth>,
    sign_in: SignIn,
    Json(Refresh { refresh_token }): Json<Refresh>,
) -> Result<impl IntoResponse> {
    let SignIn::Known(tenant) = &sign_in else {
        return Err(refresh_token_invalid());
    };
    let digest = RefreshDigest::of(refresh_token.expose());
    let mut transaction = match tenant.begin().await {
        Err(problem) if problem.code() == Code::CredentialsWrong => {
            return Err(refresh_token_invalid());
        }
        begun => begun?,
    };
    let found = store::find_locked(&mut transaction, digest, LOST_ANSWER_GRACE).await?;
    let Some(found) = found else {
        transaction.rollback().await?;
        return Err(refresh_token_invalid());
    };
    match verdict(&mut transaction, digest, &found).await? {
        Verdict::Rotate => store::spend(&mut transaction, digest).await?,
        Verdict::ReissueIfUnused => {
            store::supersede_successors(&mut transaction, found.session, digest).await?;
        }
        Verdict::Refuse => {
            transaction.rollback().await?;
            return Err(refresh_token_invalid());
        }
        Verdict::End => {
            end(
                transaction,
                found.session,
                found.account,
                Audited::RefreshTokenReused,
            )
            .await?;
            return Err(refresh_token_invalid());
        }
    }
    let (next, next_digest) = new_refresh_token();
    store::insert_token(&mut transaction, found.session, next_digest, Some(digest)).await?;
    let account = accounts::find(&mut transaction, found.account)
        .await?
        .filter(|account| account.status == AccountStatus::Active);
    let Some(account) = account else {
        transaction.rollback().await?;
        return Err(refresh_token_invalid());
    };
    let answer = signed_in(&auth, tenant, found.session, &account, next)?;
    transaction.commit().await?;
    Ok(answer)
}

/// What a token that was found leads to, with the one fact that costs a look-up of its own.
async fn verdict(
    transaction: &mut Transaction,
    digest: RefreshDigest,
    found: &Found,
) -> Result<Verdict> {
    let verdict = found.presented.verdict();
    let used = verdict == Verdict::ReissueIfUnused
        && store::successor_was_spent(transaction, found.session, digest).await?;
    Ok(if used { Verdict::End } else { verdict })
}

/// Log out
///
/// Ends the session that the token comes from. Its access tokens stay good until they expire.
#[utoipa::path(
    post, path = "/v1/auth/logout", operation_id = "auth.logout", tag = "auth",
    responses((status = NO_CONTENT, description = "The session has ended, now or before."))
)]
async fn logout(
    InTenant {
        tenant, principal, ..
    }: InTenant<SigningOut>,
) -> Result<StatusCode> {
    let user = user_of(&principal)?;
    let session = principal.session.parse().map_err(Problem::internal)?;
    end(tenant.begin().await?, session, user, Audited::SignedOut).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a session, and says so in the audit log if it was open.
async fn end(
    mut transaction: Transaction,
    session: SessionId,
    user: UserId,
    why: Audited,
) -> Result<()> {
    if store::revoke(&mut transaction, session, user).await? == Ended::Now {
        accounts::audit(&mut transaction, user, why, session.uuid()).await?;
    }
    transaction.commit().await
}

/// The answer with tokens, for nobody's cache.
fn signed_in(
    auth: &Auth,
    tenant: &Tenant,
    session: SessionId,
    account: &Account,
    refresh_token: String,
) -> Result<impl IntoResponse + use<>> {
    let permissions = granted(&auth.0.permissions, &account.patterns);
    let grant = Grant {
        user: UserId::from_uuid(account.id),
        tenant: tenant.id(),
        session,
        permissions,
    };
    let view = SignedInView {
        access_token: auth.0.issuer.issue(&auth.0.keys.all(), grant)?,
        token_type: "Bearer",
        expires_in: auth.0.issuer.lifetime.as_secs(),
        refresh_token,
        user: UserView::from(account),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)))
}

fn credentials_wrong() -> Problem {
    Problem::new(Code::CredentialsWrong)
}

fn refresh_token_invalid() -> Problem {
    Problem::new(Code::RefreshTokenInvalid).detail("Log in again.")
}

/// The operations on sessions.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    operations!(login, refresh)
        .layer(middleware::from_fn(level::level))
        .merge(operations!(logout))
}

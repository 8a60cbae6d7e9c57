//! Every statement about people: accounts and their roles.
//!
//! Deliberately without decisions and without sessions; see [`super::sessions`]. Invariant: each
//! function takes a connection to one tenant's database.

use kit::page::Limit;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::UserId;

/// Whether somebody may sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type, serde::Serialize, utoipa::ToSchema)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub(super) enum AccountStatus {
    /// May sign in.
    Active,
    /// May not.
    Disabled,
}

/// Somebody, with what their roles grant.
pub(super) struct Account {
    pub(super) id: Uuid,
    pub(super) email: String,
    pub(super) name: String,
    pub(super) password_hash: String,
    pub(super) status: AccountStatus,
    pub(super) created_at: OffsetDateTime,
    /// Names of roles, the most powerful first.
    pub(super) roles: Vec<String>,
    /// Patterns of permissions.
    pub(super) patterns: Vec<String>,
}

/// A new account.
pub(super) struct NewAccount<'a> {
    pub(super) id: UserId,
    pub(super) email: &'a str,
    pub(super) name: &'a str,
    pub(super) password_hash: &'a str,
}

/// The account with this address, whatever its case as this server understands it.
pub(super) async fn find_by_email(
    db: &mut PgConnection,
    email: &str,
) -> Result<Option<Account>, sqlx::Error> {
    sqlx::query_as!(
        Account,
        r#"
        select a.id, a.email, a.name, a.password_hash, a.status as "status: AccountStatus",
            a.created_at,
            array(
                select m.role from auth.membership m join auth.role r on r.name = m.role
                where m.account_id = a.id order by r.position
            ) as "roles!",
            array(
                select distinct g.pattern from auth.membership m join auth.role_grant g on g.role = m.role
                where m.account_id = a.id
            ) as "patterns!"
        from auth.account a
        where lower(a.email) = lower($1)
        "#,
        email
    )
    .fetch_optional(db)
    .await
}

/// The account with this id.
pub(super) async fn find(
    db: &mut PgConnection,
    id: UserId,
) -> Result<Option<Account>, sqlx::Error> {
    sqlx::query_as!(
        Account,
        r#"
        select a.id, a.email, a.name, a.password_hash, a.status as "status: AccountStatus",
            a.created_at,
            array(
                select m.role from auth.membership m join auth.role r on r.name = m.role
                where m.account_id = a.id order by r.position
            ) as "roles!",
            array(
                select distinct g.pattern from auth.membership m join auth.role_grant g on g.role = m.role
                where m.account_id = a.id
            ) as "patterns!"
        from auth.account a
        where a.id = $1
        "#,
        id.uuid()
    )
    .fetch_optional(db)
    .await
}

/// Accounts after the cursor, oldest first, one more than the limit.
pub(super) async fn list(
    db: &mut PgConnection,
    limit: Limit,
    starting_after: Option<UserId>,
) -> Result<Vec<Account>, sqlx::Error> {
    sqlx::query_as!(
        Account,
        r#"
        select a.id, a.email, a.name, '' as "password_hash!", a.status as "status: AccountStatus",
            a.created_at,
            array(
                select m.role from auth.membership m join auth.role r on r.name = m.role
                where m.account_id = a.id order by r.position
            ) as "roles!",
            '{}'::text[] as "patterns!"
        from auth.account a
        where a.id > $1
        order by a.id
        limit $2
        "#,
        starting_after.map_or(Uuid::nil(), UserId::uuid),
        limit.probe()
    )
    .fetch_all(db)
    .await
}

/// Keeps other transactions from adding accounts until this one ends, so that a count stays true.
/// Readers are not held up.
pub(super) async fn lock_accounts(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("lock table auth.account in share row exclusive mode")
        .execute(db)
        .await?;
    Ok(())
}

/// What says whether an account may be added.
#[derive(Debug)]
pub(super) struct Admission {
    /// How many may sign in.
    pub(super) active: i64,
    /// Whether somebody has its address.
    pub(super) is_taken: bool,
    /// Whether there is a role of its name.
    pub(super) has_role: bool,
}

/// Looks at it; true for as long as accounts are locked.
pub(super) async fn admission(
    db: &mut PgConnection,
    email: &str,
    role: &str,
) -> Result<Admission, sqlx::Error> {
    sqlx::query_as!(
        Admission,
        r#"
        select (select count(*) from auth.account where status = 'active') as "active!",
            exists (select from auth.account where lower(email) = lower($1)) as "is_taken!",
            exists (select from auth.role where name = $2) as "has_role!"
        "#,
        email,
        role
    )
    .fetch_one(db)
    .await
}

/// Adds an account.
pub(super) async fn insert(db: &mut PgConnection, new: &NewAccount<'_>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into auth.account (id, email, name, password_hash) values ($1, $2, $3, $4)",
        new.id.uuid(),
        new.email,
        new.name,
        new.password_hash
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Ensures an account with a role, in one round trip; what is there already stays as it is.
pub(super) async fn ensure_with_role(
    db: &mut PgConnection,
    new: &NewAccount<'_>,
    role: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with ensured as (
             insert into auth.account (id, email, name, password_hash) values ($1, $2, $3, $4)
             on conflict (id) do nothing
         )
         insert into auth.membership (account_id, role) values ($1, $5) on conflict do nothing",
        new.id.uuid(),
        new.email,
        new.name,
        new.password_hash,
        role
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether an account got a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    Now,
    /// It had it.
    Before,
}

/// Gives a role to an account that may have it already; breaks `membership_role_fk` where there is
/// no such role.
pub(super) async fn ensure_role(
    db: &mut PgConnection,
    id: UserId,
    role: &str,
) -> Result<Given, sqlx::Error> {
    let done = sqlx::query!(
        "insert into auth.membership (account_id, role) values ($1, $2) on conflict do nothing",
        id.uuid(),
        role
    )
    .execute(db)
    .await?;
    Ok(match done.rows_affected() {
        0 => Given::Before,
        _ => Given::Now,
    })
}

/// Replaces a password's hash by one of another cost, unless the password was changed meanwhile.
pub(super) async fn replace_hash(
    db: &mut PgConnection,
    id: UserId,
    old: &str,
    new: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update auth.account set password_hash = $3 where id = $1 and password_hash = $2",
        id.uuid(),
        old,
        new
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What the audit log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audited {
    /// Somebody logged in.
    SignedIn,
    /// Somebody logged out.
    SignedOut,
    /// A spent refresh token came again; the session was ended.
    RefreshTokenReused,
    /// Somebody added a user.
    UserCreated,
    /// A change of owners made somebody one.
    OwnershipGiven,
    /// A change of owners made somebody none.
    OwnershipTaken,
}

impl Audited {
    const fn action(self) -> &'static str {
        match self {
            Self::SignedIn => "session.started",
            Self::SignedOut => "session.ended",
            Self::RefreshTokenReused => "session.reuse_detected",
            Self::UserCreated => "user.created",
            Self::OwnershipGiven => "ownership.given",
            Self::OwnershipTaken => "ownership.taken",
        }
    }

    fn of(action: &str) -> Option<Self> {
        [
            Self::UserCreated,
            Self::OwnershipGiven,
            Self::OwnershipTaken,
        ]
        .into_iter()
        .find(|what| what.action() == action)
    }
}

/// What a change of owners did, in order.
pub(super) async fn audited_by(
    db: &mut PgConnection,
    actor: UserId,
) -> Result<Vec<(Audited, Uuid)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select action, subject from auth.audit where actor = $1 order by id",
        actor.uuid()
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((Audited::of(&row.action)?, row.subject)))
        .collect())
}

/// Takes a role from an account.
pub(super) async fn take_role(
    db: &mut PgConnection,
    id: UserId,
    role: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from auth.membership where account_id = $1 and role = $2",
        id.uuid(),
        role
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes a role from everybody but this account; gives whom.
pub(super) async fn take_role_from_others(
    db: &mut PgConnection,
    id: UserId,
    role: &str,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "delete from auth.membership where role = $2 and account_id <> $1 returning account_id",
        id.uuid(),
        role
    )
    .fetch_all(db)
    .await
}

/// Removes an account.
pub(super) async fn remove(db: &mut PgConnection, id: UserId) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from auth.account where id = $1", id.uuid())
        .execute(db)
        .await?;
    Ok(())
}

/// Adds a line to the audit log: who did what to whom.
pub(super) async fn audit(
    db: &mut PgConnection,
    actor: UserId,
    what: Audited,
    subject: Uuid,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into auth.audit (actor, action, subject) values ($1, $2, $3)",
        actor.uuid(),
        what.action(),
        subject
    )
    .execute(db)
    .await?;
    Ok(())
}

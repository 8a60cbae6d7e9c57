//! What a module works with in its tenant's database: reads that each stand for themselves, or a
//! [`Transaction`].
//!
//! Deliberately without sqlx's own transactions: a future that is dropped between BEGIN and its
//! answer would leave sqlx believing that none is open. Invariants: a connection goes back only after
//! its last statement, COMMIT or ROLLBACK was answered; any other way out goes through a rollback; after
//! a transaction its session is as it was opened. A read pays for no such thing: what it sets, which no
//! module may, stays in the session for the tenant's next request.
//! Only what the server cannot have acted on is tried a second time: BEGIN, and reads.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use contract::Code;
use futures::future::BoxFuture;
use kit::db::Fault;
use kit::error::Problem;
use kit::observe::DatabaseTime;
use sqlx::PgConnection;

use super::Tenant;
use super::connections::{AcquireError, Held, Reused};
use super::refusal::Refusal;

/// Holds in a row, each begun while a connection was made ready after the one before, that a request
/// waits for.
const MOST_HOLDS: u32 = 4;

/// Statements that bring a session back to how it was opened, for the message that ends a transaction: they
/// cost no round trip there. Prepared statements stay, unlike with `discard all`; temporary tables are not
/// for tenants' roles.
macro_rules! tidied {
    ($end:literal) => {
        concat!(
            $end,
            "; close all; unlisten *; reset role; reset all; select pg_advisory_unlock_all()"
        )
    };
}
pub(super) use tidied;

/// A transaction.
///
/// Dropped without [`Transaction::commit`] it is rolled back behind the caller's back.
#[must_use]
pub struct Transaction(Lease);

struct Lease {
    held: Held,
    /// Until the lease is over, also by a request that failed or whose client went away.
    _time: DatabaseTime,
}

impl Lease {
    fn new(held: Held, tenant: &Tenant) -> Self {
        Self {
            held,
            _time: DatabaseTime::of(Arc::clone(&tenant.notes)),
        }
    }

    fn into_held(self) -> Held {
        self.held
    }

    fn give_back(self) {
        self.into_held().give_back();
    }
}

impl Transaction {
    /// Commits, and gives the connection back.
    ///
    /// # Errors
    /// When the server did not confirm; whether the changes are kept is then unknown, as with any
    /// database, unless the error is the server's own refusal.
    pub async fn commit(mut self) -> Result<(), Problem> {
        // A COMMIT of a transaction in which a statement failed rolls back and reports success. The
        // statement before it makes that an error, in the same round trip.
        sqlx::raw_sql(tidied!("select 1; commit"))
            .execute(&mut *self.0.held)
            .await?;
        self.0.give_back();
        Ok(())
    }

    /// Rolls back, and gives the connection back.
    ///
    /// # Errors
    /// When the server did not confirm; the changes are gone nevertheless.
    pub async fn rollback(mut self) -> Result<(), Problem> {
        sqlx::raw_sql(tidied!("rollback"))
            .execute(&mut *self.0.held)
            .await?;
        self.0.give_back();
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0.held
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0.held
    }
}

/// Says that what a read borrows lives as long as its connection is lent.
pub type Borrowed<'c, 'env> = PhantomData<&'c &'env ()>;

pub(super) async fn read<'env, T, E: Into<Problem>>(
    tenant: &Tenant,
    work: impl for<'c> Fn(&'c mut PgConnection, Borrowed<'c, 'env>) -> BoxFuture<'c, Result<T, E>>,
) -> Result<T, Problem> {
    let mut lease = Lease::new(acquire(tenant).await?, tenant);
    let mut read = work(&mut lease.held, PhantomData).await.map_err(Into::into);
    if let Err(problem) = &read
        && lease.held.reused() == Reused::Yes
        && problem.code() == Code::DatabaseUnavailable
    {
        tracing::debug!(tenant.id = %tenant.id(), cause = kit::error::chain(problem), "reading again");
        lease = Lease::new(in_place_of(lease.into_held(), tenant).await?, tenant);
        read = work(&mut lease.held, PhantomData).await.map_err(Into::into);
    }
    // A connection that met an error is looked at before it serves anybody else.
    if read.is_ok() {
        lease.give_back();
    }
    read
}

pub(super) async fn begin(tenant: &Tenant) -> Result<Transaction, Problem> {
    let mut lease = Lease::new(acquire(tenant).await?, tenant);
    if let Err(error) = sqlx::raw_sql("begin").execute(&mut *lease.held).await {
        let stale = lease.held.reused() == Reused::Yes && Fault::of(&error) == Fault::Unreachable;
        if !stale {
            return Err(error.into());
        }
        lease = Lease::new(in_place_of(lease.into_held(), tenant).await?, tenant);
        sqlx::raw_sql("begin").execute(&mut *lease.held).await?;
    }
    Ok(Transaction(lease))
}

/// Another connection for one that died while it was idle, and the tenant's others most likely with
/// it: those that are idle are closed, so it is a fresh one, or one that was in use a moment ago.
async fn in_place_of(dead: Held, tenant: &Tenant) -> Result<Held, Problem> {
    dead.retire();
    tenant.known.close_idle();
    acquire(tenant).await
}

/// A connection by what is known of the tenant now, once it is not held; where the database refuses
/// that, by what the platform says when it is asked again.
async fn acquire(tenant: &Tenant) -> Result<Held, Problem> {
    let acquired = try_acquire(tenant).await;
    acquired.map_err(|problem| tenant.intent.shown(problem))
}

async fn try_acquire(tenant: &Tenant) -> Result<Held, Problem> {
    let directory = &tenant.directory;
    let mut known = directory.current(&tenant.known).await?;
    let mut asked = Asked::No;
    let mut trial = None;
    for _ in 0..MOST_HOLDS {
        tenant.intent.admit(known.route())?;
        if trial.is_none() {
            trial = directory.trial(&known)?;
        }
        match known.acquire().await {
            Ok(held) => {
                if let Some(trial) = trial {
                    trial.succeeds();
                }
                return Ok(held);
            }
            Err(AcquireError::TenantHeld) => known = directory.released(tenant.id()).await?,
            Err(AcquireError::Open(error)) if error.is_refusal() && asked == Asked::No => {
                tracing::warn!(
                    tenant.id = %tenant.id(),
                    cause = kit::error::chain(&error),
                    "the tenant's database refused; asking the platform again"
                );
                let renewed = directory.renewed(&known).await?;
                let renewed = directory.current(&renewed).await?;
                if error.is_lasting() && renewed.route().generation == known.route().generation {
                    directory.doubted(&renewed);
                    return Err(unavailable(error.into()));
                }
                known = renewed;
                asked = Asked::Again;
            }
            Err(error) => {
                match &error {
                    AcquireError::Open(error) if error.is_lasting() => directory.doubted(&known),
                    AcquireError::Open(error) if error.is_refusal() => {
                        directory.unavailable(&known)
                    }
                    _ => {}
                }
                return Err(unavailable(error));
            }
        }
    }
    Err(Refusal::Held.into())
}

/// Whether the platform was asked since a database refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    No,
    Again,
}

fn unavailable(error: AcquireError) -> Problem {
    let code = match &error {
        AcquireError::Overloaded => Code::Overloaded,
        AcquireError::TenantHeld => Code::TenantHeld,
        AcquireError::Open(_) => Code::TenantUnavailable,
    };
    Problem::new(code).caused_by(error)
}

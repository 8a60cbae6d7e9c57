//! A tenant gets another owner, on the platform's word.
//!
//! Deliberately with the audit as its memory: what a change did is in it, in the same transaction, so a
//! change that comes again does nothing, and one that is taken back undoes exactly that. Invariant:
//! there is an owner before and after.

use contract::Code;
use contract::internal::{NewOwner, OwnershipAct, OwnershipRequest};
use contract::operator::tenant::OtherOwners;
use futures::future::BoxFuture;
use kit::error::{Problem, Result};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::{self, Account, AccountStatus, Audited, Given, NewAccount};
use super::{OWNER, UserId};

/// Does what the platform asks for.
pub(super) fn change<'c>(
    db: &'c mut PgConnection,
    request: &'c OwnershipRequest,
) -> BoxFuture<'c, Result<()>> {
    Box::pin(async move {
        if let OwnershipAct::Look { email } = &request.act {
            let account = store::find_by_email(db, email).await?;
            let none = || Problem::new(Code::NotFound).detail("Nobody has this address.");
            able(&account.ok_or_else(none)?)?;
            return Ok(());
        }
        // Whoever comes at the same time waits, and finds what was done.
        store::lock_accounts(db).await?;
        let change = request.change;
        let done = store::audited_by(db, UserId::from_uuid(change)).await?;
        match &request.act {
            OwnershipAct::Look { .. } => Ok(()),
            OwnershipAct::Give { .. } if !done.is_empty() => Ok(()),
            OwnershipAct::Give {
                email,
                account,
                others,
            } => give(db, change, (email, account.as_ref()), *others).await,
            OwnershipAct::TakeBack => take_back(db, done).await,
        }
    })
}

async fn give(
    db: &mut PgConnection,
    change: Uuid,
    (email, new): (&str, Option<&NewOwner>),
    others: OtherOwners,
) -> Result<()> {
    let by = UserId::from_uuid(change);
    let owner = match (store::find_by_email(db, email).await?, new) {
        (Some(account), _) => able(&account)?,
        (None, Some(new)) => {
            let account = NewAccount {
                id: UserId::from_uuid(new.user),
                email: &new.email,
                name: "",
                password_hash: &new.password_hash,
            };
            store::insert(db, &account).await?;
            store::audit(db, by, Audited::UserCreated, new.user).await?;
            account.id
        }
        (None, None) => {
            let detail = "Nobody in the tenant has this address: send a first password as well.";
            return Err(Problem::new(Code::Conflict).detail(detail));
        }
    };
    if store::ensure_role(db, owner, OWNER).await? == Given::Now {
        store::audit(db, by, Audited::OwnershipGiven, owner.uuid()).await?;
    }
    if others == OtherOwners::Replace {
        for former in store::take_role_from_others(db, owner, OWNER).await? {
            store::audit(db, by, Audited::OwnershipTaken, former).await?;
        }
    }
    Ok(())
}

fn able(account: &Account) -> Result<UserId> {
    match account.status {
        AccountStatus::Active => Ok(UserId::from_uuid(account.id)),
        AccountStatus::Disabled => {
            Err(Problem::new(Code::Conflict).detail("The account of this address is disabled."))
        }
    }
}

async fn take_back(db: &mut PgConnection, done: Vec<(Audited, Uuid)>) -> Result<()> {
    for (what, subject) in done.into_iter().rev() {
        let subject = UserId::from_uuid(subject);
        match what {
            Audited::OwnershipTaken => {
                store::ensure_role(db, subject, OWNER).await?;
            }
            Audited::OwnershipGiven => store::take_role(db, subject, OWNER).await?,
            Audited::UserCreated => store::remove(db, subject).await?,
            Audited::SignedIn | Audited::SignedOut | Audited::RefreshTokenReused => {}
        }
    }
    Ok(())
}

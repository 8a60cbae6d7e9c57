//! Reserving a tenant: everything that its operation needs is chosen and stored before its first step.
//!
//! Deliberately without a look at any cluster. Invariant: the tenant's row and its operation, with a
//! sealed password and the owner's user id, commit together or not at all.

use std::time::Duration;

use adapters::secret_store::SecretSubject;
use contract::OperationId;
use contract::internal::NewOwner;
use contract::secret::Secret;
use kit::db::broken_constraint;
use kit::error::Problem;
use sqlx::PgConnection;
use uuid::Uuid;

use super::create::CreatePlan;
use super::store::{self, Idempotency, NewOperation};
use super::{Operation, Subject};
use crate::audit::Actor;
use crate::platform::Platform;
use crate::tenants::{self, NewTenant};

/// A tenant that somebody asks for.
#[derive(Debug)]
pub(crate) struct NewCreate {
    pub(crate) tenant: NewTenant,
    pub(crate) actor: Actor,
    /// The operation that it is a part of.
    pub(crate) parent: Option<OperationId>,
    pub(crate) owner_email: String,
    /// The PHC string of the owner's password.
    pub(crate) password_hash: String,
    pub(crate) idempotency: Option<Idempotency>,
    /// SHA-256 of the token that lets an anonymous caller read the operation.
    pub(crate) poll_digest: Option<Vec<u8>>,
}

/// An operation that is recorded but not yet running; hand it to the runner after the commit.
#[must_use = "the operation only starts soon when it is handed to the runner"]
#[derive(Debug)]
pub(crate) struct Reserved(pub(super) Operation);

impl Reserved {
    /// The operation's id.
    pub(crate) fn id(&self) -> OperationId {
        self.0.head.id
    }
}

/// Why a tenant could not be reserved. The transaction is of no more use.
#[derive(Debug)]
pub(crate) enum NotReserved {
    /// Somebody has the id or the slug.
    Taken,
    /// A request with this idempotency key made an operation before.
    KeyUsed,
    /// Anything else.
    Failed(Problem),
}

impl From<sqlx::Error> for NotReserved {
    fn from(error: sqlx::Error) -> Self {
        match broken_constraint(&error) {
            Some("tenant_key" | "tenant_slug_key" | "operation_live_key") => Self::Taken,
            Some("operation_idempotency_key") => Self::KeyUsed,
            _ => Self::Failed(error.into()),
        }
    }
}

/// Records the tenant and the operation that makes it, in the caller's transaction.
pub(crate) async fn reserve_create(
    connection: &mut PgConnection,
    platform: &Platform,
    new: NewCreate,
) -> Result<Reserved, NotReserved> {
    let tenant = new.tenant.id.clone();
    let id = OperationId::new();
    let password = platform
        .seal
        .put(
            &SecretSubject::Tenant(tenant.clone()),
            &id.to_string(),
            &Secret::random(),
        )
        .await
        .map_err(|error| NotReserved::Failed(Problem::internal(error)))?;
    let plan = CreatePlan::of(
        password,
        NewOwner {
            user: Uuid::now_v7(),
            email: new.owner_email,
            password_hash: new.password_hash,
        },
    );
    let operation =
        Operation::new(id, Subject::Tenant(tenant), plan).map_err(NotReserved::Failed)?;
    tenants::store::insert_provisioning(&mut *connection, &new.tenant).await?;
    let recorded = NewOperation {
        operation: &operation,
        requested_by: new.actor,
        parent: new.parent,
        idempotency: new.idempotency.as_ref(),
        poll_digest: new.poll_digest.as_deref(),
        // A part of another operation is left to whoever looks first.
        lease_for: match new.parent {
            Some(_) => Duration::ZERO,
            None => platform.settings.operations.lease.get(),
        },
    };
    store::insert(connection, &recorded).await?;
    Ok(Reserved(operation))
}

//! Reserving a tenant: everything that its operation needs is chosen and stored before anything is done.
//!
//! Deliberately without a word to any cluster or secret store. Invariant: the tenant's row and its
//! operation, with a sealed password, the owner's user id and the copy that it is to become, commit together
//! or not at all.

use std::time::Duration;

use adapters::secret_store::{SecretError, SecretSubject};
use contract::OperationId;
use contract::internal::NewOwner;
use contract::secret::Secret;
use kit::db::broken_constraint;
use kit::error::Problem;
use sqlx::PgConnection;
use uuid::Uuid;

use super::create::{CreatePlan, placed};
use super::outcome::{Entry, Event, Way, next};
use super::store::{self, Idempotency, NewOperation};
use super::{Operation, Step, Subject};
use crate::audit::Actor;
use crate::clusters::placement::Needs;
use crate::clusters::store::derived::ClaimedCopy;
use crate::platform::Platform;
use crate::tenants::{self, NewTenant};

/// The first steps, where the secret store keeps nothing.
const REGISTRY_ALONE: [Step; 2] = [Step::Secret, Step::Place];

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

/// Records the tenant and the operation that makes it, in the caller's transaction; with the tenant's
/// secret and place, where those are no more than rows of the registry.
pub(crate) async fn reserve_create(
    connection: &mut PgConnection,
    platform: &Platform,
    new: NewCreate,
) -> Result<Reserved, NotReserved> {
    let id = OperationId::new();
    let subject = Subject::Tenant(new.tenant.id.clone());
    let plan = plan_of(platform, id, &new).await?;
    let mut operation = Operation::new(id, subject, plan.clone()).map_err(NotReserved::Failed)?;
    operation.head.parent = new.parent;
    let mut log = vec![Entry::new(operation.head.step, Event::Started)];
    // First of all: who waits for another request of this id must not hold the region's clusters.
    tenants::store::insert_provisioning(&mut *connection, &new.tenant, plan.credential()).await?;
    if let Some(copy) = place_now(&mut *connection, platform, &operation, &new).await? {
        operation.plan = plan.with_claimed(copy).into();
        let way = Way::of(&operation.plan);
        for step in REGISTRY_ALONE {
            operation.head.step = step;
            let turn = next(&operation.head, &way, &Ok(()));
            operation.head.step = turn.step;
            log.extend(turn.log);
        }
    }
    let recorded = NewOperation {
        operation: &operation,
        requested_by: new.actor,
        idempotency: new.idempotency.as_ref(),
        poll_digest: new.poll_digest.as_deref(),
        // A part of another operation is left to whoever looks first.
        lease_for: match new.parent {
            Some(_) => Duration::ZERO,
            None => platform.settings.operations.lease.get(),
        },
        log: &log,
    };
    store::insert(connection, &recorded).await?;
    Ok(Reserved(operation))
}

/// Everything that is chosen: the password of the role, the owner's user id.
async fn plan_of(
    platform: &Platform,
    id: OperationId,
    new: &NewCreate,
) -> Result<CreatePlan, NotReserved> {
    let subject = SecretSubject::Tenant(new.tenant.id.clone());
    let (version, secret) = (id.to_string(), Secret::random());
    let failed = |error: SecretError| NotReserved::Failed(Problem::internal(error));
    let password = platform.seal.put(&subject, &version, &secret).await;
    let credential = match platform.secrets.keeps_nothing() {
        true => Some(platform.secrets.put(&subject, &version, &secret).await),
        false => None,
    };
    let owner = NewOwner {
        user: Uuid::now_v7(),
        email: new.owner_email.clone(),
        password_hash: new.password_hash.clone(),
    };
    Ok(CreatePlan::of(
        password.map_err(failed)?,
        credential.transpose().map_err(failed)?,
        owner,
    ))
}

/// Does the steps that are [the registry's alone](REGISTRY_ALONE) with the reservation; nothing where that
/// cannot be: then they are the runner's, which says why.
async fn place_now(
    connection: &mut PgConnection,
    platform: &Platform,
    operation: &Operation,
    new: &NewCreate,
) -> Result<Option<ClaimedCopy>, NotReserved> {
    let at_once = REGISTRY_ALONE
        .into_iter()
        .all(|step| platform.runner.needs_no_act(&operation.plan, step));
    // The clusters of a region are locked until the commit, which of a parent may be long in coming.
    if new.parent.is_some() || !at_once {
        return Ok(None);
    }
    let needs = Needs {
        region: &new.tenant.region,
        tier: &new.tenant.tier,
        labels: &new.tenant.labels,
        bytes: 0,
    };
    let made = (operation.head.id, &new.tenant.id);
    Ok(placed(connection, made, needs).await?.ok())
}

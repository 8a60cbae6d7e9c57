//! What replicas are to hear: tenants whose routes are others since this transaction, and the place in the feed
//! that says so.
//!
//! Deliberately values and no convention: whatever gives a tenant another generation answers with an
//! [`Unannounced`], which has to be used. Invariant: the feed is written by [`Unannounced::announce`] alone,
//! which takes the value with it.

use contract::TenantId;
use sqlx::PgConnection;

use super::store;
use crate::registry::{number, parsed};

/// Tenants with the generations that they have from this transaction on; the feed does not say so yet. There may
/// be none: what was asked for was so before.
#[derive(Debug)]
#[must_use = "replicas hear of a new generation by the feed alone: announce it, last in the transaction"]
pub(crate) struct Unannounced(Vec<(TenantId, u64)>);

impl Unannounced {
    /// Nothing changed.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// This tenant has this generation now.
    pub(crate) fn one(tenant: &TenantId, generation: i64) -> Result<Self, sqlx::Error> {
        let generation = number("tenant.generation", generation)?;
        Ok(Self(vec![(tenant.clone(), generation)]))
    }

    /// This tenant has this generation now, where the statement found anything to change.
    pub(crate) fn if_changed(
        tenant: &TenantId,
        generation: Option<i64>,
    ) -> Result<Self, sqlx::Error> {
        generation.map_or(Ok(Self::none()), |generation| Self::one(tenant, generation))
    }

    /// These tenants have these generations now.
    pub(crate) fn many(rows: impl IntoIterator<Item = (String, i64)>) -> Result<Self, sqlx::Error> {
        let each = rows.into_iter().map(|(tenant, generation)| {
            let tenant = parsed("tenant.id", &tenant)?;
            Ok((tenant, number("tenant.generation", generation)?))
        });
        each.collect::<Result<_, sqlx::Error>>().map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// With what else changed in the same transaction.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Says so in the feed, and where in it. Must be the transaction's last write, or others wait for the
    /// counter while it goes on.
    pub(crate) async fn announce(
        self,
        connection: &mut PgConnection,
    ) -> Result<Announced, sqlx::Error> {
        if self.is_empty() {
            return store::last_number(connection).await;
        }
        store::record(connection, &self.0).await
    }

    /// Says nothing: the tenant is being made, so no replica serves it before its activation is announced.
    pub(crate) fn while_being_made(self) {}
}

/// A place in the feed: whoever has acted on everything up to it has heard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Announced(pub(super) u64);

//! Tenants' data on its way: to a new id, out of an installation, into one.
//!
//! Deliberately apart from backups, which stay where they are. Invariant: what arrives is complete and
//! checked before anybody can reach it.

mod clones;
mod exports;
pub(crate) mod format;
mod imports;
pub(crate) mod store;
mod tar;
pub(crate) mod write;

use utoipa_axum::router::OpenApiRouter;

use crate::platform::Platform;

pub(crate) fn router() -> OpenApiRouter<Platform> {
    OpenApiRouter::default()
        .merge(clones::router())
        .merge(exports::router())
        .merge(imports::router())
}

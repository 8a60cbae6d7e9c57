//! Ports that both services use, one file per implementation: the secret store and the
//! object store.
//!
//! Deliberately no caching and no policy: who may open what is decided by the callers. Invariant:
//! every implementation of a port passes the same behavioural suite (`tests/`).

pub mod object_store;
pub mod secret_store;

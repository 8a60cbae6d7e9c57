//! Wire types of the operators' API, shared by the platform and its command line.
//!
//! Deliberately without handlers and without the platform's own words for kinds and steps, which
//! grow. Invariant: what is sent is refused where it has a field that is not here.

pub mod adoption;
pub mod backup;
pub mod cluster;
pub mod fleet;
pub mod operation;
pub mod oversight;
pub mod rollout;
pub mod tenant;
pub mod tier;
pub mod upkeep;

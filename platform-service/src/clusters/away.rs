//! Work on many clusters, one piece after the other, of which some cannot be reached.
//!
//! Deliberately remembers who is away for one pass only: the next one tries them all again. Invariant: in
//! one pass a server that is away is waited for once.

use std::collections::HashSet;
use std::future::Future;

use contract::ClusterName;

use crate::stop::Stop;

/// The clusters on which nothing could be done in this look.
#[derive(Debug, Default)]
pub(crate) struct Away(HashSet<ClusterName>);

impl Away {
    /// Does something on a cluster, unless nothing could be done there before.
    ///
    /// # Errors
    /// It could not be done; it is for the next look.
    pub(crate) async fn unless(
        &mut self,
        cluster: &ClusterName,
        work: impl Future<Output = Result<(), Stop>>,
    ) -> Result<(), Stop> {
        if self.0.contains(cluster) {
            return Ok(());
        }
        let done = work.await;
        if done.as_ref().is_err_and(Stop::is_unusable) {
            self.0.insert(cluster.clone());
        }
        done
    }
}

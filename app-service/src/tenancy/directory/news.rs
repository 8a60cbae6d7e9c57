//! News of changes: what is known of a tenant goes when something newer is heard of.
//!
//! Deliberately asks nobody: the next request does. Invariant: a look-up that is under way learns of the news
//! under the lock under which its answer is judged.

use std::sync::atomic::Ordering;

use contract::TenantId;
use contract::internal::Change;

use super::Directory;

/// What was heard of a tenant while it was looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    /// Nothing.
    #[default]
    Nothing,
    /// That it has this generation.
    Generation(u64),
    /// News were missed: it may have any.
    Missed,
}

impl News {
    /// Whether an answer may be older than the news: that the tenant has this generation, or that there is none.
    pub(super) fn outdate(self, answer: Option<u64>) -> bool {
        match (self, answer) {
            (Self::Nothing, _) => false,
            (Self::Generation(heard), Some(answered)) => heard > answered,
            (Self::Generation(_), None) | (Self::Missed, _) => true,
        }
    }
}

/// Whether news of changes come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeedState {
    /// They do.
    Heard,
    /// They do not.
    Silent,
}

impl Directory {
    /// Acts on the news of a change. When it returns, no idle connection of a held tenant is left and
    /// none is given out any more.
    pub(crate) fn heard(&self, change: &Change) {
        let (id, generation) = (&change.tenant, change.generation);
        let mut fills = self.fills();
        if let Some(fill) = fills.get_mut(id) {
            fill.heard = fill.heard.max(News::Generation(generation));
        }
        self.0.refused.invalidate(id);
        self.0.doubts.end(id);
        let known = self.0.known.get(id);
        if known.is_some_and(|known| known.route.generation >= generation) {
            return;
        }
        self.forget(id);
        if change.hold.is_none() {
            self.0.holds.end(id, generation);
            return;
        }
        self.0.holds.begin(id, generation);
        for cluster in self.clusters().values() {
            cluster.close_idle_of(id);
        }
    }

    /// Forgets everything: news were missed.
    pub(crate) fn forget_all(&self) {
        for fill in self.fills().values_mut() {
            fill.heard = News::Missed;
        }
        for (_, known) in &self.0.known {
            known.superseded.store(true, Ordering::Release);
        }
        self.0.known.invalidate_all();
        self.0.refused.invalidate_all();
        self.0.doubts.end_all();
        self.0.holds.end_all();
        for cluster in self.clusters().values() {
            cluster.close_idle();
        }
    }

    /// Says whether the change feed is being heard; while it is not, what is known is renewed often.
    pub(crate) fn hears_feed(&self, hears: FeedState) {
        let hears = hears == FeedState::Heard;
        let before = self.0.hears_feed.swap(hears, Ordering::Relaxed);
        if before && !hears {
            let soon = self.now() + self.freshness();
            for (_, known) in &self.0.known {
                known.renew_at.fetch_min(soon, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn forget(&self, id: &TenantId) {
        self.supersede(id);
        self.0.refused.invalidate(id);
    }

    /// Takes out what is known of a tenant; requests that have it in hand look again.
    pub(super) fn supersede(&self, id: &TenantId) {
        if let Some(known) = self.0.known.remove(id) {
            known.superseded.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests;

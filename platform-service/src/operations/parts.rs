//! Who waits in this process for the parts of an operation, and is told when one of them ends.
//!
//! Deliberately knows of no other process: what ends there is seen at the next look. Invariant: an end is never
//! lost between a look and the wait after it; several are one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::OperationId;
use tokio::sync::Notify;

/// Those who may wait, by their operation.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts(Arc<Mutex<HashMap<OperationId, Arc<Notify>>>>);

impl Parts {
    /// From now on each end of a part is kept for this operation, until what is given is dropped.
    pub(super) fn watch(&self, whole: OperationId) -> Watch {
        let bell = Arc::clone(self.lock().entry(whole).or_default());
        Watch {
            parts: self.clone(),
            whole,
            bell,
        }
    }

    /// A part of this operation has ended.
    pub(super) fn ended(&self, whole: OperationId) {
        if let Some(bell) = self.lock().get(&whole) {
            bell.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OperationId, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Parts::watch`].
#[derive(Debug)]
pub(super) struct Watch {
    parts: Parts,
    whole: OperationId,
    bell: Arc<Notify>,
}

impl Watch {
    /// Waits until a part has ended since the last time.
    pub(super) async fn ended(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.parts.lock().remove(&self.whole);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn an_end_before_the_wait_is_not_lost_and_several_are_one() {
        let (parts, whole) = (Parts::default(), OperationId::new());
        parts.ended(whole);
        let watch = parts.watch(whole);
        assert!(watch.ended().now_or_never().is_none());
        parts.ended(OperationId::new());
        assert!(watch.ended().now_or_never().is_none());
        parts.ended(whole);
        parts.ended(whole);
        assert!(watch.ended().now_or_never().is_some());
        assert!(watch.ended().now_or_never().is_none());
        drop(watch);
        assert!(parts.lock().is_empty());
    }
}

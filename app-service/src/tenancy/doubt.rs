//! Tenants whose databases have refused us: one request at a time tries again, and the others are refused
//! without a session on the server that healthy tenants share.
//!
//! Deliberately without a time of its own: how long nobody tries is the matter of the directory's refusals. Invariant:
//! a doubt is of one generation, so that news of the tenant end it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::TenantId;

/// See the module; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Doubts(Arc<Mutex<HashMap<TenantId, Doubt>>>);

#[derive(Debug)]
struct Doubt {
    generation: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waits,
    IsTried,
}

/// Another request is finding out whether the database is there again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IsTried;

impl Doubts {
    /// The database refused what was known of the tenant in this generation. Whoever tries it goes on.
    pub(super) fn begin(&self, tenant: &TenantId, generation: u64) {
        let mut doubts = self.lock();
        let known = doubts.get(tenant);
        if known.is_none_or(|doubt| doubt.generation != generation) {
            let state = State::Waits;
            doubts.insert(tenant.clone(), Doubt { generation, state });
        }
    }

    /// Something else is known of the tenant.
    pub(super) fn end(&self, tenant: &TenantId) {
        self.lock().remove(tenant);
    }

    /// News of any tenant may have been missed.
    pub(super) fn end_all(&self) {
        self.lock().clear();
    }

    /// The turn to try a database that is in doubt, over when it is dropped; none where nothing is in doubt.
    pub(super) fn turn(
        &self,
        tenant: &TenantId,
        generation: u64,
    ) -> Result<Option<Trial>, IsTried> {
        let mut doubts = self.lock();
        let Some(doubt) = doubts.get_mut(tenant) else {
            return Ok(None);
        };
        if doubt.generation != generation {
            doubts.remove(tenant);
            return Ok(None);
        }
        if doubt.state == State::IsTried {
            return Err(IsTried);
        }
        doubt.state = State::IsTried;
        Ok(Some(Trial {
            doubts: self.clone(),
            tenant: tenant.clone(),
            generation,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Doubt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Doubts::turn`].
#[derive(Debug)]
pub(super) struct Trial {
    doubts: Doubts,
    tenant: TenantId,
    generation: u64,
}

impl Trial {
    /// The database let us in.
    pub(super) fn succeeds(self) {
        let mut doubts = self.doubts.lock();
        if self.doubt_in(&mut doubts).is_some() {
            doubts.remove(&self.tenant);
        }
    }

    /// What it tries, unless that is over and there is another doubt by now.
    fn doubt_in<'a>(&self, doubts: &'a mut HashMap<TenantId, Doubt>) -> Option<&'a mut Doubt> {
        let doubt = doubts.get_mut(&self.tenant)?;
        (doubt.generation == self.generation).then_some(doubt)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Some(doubt) = self.doubt_in(&mut self.doubts.lock()) {
            doubt.state = State::Waits;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_tries_until_it_is_let_in_or_something_new_is_known() {
        let (doubts, acme): (Doubts, TenantId) = (Doubts::default(), "t_acme".parse().unwrap());
        let turn = |generation| doubts.turn(&acme, generation).map(|turn| turn.is_some());
        assert_eq!(turn(1), Ok(false));
        doubts.begin(&acme, 1);
        let trial = doubts.turn(&acme, 1).unwrap();
        assert!(trial.is_some());
        assert_eq!(turn(1), Err(IsTried));
        drop(trial);
        assert_eq!(turn(1), Ok(true));
        assert_eq!(turn(2), Ok(false));
        doubts.begin(&acme, 2);
        doubts.end(&acme);
        assert_eq!(turn(2), Ok(false));
    }

    #[test]
    fn a_try_ends_the_doubt_that_it_is_about_and_no_other() {
        let (doubts, acme): (Doubts, TenantId) = (Doubts::default(), "t_acme".parse().unwrap());
        doubts.begin(&acme, 1);
        let old = doubts.turn(&acme, 1).unwrap().unwrap();
        // Refused itself, it is the one that tries all the same.
        doubts.begin(&acme, 1);
        assert_eq!(doubts.turn(&acme, 1).unwrap_err(), IsTried);
        doubts.begin(&acme, 2);
        let new = doubts.turn(&acme, 2).unwrap().unwrap();
        old.succeeds();
        assert_eq!(doubts.turn(&acme, 2).unwrap_err(), IsTried);
        new.succeeds();
        assert!(doubts.turn(&acme, 2).unwrap().is_none());
    }
}

//! Look-ups: a tenant that is not known is asked for once, whoever waits for it.
//!
//! Deliberately in a task of its own: a client that goes away does not break it off for the others. Invariant: an
//! answer that is older than the news that came meanwhile is not kept, and asked for again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

use contract::{Code, TenantId, TenantStatus};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use super::Directory;
use super::news::News;
use crate::tenancy::admission;
use crate::tenancy::known::Known;
use crate::tenancy::look_ups::NoRoute;
use crate::tenancy::refusal::Refusal;

/// A look-up that is under way.
pub(super) struct Fill {
    awaited: Awaited,
    /// What was heard while it was under way.
    pub(super) heard: News,
}

/// What those who wait for a look-up have of it.
#[derive(Clone)]
struct Awaited {
    answer: Shared<BoxFuture<'static, Result<Arc<Known>, Refusal>>>,
    /// Whether the platform has answered: what is waited for since is a migration.
    routed: Arc<AtomicBool>,
}

impl Directory {
    pub(super) async fn await_fill(&self, id: &TenantId) -> Result<Arc<Known>, Refusal> {
        let Awaited { answer, routed } = self.fill(id);
        let answer = tokio::time::timeout(self.0.settings.wait, answer).await;
        answer.unwrap_or_else(|_| {
            Err(match routed.load(Ordering::Relaxed) {
                true => Refusal::TimedOut,
                false => Refusal::PlatformSilent,
            })
        })
    }

    /// Starts a look-up, or joins the one that is under way. It runs in a task of its own, so that
    /// a client that goes away does not break it off for the others.
    fn fill(&self, id: &TenantId) -> Awaited {
        let mut fills = self.fills();
        if let Some(fill) = fills.get(id) {
            return fill.awaited.clone();
        }
        let routed = Arc::new(AtomicBool::new(false));
        let (directory, tenant, known) = (self.clone(), id.clone(), Arc::clone(&routed));
        let task = self
            .0
            .tasks
            .spawn(async move { directory.run_fill(&tenant, &known).await });
        let (directory, tenant) = (self.clone(), id.clone());
        let answer = task
            .map(move |joined| {
                joined.unwrap_or_else(|_| {
                    directory.fills().remove(&tenant);
                    Err(Refusal::TimedOut)
                })
            })
            .boxed()
            .shared();
        let awaited = Awaited { answer, routed };
        let fill = Fill {
            awaited: awaited.clone(),
            heard: News::Nothing,
        };
        fills.insert(id.clone(), fill);
        awaited
    }

    /// Asks until the answer is not older than the news that came meanwhile.
    async fn run_fill(&self, id: &TenantId, routed: &AtomicBool) -> Result<Arc<Known>, Refusal> {
        loop {
            let answer = self.ask(id, routed).await;
            match &answer {
                Ok(known) => {
                    self.supersede(id);
                    self.0.known.insert(id.clone(), Arc::clone(known));
                }
                Err(refusal) if refusal.is_remembered() => {
                    self.supersede(id);
                    self.0.refused.insert(id.clone(), refusal.clone());
                }
                // No answer says nothing about the tenant: what is known of it stays.
                Err(_) => {}
            }
            // Looked at after the insert and under the lock that news take: what came before is
            // seen here, what comes later finds the entry.
            let mut fills = self.fills();
            let heard = fills
                .get_mut(id)
                .map_or(News::Nothing, |fill| std::mem::take(&mut fill.heard));
            let answered = answer.as_ref().ok().map(|known| known.route.generation);
            if !heard.outdate(answered) {
                self.heed_hold(id, &answer);
                fills.remove(id);
                return answer;
            }
            drop(fills);
            self.supersede(id);
            self.0.refused.invalidate(id);
        }
    }

    /// Begins or ends the hold of a tenant, as an answer of the platform says. Under the lock that news
    /// take, so that the later of both decides.
    fn heed_hold(&self, id: &TenantId, answer: &Result<Arc<Known>, Refusal>) {
        match answer {
            Ok(known) if known.route.hold.is_some() => {
                self.0.holds.begin(id, known.route.generation);
                known.close_idle();
            }
            Ok(known) => self.0.holds.end(id, known.route.generation),
            Err(refusal) if refusal.is_remembered() => self.0.holds.end_any(id),
            Err(_) => {}
        }
    }

    async fn ask(&self, id: &TenantId, routed: &AtomicBool) -> Result<Arc<Known>, Refusal> {
        routed.store(false, Ordering::Relaxed);
        let asked = self.0.look_ups.route(&self.0.platform, id).await;
        routed.store(true, Ordering::Relaxed);
        let route = match asked {
            Ok(route) => route,
            Err(NoRoute::Silent) => return Err(Refusal::PlatformSilent),
            Err(NoRoute::Asked(error)) => {
                return Err(match error.refusal() {
                    Some(Code::NotFound) => Refusal::Unknown,
                    Some(Code::TenantProvisioning) => Refusal::Provisioning,
                    Some(Code::TenantDeleted) => Refusal::Deleted,
                    _ => Refusal::PlatformUnavailable(Arc::new(error)),
                });
            }
        };
        match route.status {
            TenantStatus::Provisioning => return Err(Refusal::Provisioning),
            TenantStatus::Deleted => return Err(Refusal::Deleted),
            // Nobody migrates what is about to be moved or replaced.
            TenantStatus::Active | TenantStatus::Suspended if route.hold.is_some() => {}
            TenantStatus::Suspended if !admission::reads(&route) => {}
            TenantStatus::Active | TenantStatus::Suspended => {
                self.migrate(&route).await.map_err(Refusal::Migration)?;
            }
        }
        let known = self.know(route);
        if known.route.status == TenantStatus::Suspended {
            // They were ended when the tenant was held back, or soon will be.
            known.close_idle();
        }
        Ok(known)
    }

    pub(super) fn fills(&self) -> MutexGuard<'_, HashMap<TenantId, Fill>> {
        self.0.fills.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

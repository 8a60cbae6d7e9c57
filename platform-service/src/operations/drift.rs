//! A look for drift as an operation: tenants' databases are compared with reference databases made for it.
//!
//! Deliberately one step that does everything and may begin anew at any time: it changes nothing in a
//! tenant's database but the rights that it was asked to mend. Invariant: the reference databases are
//! dropped at the end; on a server that is away they are left to the sweep, and the operation does not wait
//! for it.

use contract::operator::rollout::{DriftReport, DriftRequest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::saga::{Saga, Traits};
use super::{Head, Step, Stop};
use crate::clusters::spare;
use crate::clusters::store::kept;
use crate::drift::{look, reference, store};
use crate::platform::Platform;

/// What was asked for, and what came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DriftPlan {
    request: DriftRequest,
    report: Option<DriftReport>,
}

impl DriftPlan {
    pub(crate) fn new(request: DriftRequest) -> Self {
        Self {
            request,
            report: None,
        }
    }
}

/// Drops what showed what is expected; what is on a server that is away goes when that is back.
async fn drop_references(platform: &Platform, head: &Head) -> Result<(), Stop> {
    let name = reference::name(head);
    let clusters = {
        let mut registry = platform.registry.acquire().await?;
        store::clusters_with(&mut registry, &name).await?
    };
    for cluster in clusters {
        let server = platform.server(&cluster).await?;
        match spare::drop_now(platform, &server, &name).await {
            Err(stop) if stop.is_unusable() => {
                let mut registry = platform.registry.acquire().await?;
                kept::release(&mut registry, (&cluster, &name)).await?;
            }
            dropped => dropped?,
        }
    }
    Ok(())
}

impl Saga for DriftPlan {
    const STEPS: &'static [Step] = &[Step::Compare, Step::Drop];

    fn point_of_no_return(&self) -> Step {
        Step::Compare
    }

    fn traits(&self) -> Traits {
        Traits::LONG
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Compare => {
                self.report = Some(look::compare(platform, head, &self.request).await?);
                Ok(())
            }
            Step::Drop => drop_references(platform, head).await,
            other => Err(other.unexpected()),
        }
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        drop_references(platform, head).await
    }

    fn result(&self) -> Option<Value> {
        serde_json::to_value(self.report.as_ref()?).ok()
    }
}

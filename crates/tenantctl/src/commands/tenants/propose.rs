//! Ids that come close to one that is not known.
//!
//! Deliberately silent where they cannot be looked up: the first failure counts. Invariant: no more is
//! proposed than people read.

use contract::Code;

use crate::api::Query;
use crate::context::Context;
use crate::failure::{Failure, text};

/// How many tenants are looked at for a name that comes close.
const LOOKED_AT: usize = 500;

/// How far a name may be off.
const FARTHEST: usize = 3;

/// Adds to the refusal of an unknown tenant those whose ids come close.
pub(crate) async fn propose(context: &Context, failure: Failure) -> Failure {
    let Failure::Refused { route, refusal, .. } = &failure else {
        return failure;
    };
    // A detail says that something else of the tenant is missing.
    if !refusal.is(Code::NotFound) || refusal.detail.is_some() {
        return failure;
    }
    let (Some(wanted), Ok(api)) = (route.tenant(), context.api()) else {
        return failure;
    };
    let Ok(known) = api
        .items("/v1/tenants", &Query::new(), LOOKED_AT, "/id")
        .await
    else {
        return failure;
    };
    let mut close: Vec<(usize, String)> = known
        .iter()
        .map(|tenant| text(tenant, "/id"))
        .map(|id| (strsim::damerau_levenshtein(id, wanted), id.to_owned()))
        .filter(|(distance, id)| {
            *distance > 0 && (*distance <= FARTHEST.min(wanted.len() / 3) || id.starts_with(wanted))
        })
        .collect();
    close.sort_unstable();
    close.truncate(3);
    Failure::Refused {
        close: close.into_iter().map(|(_, id)| id).collect(),
        route: route.clone(),
        refusal: refusal.clone(),
    }
}

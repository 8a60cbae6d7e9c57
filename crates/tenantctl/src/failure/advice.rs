//! What helps against a refusal, by its code.
//!
//! Deliberately silent where nothing helps but what the refusal itself says. Invariant: advice hangs on a
//! code of the contract and on the route, never on words that people read.

use contract::Code;

use super::{Refusal, noun};
use crate::api::Route;

/// What to do after a refusal; `close` are names that come close to the one that is not known.
pub(super) fn after(route: &Route, refusal: &Refusal, close: &[String]) -> Vec<String> {
    let mut next: Vec<String> = close
        .iter()
        .map(|name| format!("did you mean {name}?"))
        .collect();
    if let Some(proposal) = &refusal.proposal {
        next.push(format!("{proposal} is available"));
    }
    let operation = refusal.operation();
    match (refusal.known_code(), operation) {
        (Some(Code::NotFound), _) if close.is_empty() && refusal.detail.is_none() => {
            let list = noun::list_of(&route.path);
            next.extend(list.map(|list| format!("see what exists with `{list}`")));
        }
        (Some(Code::Conflict), Some(id)) if names_rollout(route) => next.extend([
            format!("wait for it with `tenantctl rollouts watch {id}`, which says why it waits"),
            format!("or end it with `tenantctl rollouts abort {id}`"),
        ]),
        (Some(Code::Conflict), Some(id)) => {
            next.push(format!(
                "wait for it with `tenantctl operations watch {id}`"
            ));
        }
        (Some(code), _) => next.extend(about_tenant(code, route).or_else(|| {
            let advice = by_route(code, route).or_else(|| by_code(code))?;
            Some(advice.to_owned())
        })),
        (None, _) => {}
    }
    if let Some(id) = operation.filter(|_| !refusal.is(Code::Conflict)) {
        next.push(format!(
            "see what happened with `tenantctl operations show {id}`"
        ));
    }
    next
}

/// Whether an operation that stands in the way is a roll-out. What stands in the way of a trial is done to its
/// tenant.
fn names_rollout(route: &Route) -> bool {
    route.is_of_rollouts() && !route.ends_in(&["trial"])
}

/// What helps the tenant that the path names.
fn about_tenant(code: Code, route: &Route) -> Option<String> {
    let id = route.tenant()?;
    match code {
        Code::TenantDeleted if route.ends_in(&["restore", "purge"]) => Some(format!(
            "see what was destroyed with `tenantctl tenants certificate {id}`"
        )),
        Code::TenantDeleted => Some(format!(
            "until its retention ends, `tenantctl tenants restore {id}` brings it back"
        )),
        Code::TenantSuspended | Code::TenantReadOnly => Some(format!(
            "`tenantctl tenants resume {id}` ends the suspension"
        )),
        _ => None,
    }
}

/// What helps against a code that means something of its own on some routes.
fn by_route(code: Code, route: &Route) -> Option<&'static str> {
    match code {
        Code::ConfirmationMissing if route.ends_in(&["purge"]) => {
            Some("--force destroys it before its retention ends")
        }
        Code::ClusterFull if route.ends_in(&["tenants"]) => Some(
            "`tenantctl clusters list` shows regions, tiers, labels and capacity; ask for what a cluster offers, or add a cluster",
        ),
        Code::ArchiveCorrupt if route.ends_in(&["restore-backup", "clones"]) => Some(
            "use another backup: `tenantctl backups list` shows them, `tenantctl backups verify` tests one",
        ),
        _ => None,
    }
}

/// What helps against a code wherever it comes from.
fn by_code(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::OperatorKeyInvalid => "log in again with `tenantctl login --key-stdin < file`",
        Code::PermissionMissing => {
            "use a key with this scope; `tenantctl keys list` shows the scopes of all keys"
        }
        Code::RouteNotFound | Code::MethodNotAllowed => concat!(
            "check that the platform is not older than this program, version ",
            env!("CARGO_PKG_VERSION")
        ),
        Code::VersionStale | Code::IfMatchMissing => {
            "somebody else changed it: look at it, then run the command again"
        }
        Code::ClusterFull => {
            "`tenantctl clusters list` shows the capacity; choose another cluster with --to, or add one"
        }
        Code::RegionLeft => {
            "`tenantctl clusters list` shows the regions; choose a cluster in the tenant's region"
        }
        Code::DowngradeRefused => {
            "choose a cluster whose PostgreSQL is not older; `tenantctl clusters list` shows the versions"
        }
        Code::ToolsMissing => {
            "install the PostgreSQL client programs of that version on the platform's host, or set tools.bin_dir"
        }
        Code::ObjectStoreUnavailable => {
            "check the objects.* settings and the free space of the object store, then run the command again"
        }
        Code::ArchiveCorrupt => {
            "fetch the archive again, or use another backup from `tenantctl backups list`"
        }
        Code::RolloutHalted => "`tenantctl rollouts list` shows which one, and why",
        Code::IdempotencyKeyInProgress
        | Code::RateLimited
        | Code::Overloaded
        | Code::Timeout
        | Code::DatabaseUnavailable
        | Code::PlatformUnavailable => "run the command again in a moment",
        Code::DatabaseExhausted => {
            "free some space on the database server, then run the command again"
        }
        Code::NotReady => "`tenantctl doctor` shows what is missing",
        Code::Internal => "search the platform's log for the request id",
        _ => return None,
    })
}

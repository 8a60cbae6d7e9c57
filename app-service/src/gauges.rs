//! What this replica has in memory and in use, measured when somebody asks for it.
//!
//! Deliberately no counters: those are counted where things happen. Invariant: everything that a caller
//! without a token can add to is here.

use metrics::gauge;

use crate::state::AppState;

/// Sets every gauge to what is so now.
pub(crate) fn measure(state: &AppState) {
    let directory = state.directory();
    gauge!("tenants_known").set(directory.len() as f64);
    gauge!("tenant_refusals").set(directory.refusals() as f64);
    let limits = state.sign_in_limits();
    for (limit, keys) in [
        ("sign_in_per_address", limits.per_address.len()),
        ("sign_in_per_account", state.auth().limited_accounts()),
    ] {
        gauge!("limited_keys", "limit" => limit).set(keys as f64);
    }
    for (cluster, usage) in directory.usage() {
        let cluster = cluster.to_string();
        let set = |state: &'static str, value: usize| {
            gauge!("tenant_connections", "cluster" => cluster.clone(), "state" => state)
                .set(value as f64);
        };
        set("share", usage.share);
        set("taken", usage.taken);
        set("idle", usage.idle);
        set("waiting", usage.waiting);
    }
}

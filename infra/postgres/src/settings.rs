//! The server's configuration file, written anew at every start. Decides nothing about roles or access.
//!
//! Invariant: reachable over TCP on this machine only; the durable profile never trades safety for speed.

use std::fmt::Write;

/// What a crash of the machine may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Nothing that was committed: PostgreSQL's own defaults.
    Durable,
    /// Everything: nothing is synced. For tests.
    ThrowAway,
}

/// The whole `postgresql.conf`. Later entries win, so `extra` (name, value) overrules all others.
pub(crate) fn file(
    port: u16,
    max_connections: u16,
    profile: Profile,
    extra: &[(String, String)],
) -> String {
    let mut text =
        "# Written at every start; changes made here are lost. ALTER SYSTEM stays.\n".to_owned();
    let mut set = |name: &str, value: &str| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
    };
    for (name, value) in COMMON
        .iter()
        .chain(by_platform())
        .chain(by_profile(profile))
    {
        set(name, value);
    }
    set("port", &port.to_string());
    set("max_connections", &max_connections.to_string());
    for (name, value) in extra {
        set(name, value);
    }
    text
}

const COMMON: [(&str, &str); 21] = [
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("password_encryption", "scram-sha-256"),
    ("cluster_name", "tenantry"),
    // Logical decoding, for moving a tenant between servers while it works.
    ("wal_level", "logical"),
    ("max_wal_senders", "10"),
    ("max_replication_slots", "10"),
    ("max_worker_processes", "16"),
    // A client that vanishes in mid-statement frees its connection within this time.
    ("client_connection_check_interval", "1s"),
    // Many databases: the launcher visits each of them once per nap, so a short nap keeps a core busy
    // with idle ones; more workers make up for it where there is work.
    ("autovacuum_naptime", "10min"),
    ("autovacuum_max_workers", "5"),
    ("shared_buffers", "256MB"),
    ("max_locks_per_transaction", "128"),
    ("max_wal_size", "2GB"),
    ("checkpoint_timeout", "15min"),
    // Statements are short: compiling them costs more than it saves.
    ("jit", "off"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    // Messages are read by this package.
    ("lc_messages", "C"),
    ("log_line_prefix", "%m [%p] %q%u@%d "),
    ("log_parameter_max_length_on_error", "0"),
];

/// With half a million files a recovery that syncs each takes minutes; `syncfs` is known to Linux only.
fn by_platform() -> &'static [(&'static str, &'static str)] {
    if cfg!(target_os = "linux") {
        &[("recovery_init_sync_method", "syncfs")]
    } else {
        &[]
    }
}

fn by_profile(profile: Profile) -> &'static [(&'static str, &'static str)] {
    match profile {
        Profile::Durable => &[],
        // What was committed survives the server's death all the same, though not the machine's.
        Profile::ThrowAway => &[
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("wal_init_zero", "off"),
        ],
    }
}

/// Arguments of `initdb` that give every platform the same sort order and character classes.
pub(crate) fn locale() -> [&'static str; 3] {
    let ctype = if cfg!(target_os = "macos") {
        "--lc-ctype=UTF-8"
    } else {
        "--lc-ctype=C.UTF-8"
    };
    ["--encoding=UTF8", "--locale=C", ctype]
}

#[cfg(test)]
mod tests;

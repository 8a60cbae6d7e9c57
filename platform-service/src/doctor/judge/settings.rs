//! What the doctor thinks of a server's version, settings and replication.
//!
//! Deliberately pure, as all of its judgement. Invariant: where a setting is not as it should be, the
//! statement that sets it is named, and whether the server has to be restarted.

use contract::operator::upkeep::{Diagnosis, Verdict};

use super::{MANY_FILES, NAMED, Said, estimated_files, gigabytes, listed, unless};
use crate::clusters::owner;
use crate::doctor::facts::{ClusterFacts, ServerFacts, SettingFacts};

/// The oldest server that is taken.
const OLDEST_VERSION: i32 = 150_000;
/// The first one that marks a database whose drop was interrupted.
const MARKS_HALF_DROPPED: i32 = 150_004;
/// With thousands of databases a shorter pause keeps a core busy with idle ones.
const SHORTEST_NAPTIME_SECONDS: i32 = 300;
/// Moves by replication at once, each with a slot.
const MOVES_AT_ONCE: i32 = 4;
/// What an idle slot may keep back before it is more than a note.
const KEPT_BYTES: u64 = 1 << 30;
const RELOAD: &str = "select pg_reload_conf();";
const RESTART: &str = "-- then restart the server";

pub(super) fn settings(facts: &ClusterFacts, server: &ServerFacts) -> Vec<Diagnosis> {
    let (place, settings) = (facts.row.name.as_str(), &server.settings);
    let checks = [
        ("version", version(settings.version)),
        ("recovery_init_sync_method", sync_method(server)),
        ("autovacuum_naptime", naptime(settings.naptime_seconds)),
        ("fsync", fsync(settings.fsync)),
        ("max_connections", connections(facts, server)),
        (
            "client_connection_check_interval",
            connection_check(settings.connection_check_ms),
        ),
        ("wal_level", wal_level(server)),
        ("replication_slots", slots(server)),
        ("idle_slots", idle_slots(server)),
        ("markers", markers(&server.settings)),
        ("owner_login", owner_login(settings)),
    ];
    let checks = checks.into_iter();
    checks.map(|(check, said)| said.of(check, place)).collect()
}

fn version(version: i32) -> Said {
    let found = format!("PostgreSQL {}.{}", version / 10_000, version % 10_000);
    match version {
        ..OLDEST_VERSION => Said {
            verdict: Verdict::Bad,
            found,
            why: "Older servers copy databases with checkpoints and let everybody write to `public`.",
            mend: "# upgrade the server to PostgreSQL 15.4 or newer".to_owned(),
        },
        _ => Said {
            verdict: unless(version >= MARKS_HALF_DROPPED, Verdict::Warn),
            found,
            why: "Before 15.4 a database whose drop was interrupted is not marked (datconnlimit = -2): \
                  it looks whole, is damaged, and nobody finishes its drop.",
            mend: "# upgrade the server to PostgreSQL 15.4 or newer".to_owned(),
        },
    }
}

fn sync_method(server: &ServerFacts) -> Said {
    let method = &server.settings.recovery_init_sync_method;
    let otherwise = match estimated_files(server) {
        0..MANY_FILES => Verdict::Warn,
        _ => Verdict::Bad,
    };
    Said {
        verdict: unless(method == "syncfs", otherwise),
        found: format!("{method}, with about {} files", estimated_files(server)),
        why: "A start after a crash synchronises every file by itself unless this is `syncfs` \
              (Linux): minutes, with a thousand databases.",
        mend: set("recovery_init_sync_method", "syncfs", RELOAD),
    }
}

fn naptime(seconds: i32) -> Said {
    Said {
        verdict: unless(seconds >= SHORTEST_NAPTIME_SECONDS, Verdict::Warn),
        found: format!("{seconds} s"),
        why: "Autovacuum visits every database once in this time: a short one keeps a core busy with \
              databases in which nothing happens.",
        mend: set("autovacuum_naptime", "5min", RELOAD),
    }
}

fn fsync(on: bool) -> Said {
    Said {
        verdict: unless(on, Verdict::Bad),
        found: if on { "on" } else { "off" }.to_owned(),
        why: "With it off a crash of the machine loses data that was acknowledged, or the whole \
              cluster.",
        mend: set("fsync", "on", RELOAD),
    }
}

fn connections(facts: &ClusterFacts, server: &ServerFacts) -> Said {
    let row = &facts.row;
    let own = facts.beside.connections();
    let settings = &server.settings;
    let free = u64::try_from(settings.max_connections - settings.reserved_connections).unwrap_or(0);
    let budget = u64::from(row.connection_budget);
    let verdict = match budget {
        _ if budget > free => Verdict::Bad,
        _ if budget + own > free => Verdict::Warn,
        _ => Verdict::Ok,
    };
    Said {
        verdict,
        found: format!(
            "a budget of {budget} of {free} connections for ordinary logins; {own} are for the platform and migrations"
        ),
        why: "Requests of tenants may take all of their budget; what is left must do for each replica of \
              platform-service, for questions, and for the migrations of each replica of a service.",
        mend: match free.checked_sub(own) {
            Some(room @ 1..) => format!("tenantctl clusters update {} --budget {room}", row.name),
            _ => {
                let enough = budget + own + settings.reserved_connections.unsigned_abs() as u64;
                set("max_connections", &enough.to_string(), RESTART)
            }
        },
    }
}

fn connection_check(milliseconds: i32) -> Said {
    Said {
        verdict: unless(milliseconds > 0, Verdict::Warn),
        found: format!("{milliseconds} ms"),
        why: "At 0 a client that went away keeps its connection, and its place in the budget, until \
              its statement ends.",
        mend: set("client_connection_check_interval", "1s", RELOAD),
    }
}

fn wal_level(server: &ServerFacts) -> Said {
    let settings = &server.settings;
    let logical = settings.wal_level == "logical";
    let mend = if logical {
        "alter role tn_platform replication;".to_owned()
    } else {
        set("wal_level", "logical", RESTART)
    };
    Said {
        verdict: unless(logical && settings.may_replicate, Verdict::Warn),
        found: match (logical, settings.may_replicate) {
            (true, false) => "logical, and tn_platform may not replicate".to_owned(),
            _ => settings.wal_level.clone(),
        },
        why: "Tenants that are too big for a dump within half a second leave this cluster by logical \
              replication alone.",
        mend,
    }
}

fn slots(server: &ServerFacts) -> Said {
    let settings = &server.settings;
    let free = settings.max_replication_slots - settings.used_replication_slots;
    Said {
        verdict: unless(free >= MOVES_AT_ONCE, Verdict::Warn),
        found: format!("{free} of {} free", settings.max_replication_slots),
        why: "Each move by replication needs a slot; four may run at once.",
        mend: set("max_replication_slots", "10", RESTART),
    }
}

fn markers(settings: &SettingFacts) -> Said {
    let is_behind = settings.may_mark && settings.unmarked > 0;
    Said {
        verdict: unless(!is_behind, Verdict::Warn),
        found: match settings.may_mark {
            true => format!("{} databases without their setting", settings.unmarked),
            false => "comments alone: tn_platform may not set tenantry.database".to_owned(),
        },
        why: "A new connection proves by a setting of the database that it is in the right one, and with a \
              round trip more by the comment on it.",
        mend: match settings.may_mark {
            true => "select format('alter database %I set tenantry.database = %L', datname, \
                     shobj_description(oid, 'pg_database')) from pg_database \
                     where shobj_description(oid, 'pg_database') like 'tenantry:%' \\gexec"
                .to_owned(),
            false => "grant set on parameter tenantry.database to tn_platform;".to_owned(),
        },
    }
}

fn owner_login(settings: &SettingFacts) -> Said {
    let may = settings.may_put_back;
    Said {
        verdict: unless(may, Verdict::Warn),
        found: match may {
            true => "tn_platform may put tn_schema's login back".to_owned(),
            false => "tn_platform may not change tn_schema's login".to_owned(),
        },
        why: "Statements that anonymise, and what comes with imported archives, run as tn_schema, and a role may \
              change its own password: no tenant on the server could be migrated then.",
        mend: format!("{};", owner::LET_PUT_BACK),
    }
}

fn idle_slots(server: &ServerFacts) -> Said {
    let names: Vec<String> = server
        .idle_slots
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    let kept: u64 = server.idle_slots.iter().map(|(_, bytes)| *bytes).sum();
    let verdict = match kept {
        _ if names.is_empty() => Verdict::Ok,
        0..KEPT_BYTES => Verdict::Warn,
        _ => Verdict::Bad,
    };
    let drop = |name: &String| format!("select pg_drop_replication_slot('{name}');");
    let statements: Vec<String> = names.iter().take(NAMED).map(drop).collect();
    Said {
        verdict,
        found: format!("{}; {} are kept for them", listed(&names), gigabytes(kept)),
        why: "The server keeps everything that was written since for a slot that nobody reads from, \
              until its disk is full.",
        mend: statements.join(" "),
    }
}

fn set(setting: &str, value: &str, restart: &str) -> String {
    format!("alter system set {setting} = '{value}'; {restart}")
}

//! What the doctor thinks of a server's version, settings and replication.
//!
//! Deliberately pure, as all of its judgement, and with no rule of its own where a cluster requires something of
//! its server. Invariant: where a setting is not as it should be, the
//! statement that sets it is named, and whether the server has to be restarted.

use contract::operator::upkeep::{Diagnosis, Verdict};

use super::{NAMED, Said, estimated_files, gigabytes, listed};
use crate::clusters::owner;
use crate::clusters::requirements::{Demand, RESTART, Ruling, Rulings, set, unless};
use crate::doctor::facts::{ClusterFacts, ServerFacts, SettingFacts};

/// Moves by replication at once, each with a slot.
const MOVES_AT_ONCE: i32 = 4;
/// What an idle slot may keep back before it is more than a note.
const KEPT_BYTES: u64 = 1 << 30;

pub(super) fn settings(facts: &ClusterFacts, server: &ServerFacts) -> Vec<Diagnosis> {
    let (place, settings) = (facts.row.name.as_str(), &server.settings);
    let demand = Demand {
        cluster: place,
        budget: facts.row.connection_budget,
        beside: facts.beside,
        files: Some(estimated_files(server)),
    };
    let rulings = Rulings::of(&server.required, demand);
    let checks = [
        ("version", rulings.version.into()),
        ("recovery_init_sync_method", rulings.sync_method.into()),
        ("autovacuum_naptime", rulings.naptime.into()),
        ("fsync", rulings.fsync.into()),
        ("max_connections", rulings.connections.into()),
        (
            "client_connection_check_interval",
            rulings.connection_check.into(),
        ),
        ("wal_level", wal_level(server)),
        ("replication_slots", slots(server)),
        ("idle_slots", idle_slots(server)),
        ("markers", markers(&server.settings)),
        ("owner_login", owner_login(settings)),
    ];
    let checks = checks.into_iter();
    checks
        .map(|(check, said): (_, Said)| said.of(check, place))
        .collect()
}

impl From<Ruling> for Said {
    fn from(ruling: Ruling) -> Self {
        Self {
            verdict: ruling.verdict,
            found: ruling.found,
            why: ruling.why,
            mend: ruling.mend,
        }
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

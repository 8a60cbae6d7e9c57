//! What the doctor thinks of what was found.
//!
//! Deliberately pure: no server is asked here. Invariant: each check gives one diagnosis whatever it
//! finds, and one that is not `ok` names the command that mends it.

use std::time::Duration;

use contract::operator::upkeep::{Diagnosis, Verdict};

use super::facts::{ClusterFacts, ClusterRow, PlatformFacts, ServerFacts, SettingFacts, Skew};

/// The oldest server that is taken.
const OLDEST_VERSION: i32 = 150_000;
/// The first one that marks a database whose drop was interrupted.
const MARKS_HALF_DROPPED: i32 = 150_004;
/// With thousands of databases a shorter pause keeps a core busy with idle ones.
const SHORTEST_NAPTIME_SECONDS: i32 = 300;
/// Connections that stay free beside the tenants' budget: the platform's own, migrations, questions.
const OWN_CONNECTIONS: u64 = 20;
/// A start after a crash reads some ten thousand files a second.
const MANY_FILES: u64 = 100_000;
/// From here on a start after a crash takes minutes, and a base backup too.
const TOO_MANY_FILES: u64 = 1_000_000;
/// Vacuum begins by itself at two hundred million; here it was held up.
const OLD_TRANSACTIONS: i64 = 500_000_000;
/// The server refuses to write at two thousand million.
const TOO_OLD_TRANSACTIONS: i64 = 1_500_000_000;
/// Moves by replication at once, each with a slot.
const MOVES_AT_ONCE: i32 = 4;
/// What an idle slot may keep back before it is more than a note.
const KEPT_BYTES: u64 = 1 << 30;
/// Leases, tokens and schedules bear this much.
const SKEW_SECONDS: f64 = 1.0;
/// From here on fresh tokens are refused.
const BAD_SKEW_SECONDS: f64 = 10.0;
/// An operator key that is older should be replaced.
const OLD_OPERATOR_KEY: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// A key that is due is published within a minute; this much later something is wrong.
const LATE_SIGNING_KEY: Duration = Duration::from_secs(24 * 60 * 60);
/// Shares of the disk that a cluster may use.
const FULL: f64 = 0.8;
const TOO_FULL: f64 = 0.95;
/// Names that are written out.
const NAMED: usize = 10;
/// Where no cluster is meant.
const PLATFORM: &str = "platform";

/// What is known of one check.
struct Said {
    verdict: Verdict,
    found: String,
    why: &'static str,
    mend: String,
}

impl Said {
    fn of(self, check: &str, place: &str) -> Diagnosis {
        Diagnosis {
            check: check.to_owned(),
            place: place.to_owned(),
            verdict: self.verdict,
            found: self.found,
            why: self.why.to_owned(),
            mend: (self.verdict != Verdict::Ok).then_some(self.mend),
        }
    }
}

/// `Ok` where it holds, else how bad it is.
fn unless(holds: bool, otherwise: Verdict) -> Verdict {
    if holds { Verdict::Ok } else { otherwise }
}

fn listed(names: &[String]) -> String {
    let mut text = names[..names.len().min(NAMED)].join(", ");
    if names.len() > NAMED {
        text += &format!(" and {} more", names.len() - NAMED);
    }
    if text.is_empty() {
        text.push_str("none");
    }
    text
}

/// One statement per name, for a person who pastes them.
fn each(names: &[String], statement: impl Fn(&str) -> String) -> String {
    let quoted = |name: &String| statement(&format!("\"{}\"", name.replace('"', "\"\"")));
    let statements: Vec<String> = names.iter().take(NAMED).map(quoted).collect();
    statements.join(" ")
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

fn set(setting: &str, value: &str, restart: &str) -> String {
    format!("alter system set {setting} = '{value}'; {restart}")
}

const RELOAD: &str = "select pg_reload_conf();";
const RESTART: &str = "-- then restart the server";

/// Everything of one cluster.
pub(super) fn cluster(facts: &ClusterFacts) -> Vec<Diagnosis> {
    let place = facts.row.name.as_str();
    let answers = Said {
        verdict: unless(facts.server.is_ok(), Verdict::Bad),
        found: match &facts.server {
            Ok(_) => "it answers".to_owned(),
            Err(words) => words.clone(),
        },
        why: "Its tenants are not served and nothing can be done to them while it does not answer.",
        mend: format!("tenantctl clusters show {place} -- start or reach the server it names"),
    };
    let mut all = vec![
        answers.of("reachable", place),
        disk(&facts.row).of("disk", place),
        stock(facts).of("stock", place),
        findings(u64::from(facts.row.findings)).of("orphans", place),
    ];
    if let Ok(server) = &facts.server {
        all.extend(settings(&facts.row, server));
        all.extend(databases(&facts.row, server));
    }
    all
}

fn settings(row: &ClusterRow, server: &ServerFacts) -> Vec<Diagnosis> {
    let (place, settings) = (row.name.as_str(), &server.settings);
    let checks = [
        ("version", version(settings.version)),
        ("recovery_init_sync_method", sync_method(server)),
        ("autovacuum_naptime", naptime(settings.naptime_seconds)),
        ("fsync", fsync(settings.fsync)),
        ("max_connections", connections(row, server)),
        (
            "client_connection_check_interval",
            connection_check(settings.connection_check_ms),
        ),
        ("wal_level", wal_level(server)),
        ("replication_slots", slots(server)),
        ("idle_slots", idle_slots(server)),
        ("markers", markers(&server.settings)),
    ];
    let checks = checks.into_iter();
    checks.map(|(check, said)| said.of(check, place)).collect()
}

fn databases(row: &ClusterRow, server: &ServerFacts) -> Vec<Diagnosis> {
    let place = row.name.as_str();
    let checks = [
        ("files", files(server)),
        ("transaction_age", transactions(server)),
        ("public_connect", public(&server.public)),
        ("open_templates", open_templates(&server.open_templates)),
        ("half_dropped", half_dropped(&server.half_dropped)),
        ("missing_databases", missing(server)),
        ("clock", clock(server.skew, place)),
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
            mend: "-- upgrade the server to PostgreSQL 15.4 or newer".to_owned(),
        },
        _ => Said {
            verdict: unless(version >= MARKS_HALF_DROPPED, Verdict::Warn),
            found,
            why: "Before 15.4 a database whose drop was interrupted is not marked (datconnlimit = -2): \
                  it looks whole, is damaged, and nobody finishes its drop.",
            mend: "-- upgrade the server to PostgreSQL 15.4 or newer".to_owned(),
        },
    }
}

fn estimated_files(server: &ServerFacts) -> u64 {
    server.databases.saturating_mul(server.files_each)
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

fn connections(row: &ClusterRow, server: &ServerFacts) -> Said {
    let settings = &server.settings;
    let free = u64::try_from(settings.max_connections - settings.reserved_connections).unwrap_or(0);
    let budget = u64::from(row.connection_budget);
    let verdict = match budget {
        _ if budget > free => Verdict::Bad,
        _ if budget + OWN_CONNECTIONS > free => Verdict::Warn,
        _ => Verdict::Ok,
    };
    Said {
        verdict,
        found: format!("a budget of {budget} of {free} connections for ordinary logins"),
        why: "Requests of tenants may take all of their budget; what is left must do for the platform, \
              for migrations and for questions.",
        mend: format!(
            "tenantctl clusters update {} --budget {}",
            row.name,
            free.saturating_sub(OWN_CONNECTIONS).max(1)
        ),
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

fn files(server: &ServerFacts) -> Said {
    let files = estimated_files(server);
    let verdict = match files {
        0..MANY_FILES => Verdict::Ok,
        MANY_FILES..TOO_MANY_FILES if server.settings.recovery_init_sync_method == "syncfs" => {
            Verdict::Ok
        }
        MANY_FILES..TOO_MANY_FILES => Verdict::Warn,
        _ => Verdict::Bad,
    };
    Said {
        verdict,
        found: format!(
            "about {files}: {} databases of {} files",
            server.databases, server.files_each
        ),
        why: "Crash recovery, checkpoints and base backups take time per file, not per byte.",
        mend: "tenantctl clusters add -- a further server, then: tenantctl clusters update NAME \
               --max-databases N"
            .to_owned(),
    }
}

fn transactions(server: &ServerFacts) -> Said {
    let settings = &server.settings;
    let oldest = settings.oldest_transaction.max(settings.oldest_multixact);
    let verdict = match oldest {
        ..OLD_TRANSACTIONS => Verdict::Ok,
        OLD_TRANSACTIONS..TOO_OLD_TRANSACTIONS => Verdict::Warn,
        _ => Verdict::Bad,
    };
    Said {
        verdict,
        found: format!(
            "the oldest is {} million transactions old",
            oldest / 1_000_000
        ),
        why: "The server stops writing before an id is used twice, at two thousand million; vacuum \
              keeps it away and something holds vacuum up.",
        mend: "select datname, age(datfrozenxid) from pg_database order by 2 desc; -- end old \
               transactions, prepared ones and idle slots there, then: vacuum (freeze);"
            .to_owned(),
    }
}

fn public(names: &[String]) -> Said {
    Said {
        verdict: unless(names.is_empty(), Verdict::Bad),
        found: listed(names),
        why: "Every role, each tenant's too, may connect to such a database.",
        mend: each(names, |name| {
            format!("revoke connect, temporary on database {name} from public;")
        }),
    }
}

fn open_templates(names: &[String]) -> Said {
    Said {
        verdict: unless(names.is_empty(), Verdict::Bad),
        found: listed(names),
        why: "A copy waits five seconds for a session in its template and then fails: sign-ups fail.",
        mend: each(names, |name| {
            format!("alter database {name} allow_connections false;")
        }) + " select pg_terminate_backend(pid) from pg_stat_activity where datname like 'tpl:%';",
    }
}

fn half_dropped(names: &[String]) -> Said {
    Said {
        verdict: unless(names.is_empty(), Verdict::Warn),
        found: listed(names),
        why: "A drop of it was interrupted: it takes no connections and can only be dropped again.",
        mend: each(names, |name| format!("drop database {name};")),
    }
}

fn missing(server: &ServerFacts) -> Said {
    let names: Vec<String> = server.missing.iter().map(ToString::to_string).collect();
    Said {
        verdict: unless(names.is_empty(), Verdict::Bad),
        found: listed(&names),
        why: "The registry has these tenants here and the server has no database of theirs.",
        mend: names.first().map_or_else(String::new, |name| {
            format!(
                "tenantctl backups list --tenant {name}; tenantctl tenants restore-backup {name} BACKUP"
            )
        }),
    }
}

fn clock(skew: Skew, server: &str) -> Said {
    let off = (skew.seconds.abs() - skew.within_seconds).max(0.0);
    let verdict = match off {
        _ if off >= BAD_SKEW_SECONDS => Verdict::Bad,
        _ if off >= SKEW_SECONDS => Verdict::Warn,
        _ => Verdict::Ok,
    };
    let way = if skew.seconds < 0.0 {
        "behind"
    } else {
        "ahead"
    };
    Said {
        verdict,
        found: match verdict {
            Verdict::Ok => "together".to_owned(),
            _ => format!("{off:.1} s {way} of this process"),
        },
        why: "Leases, tokens, holds and schedules are compared between machines.",
        mend: format!("timedatectl set-ntp true -- on the machine of {server} and on this one"),
    }
}

fn disk(row: &ClusterRow) -> Said {
    let used = row.used_bytes.map(gigabytes);
    let (verdict, found) = match (row.used_bytes, row.max_disk_bytes) {
        (Some(bytes), Some(most)) => {
            let share = bytes as f64 / most as f64;
            let verdict = match share {
                _ if share >= TOO_FULL => Verdict::Bad,
                _ if share >= FULL => Verdict::Warn,
                _ => Verdict::Ok,
            };
            let found = format!("{} of {}", gigabytes(bytes), gigabytes(most));
            (verdict, found)
        }
        (_, limit) => (
            Verdict::Ok,
            format!(
                "{} used; {}",
                used.as_deref().unwrap_or("not measured yet how much is"),
                limit.map_or("no limit is set".to_owned(), gigabytes)
            ),
        ),
    };
    Said {
        verdict,
        found,
        why: "A server whose disk is full stops, and all of its tenants with it.",
        mend: format!(
            "tenantctl clusters update {0} --status full; tenantctl tenants move TENANT --to CLUSTER",
            row.name
        ),
    }
}

fn stock(facts: &ClusterFacts) -> Said {
    let (ready, level) = (facts.row.stock, facts.stock_level);
    let short = facts.row.status == "active" && level > 0 && ready == 0;
    Said {
        verdict: unless(!short, Verdict::Warn),
        found: format!("{ready} ready of {level}"),
        why: "A sign-up without a ready database copies the template: a tenth of a second instead of \
              some milliseconds.",
        mend: format!(
            "tenantctl clusters show {0}; tenantctl operations list --cluster {0} -- it is refilled \
             by itself; see the platform's log if it stays so",
            facts.row.name
        ),
    }
}

fn findings(found: u64) -> Said {
    Said {
        verdict: unless(found == 0, Verdict::Warn),
        found: found.to_string(),
        why: "Databases, roles, secrets, objects or slots of ours that nobody claims take room, and \
              may hold data that should be gone.",
        mend: "tenantctl findings list".to_owned(),
    }
}

/// Everything that is not of one cluster.
pub(super) fn platform(facts: &PlatformFacts) -> Vec<Diagnosis> {
    let checks = [
        ("clock", clock(facts.skew, "the registry")),
        ("signing_key", signing_key(facts)),
        ("sealing_keys", sealing(facts)),
        ("operator_keys", operator_keys(facts)),
        ("stuck_operations", stuck(facts)),
        ("tenants_behind", behind(facts.behind)),
        ("orphans", findings(u64::from(facts.findings))),
        ("replicas", replicas(facts.replicas)),
    ];
    let checks = checks.into_iter();
    checks
        .map(|(check, said)| said.of(check, PLATFORM))
        .collect()
}

fn signing_key(facts: &PlatformFacts) -> Said {
    let age = facts.signing_key.map(|from| facts.now - from);
    let most = facts.signing_key_life + LATE_SIGNING_KEY;
    let verdict = match age {
        None => Verdict::Bad,
        Some(age) => unless(age <= most, Verdict::Warn),
    };
    Said {
        verdict,
        found: match age {
            None => "none".to_owned(),
            Some(age) => format!("the newest has signed for {} days", age.whole_days().max(0)),
        },
        why: "A key that signs for long can be stolen for long; one that is due is replaced by itself.",
        mend: "tenantctl keys rotate-signing".to_owned(),
    }
}

fn sealing(facts: &PlatformFacts) -> Said {
    let unopened: u64 = facts
        .sealing
        .iter()
        .filter(|key| !key.in_ring)
        .map(|key| key.secrets)
        .sum();
    let older = facts.sealing.iter().skip(1).filter(|key| key.in_ring);
    let older: u64 = older.map(|key| key.secrets).sum();
    let ids: Vec<String> = facts
        .sealing
        .iter()
        .map(|key| format!("{} seals {}", key.id, key.secrets))
        .collect();
    let (verdict, mend) = match (unopened, older) {
        (1.., _) => (
            Verdict::Bad,
            "-- put the key that is missing back into sealing.keys of every service, then: \
             tenantctl keys reseal",
        ),
        (0, 1..) => (Verdict::Warn, "tenantctl keys reseal"),
        (0, 0) => (Verdict::Ok, ""),
    };
    Said {
        verdict,
        found: ids.join(", "),
        why: "A replaced key can be dropped from the ring only when it seals nothing any more; what a \
              missing key sealed opens never again.",
        mend: mend.to_owned(),
    }
}

fn operator_keys(facts: &PlatformFacts) -> Said {
    let old: Vec<String> = facts
        .operator_keys
        .iter()
        .filter(|(_, made)| facts.now - *made > OLD_OPERATOR_KEY)
        .map(|(name, _)| name.clone())
        .collect();
    Said {
        verdict: unless(old.is_empty(), Verdict::Warn),
        found: format!("older than a year: {}", listed(&old)),
        why: "An operator key is good until it is revoked; who had one a year ago still has it.",
        mend: "tenantctl keys create, then: tenantctl keys revoke KEY".to_owned(),
    }
}

fn stuck(facts: &PlatformFacts) -> Said {
    let names: Vec<String> = facts
        .stuck
        .iter()
        .map(|(id, kind)| format!("{id} ({kind})"))
        .collect();
    Said {
        verdict: unless(names.is_empty(), Verdict::Bad),
        found: listed(&names),
        why: "It goes neither on nor back by itself, and nothing else is done to its tenant meanwhile.",
        mend: facts.stuck.first().map_or_else(String::new, |(id, _)| {
            format!("tenantctl operations show {id}; tenantctl operations retry {id}")
        }),
    }
}

fn behind(tenants: u64) -> Said {
    Said {
        verdict: unless(tenants == 0, Verdict::Warn),
        found: format!("{tenants} active tenants"),
        why: "Their schemas are older than the newest: the first request after a long time migrates, \
              unless a roll-out does it before.",
        mend: "tenantctl rollouts start".to_owned(),
    }
}

fn replicas(living: u64) -> Said {
    Said {
        verdict: unless(living > 0, Verdict::Bad),
        found: format!("{living} live"),
        why: "Without a service that owns schemas nobody is served and no tenant can be made.",
        mend: "-- start app-service, and look at its log: it says whether the platform takes it"
            .to_owned(),
    }
}

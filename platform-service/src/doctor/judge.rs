//! What the doctor thinks of what was found.
//!
//! Deliberately pure: no server is asked here. Invariant: each check gives one diagnosis whatever it
//! finds, and one that is not `ok` names the command that mends it.

mod platform;
mod settings;

use contract::TenantId;
use contract::operator::upkeep::{Diagnosis, Verdict};

use super::facts::{ClusterFacts, ClusterRow, ServerFacts, Skew};
use crate::clusters::placement::Unfit;
use crate::clusters::requirements::{MANY_FILES, unless};
pub(super) use platform::platform;
use settings::settings;

/// From here on a start after a crash takes minutes, and a base backup too.
const TOO_MANY_FILES: u64 = 1_000_000;
/// Vacuum begins by itself at two hundred million; here it was held up.
const OLD_TRANSACTIONS: i64 = 500_000_000;
/// The server refuses to write at two thousand million.
const TOO_OLD_TRANSACTIONS: i64 = 1_500_000_000;
/// Leases, tokens and schedules bear this much.
const SKEW_SECONDS: f64 = 1.0;
/// From here on fresh tokens are refused.
const BAD_SKEW_SECONDS: f64 = 10.0;
/// Shares of the disk that a cluster may use.
const FULL: f64 = 0.8;
const TOO_FULL: f64 = 0.95;
/// Names that are written out.
const NAMED: usize = 10;

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
        mend: format!("tenantctl clusters show {place} # start or reach the server it names"),
    };
    let mut all = vec![
        answers.of("reachable", place),
        disk(&facts.row).of("disk", place),
        stock(facts).of("stock", place),
        findings(u64::from(facts.row.findings)).of("orphans", place),
        misplaced(&facts.misplaced).of("misplaced", place),
    ];
    if let Ok(server) = &facts.server {
        all.extend(settings(facts, server));
        all.extend(databases(&facts.row, server));
    }
    all
}

fn databases(row: &ClusterRow, server: &ServerFacts) -> Vec<Diagnosis> {
    let place = row.name.as_str();
    let checks = [
        ("files", files(row, server)),
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

fn estimated_files(server: &ServerFacts) -> u64 {
    server.databases.saturating_mul(server.files_each)
}

fn files(row: &ClusterRow, server: &ServerFacts) -> Said {
    let files = estimated_files(server);
    let verdict = match files {
        0..MANY_FILES => Verdict::Ok,
        MANY_FILES..TOO_MANY_FILES if server.required.recovery_init_sync_method == "syncfs" => {
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
        mend: format!(
            "tenantctl clusters update {} --status full # it takes no more; then add a further server: \
             tenantctl clusters add",
            row.name
        ),
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
                "tenantctl backups list --tenant {name} # then, with the id of the one to go back to: \
                 tenantctl tenants restore-backup {name} BACKUP"
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
        mend: format!("timedatectl set-ntp true # on the machine of {server} and on this one"),
    }
}

fn disk(row: &ClusterRow) -> Said {
    let name = &row.name;
    let limit = format!("tenantctl clusters update {name} --max-disk-gib N # the size of its disk");
    let room = format!(
        "tenantctl clusters update {name} --status full; tenantctl tenants list --cluster {name} # then, for \
         each that is to leave: tenantctl tenants move TENANT"
    );
    let used = row.used_bytes.map(gigabytes);
    let used = used.as_deref().unwrap_or("not measured yet how much is");
    let (verdict, found, mend) = match (row.used_bytes, row.max_disk_bytes) {
        (_, None) => {
            let found = format!("{used} used; no limit is set");
            (Verdict::Warn, found, limit)
        }
        (None, Some(most)) => (
            Verdict::Ok,
            format!("{used} used; {}", gigabytes(most)),
            room,
        ),
        (Some(bytes), Some(most)) => {
            let share = bytes as f64 / most as f64;
            let verdict = match share {
                _ if share >= TOO_FULL => Verdict::Bad,
                _ if share >= FULL => Verdict::Warn,
                _ => Verdict::Ok,
            };
            let found = format!("{used} of {}", gigabytes(most));
            (verdict, found, room)
        }
    };
    Said {
        verdict,
        found,
        why: "A server whose disk is full stops, and all of its tenants with it; without a limit nobody \
              sees it coming, and placement goes on. What is left on the disk itself cannot be asked in SQL: \
              watch it on the machine, too.",
        mend,
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
            "tenantctl clusters show {0}; tenantctl operations list --cluster {0} # it is refilled \
             by itself; see the platform's log if it stays so",
            facts.row.name
        ),
    }
}

fn misplaced(tenants: &[(TenantId, Unfit)]) -> Said {
    let named: Vec<String> = tenants
        .iter()
        .map(|(tenant, unfit)| format!("{tenant}: {unfit}"))
        .collect();
    let otherwise = match tenants.iter().any(|(_, unfit)| *unfit == Unfit::Region) {
        true => Verdict::Bad,
        false => Verdict::Warn,
    };
    let commands: Vec<String> = tenants
        .iter()
        .take(NAMED)
        .map(|(tenant, _)| format!("tenantctl tenants move {tenant};"))
        .collect();
    Said {
        verdict: unless(tenants.is_empty(), otherwise),
        found: listed(&named),
        why: "The tenant's tier or labels, or the cluster's, were changed: nothing moves by itself, and the \
              cluster would not take the tenant now.",
        mend: format!(
            "{} # each goes to a cluster that fits; `tenantctl clusters list` shows tiers and labels",
            commands.join(" ")
        ),
    }
}

fn findings(found: u64) -> Said {
    Said {
        verdict: unless(found == 0, Verdict::Warn),
        found: found.to_string(),
        why: "Databases, roles, secrets, objects or slots of ours that nobody claims take room, and \
              may hold data that should be gone.",
        mend: "tenantctl findings list # then, for each: tenantctl findings remove FINDING, or keep FINDING"
            .to_owned(),
    }
}

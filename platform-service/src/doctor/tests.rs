//! Every fault of a server or of the platform has its diagnosis and its command.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::OperationId;
use contract::operator::rollout::RolloutState;
use contract::operator::upkeep::{Diagnosis, Verdict};
use time::OffsetDateTime;

use super::facts::{
    ClusterFacts, ClusterRow, OperatorKeyFacts, PlatformFacts, ServerFacts, SettingFacts, Skew,
};
use super::judge;
use crate::clusters::beside::Beside;
use crate::clusters::requirements::ServerSettings;
use crate::keys::SealedWith;

fn healthy_server() -> ServerFacts {
    ServerFacts {
        required: ServerSettings {
            version: 150_008,
            recovery_init_sync_method: "syncfs".to_owned(),
            naptime_seconds: 300,
            fsync: true,
            max_connections: 100,
            reserved_connections: 3,
            connection_check_ms: 1000,
        },
        settings: SettingFacts {
            wal_level: "logical".to_owned(),
            max_replication_slots: 10,
            used_replication_slots: 0,
            may_replicate: true,
            may_put_back: true,
            may_mark: true,
            unmarked: 0,
            oldest_transaction: 1000,
            oldest_multixact: 1,
        },
        databases: 40,
        files_each: 700,
        ..ServerFacts::default()
    }
}

fn healthy_cluster() -> ClusterFacts {
    ClusterFacts {
        row: ClusterRow {
            name: "main".parse().unwrap(),
            status: "active".to_owned(),
            region: "here".to_owned(),
            tiers: None,
            labels: BTreeMap::new(),
            connection_budget: 60,
            max_disk_bytes: Some(100 << 30),
            used_bytes: Some(10 << 30),
            stock: 2,
            findings: 0,
        },
        stock_level: 2,
        beside: Beside {
            platforms: 1,
            services: 2,
        },
        misplaced: Vec::new(),
        server: Ok(healthy_server()),
    }
}

fn healthy_platform() -> PlatformFacts {
    let now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    PlatformFacts {
        now,
        skew: Skew::default(),
        signing_key: Some(now - Duration::from_secs(60)),
        signing_key_life: Duration::from_secs(30 * 86_400),
        sealing: vec![sealed("k2", 40), sealed("k1", 0)],
        operator_keys: vec![OperatorKeyFacts {
            name: "first".to_owned(),
            made: now - Duration::from_secs(100 * 86_400),
            ends: Some(now + Duration::from_secs(15 * 86_400)),
            unused_since: now - Duration::from_secs(86_400),
        }],
        stuck: Vec::new(),
        behind: 0,
        rollout: None,
        overdue: Vec::new(),
        without_store: Vec::new(),
        findings: 0,
        replicas: 2,
    }
}

fn sealed(id: &str, secrets: u64) -> SealedWith {
    SealedWith {
        id: id.to_owned(),
        secrets,
        in_ring: true,
        known_since: None,
    }
}

fn complaints(all: Vec<Diagnosis>) -> Vec<(String, Verdict, String)> {
    all.into_iter()
        .filter(|one| one.verdict != Verdict::Ok)
        .map(|one| {
            assert!(!one.why.is_empty() && !one.found.is_empty(), "{one:?}");
            let mend = one.mend.expect("what is not as it should be can be mended");
            assert!(!mend.is_empty(), "{}", one.check);
            runs_as_pasted(&mend);
            (one.check, one.verdict, mend)
        })
        .collect()
}

/// A shell takes what stands before a `#`, psql what ends with a semicolon: words for people stand behind either.
fn runs_as_pasted(mend: &str) {
    let command = mend.split('#').next().unwrap().trim();
    if command.starts_with("tenantctl") || command.starts_with("timedatectl") {
        for prose in [" -- ", "then:", "(", ")", ", "] {
            assert!(!command.contains(prose), "{mend}");
        }
    } else {
        assert!(
            command.is_empty() || command.contains(';') || command.ends_with("\\gexec"),
            "{mend}"
        );
    }
}

#[test]
fn who_is_well_hears_no_complaint_and_every_check_is_named() {
    let cluster = judge::cluster(&healthy_cluster());
    let checks: Vec<&str> = cluster.iter().map(|one| one.check.as_str()).collect();
    assert_eq!(
        checks,
        [
            "reachable",
            "disk",
            "stock",
            "orphans",
            "misplaced",
            "version",
            "recovery_init_sync_method",
            "autovacuum_naptime",
            "fsync",
            "max_connections",
            "client_connection_check_interval",
            "wal_level",
            "replication_slots",
            "idle_slots",
            "markers",
            "owner_login",
            "files",
            "transaction_age",
            "public_connect",
            "open_templates",
            "half_dropped",
            "missing_databases",
            "clock",
        ]
    );
    assert_eq!(complaints(cluster), []);
    assert_eq!(complaints(judge::platform(&healthy_platform())), []);
}

#[test]
fn a_server_that_is_silent_is_one_diagnosis_and_hides_what_it_would_say() {
    let mut facts = healthy_cluster();
    facts.server = Err("no answer in time".to_owned());
    let all = judge::cluster(&facts);
    assert_eq!(all.len(), 5);
    let complaints = complaints(all);
    assert_eq!(complaints.len(), 1);
    assert_eq!(complaints[0].0, "reachable");
}

#[test]
fn each_replica_of_the_platform_needs_connections_of_its_own() {
    let mut facts = healthy_cluster();
    facts.beside.platforms = 2;
    let complaints = complaints(judge::cluster(&facts));
    let mend = "tenantctl clusters update main --budget 49".to_owned();
    let said = ("max_connections".to_owned(), Verdict::Warn, mend);
    assert_eq!(complaints, [said]);
}

#[test]
fn each_replica_of_a_service_needs_connections_for_its_migrations() {
    let mut facts = healthy_cluster();
    facts.beside.services = 5;
    let complaints = complaints(judge::cluster(&facts));
    let mend = "tenantctl clusters update main --budget 57".to_owned();
    let said = ("max_connections".to_owned(), Verdict::Warn, mend);
    assert_eq!(complaints, [said]);
}

#[test]
fn a_server_too_small_for_the_platform_is_to_have_more_connections() {
    let mut server = healthy_server();
    server.required.max_connections = 20;
    let mut facts = healthy_cluster();
    facts.server = Ok(server);
    let complaints = complaints(judge::cluster(&facts));
    let mend = "alter system set max_connections = '91'; -- then restart the server".to_owned();
    let said = ("max_connections".to_owned(), Verdict::Bad, mend);
    assert_eq!(complaints, [said]);
}

/// A fault of a server: what is planted, which check sees it, how bad it is, what mends it.
type Planted = (fn(&mut ServerFacts), &'static str, Verdict, &'static str);

#[test]
#[expect(clippy::too_many_lines, reason = "one table of faults")]
fn each_fault_of_a_server_has_its_command() {
    let faults: &[Planted] = &[
        (
            |s| s.required.version = 140_010,
            "version",
            Verdict::Bad,
            "upgrade the server to PostgreSQL 15",
        ),
        (
            |s| s.required.version = 150_003,
            "version",
            Verdict::Warn,
            "upgrade the server to PostgreSQL 15.4",
        ),
        (
            |s| s.required.recovery_init_sync_method = "fsync".to_owned(),
            "recovery_init_sync_method",
            Verdict::Warn,
            "alter system set recovery_init_sync_method = 'syncfs'; select pg_reload_conf();",
        ),
        (
            |s| s.settings.may_put_back = false,
            "owner_login",
            Verdict::Warn,
            "grant tn_schema to tn_platform with admin true, inherit false, set false;",
        ),
        (
            |s| s.required.naptime_seconds = 60,
            "autovacuum_naptime",
            Verdict::Warn,
            "alter system set autovacuum_naptime = '5min'",
        ),
        (
            |s| s.required.fsync = false,
            "fsync",
            Verdict::Bad,
            "alter system set fsync = 'on'",
        ),
        (
            |s| s.required.max_connections = 50,
            "max_connections",
            Verdict::Bad,
            "tenantctl clusters update main --budget 19",
        ),
        (
            |s| s.required.max_connections = 70,
            "max_connections",
            Verdict::Warn,
            "tenantctl clusters update main --budget 39",
        ),
        (
            |s| s.required.connection_check_ms = 0,
            "client_connection_check_interval",
            Verdict::Warn,
            "alter system set client_connection_check_interval = '1s'",
        ),
        (
            |s| s.settings.wal_level = "replica".to_owned(),
            "wal_level",
            Verdict::Warn,
            "alter system set wal_level = 'logical'; -- then restart the server",
        ),
        (
            |s| s.settings.may_replicate = false,
            "wal_level",
            Verdict::Warn,
            "alter role tn_platform replication;",
        ),
        (
            |s| s.settings.unmarked = 3,
            "markers",
            Verdict::Warn,
            "select format('alter database %I set tenantry.database = %L'",
        ),
        (
            |s| s.settings.used_replication_slots = 8,
            "replication_slots",
            Verdict::Warn,
            "alter system set max_replication_slots",
        ),
        (
            |s| s.idle_slots = vec![("tn_1f".to_owned(), 5 << 30)],
            "idle_slots",
            Verdict::Bad,
            "select pg_drop_replication_slot('tn_1f');",
        ),
        (
            |s| s.databases = 2000,
            "files",
            Verdict::Bad,
            "--status full # it takes no more; then add a further server: tenantctl clusters add",
        ),
        (
            |s| s.settings.oldest_transaction = 700_000_000,
            "transaction_age",
            Verdict::Warn,
            "vacuum (freeze)",
        ),
        (
            |s| s.settings.oldest_multixact = 1_600_000_000,
            "transaction_age",
            Verdict::Bad,
            "vacuum (freeze)",
        ),
        (
            |s| s.public = vec!["o\"dd".to_owned()],
            "public_connect",
            Verdict::Bad,
            r#"revoke connect, temporary on database "o""dd" from public;"#,
        ),
        (
            |s| s.open_templates = vec!["tpl:3".to_owned()],
            "open_templates",
            Verdict::Bad,
            r#"alter database "tpl:3" allow_connections false;"#,
        ),
        (
            |s| s.half_dropped = vec!["stock:9".to_owned()],
            "half_dropped",
            Verdict::Warn,
            r#"drop database "stock:9";"#,
        ),
        (
            |s| s.missing = vec!["t_acme".parse().unwrap()],
            "missing_databases",
            Verdict::Bad,
            "tenantctl backups list --tenant t_acme",
        ),
        (
            |s| {
                s.skew = Skew {
                    seconds: -2.0,
                    within_seconds: 0.1,
                }
            },
            "clock",
            Verdict::Warn,
            "timedatectl set-ntp true",
        ),
    ];
    for (plant, check, verdict, mend) in faults {
        let mut server = healthy_server();
        plant(&mut server);
        let mut facts = healthy_cluster();
        facts.server = Ok(server);
        let complaints = complaints(judge::cluster(&facts));
        let [(seen, bad, command)] = complaints.as_slice() else {
            panic!("{check}: {complaints:?}");
        };
        assert_eq!((seen.as_str(), bad), (*check, verdict));
        assert!(command.contains(mend), "{check}: {command}");
    }
}

#[test]
fn a_slow_answer_is_no_skew() {
    let mut server = healthy_server();
    server.skew = Skew {
        seconds: 3.0,
        within_seconds: 2.5,
    };
    let mut facts = healthy_cluster();
    facts.server = Ok(server);
    assert_eq!(complaints(judge::cluster(&facts)), []);
}

#[test]
fn each_fault_of_a_cluster_s_row_has_its_command() {
    let mut facts = healthy_cluster();
    facts.row.used_bytes = Some(96 << 30);
    facts.row.stock = 0;
    facts.row.findings = 3;
    let complaints = complaints(judge::cluster(&facts));
    let named: Vec<_> = complaints
        .iter()
        .map(|(check, verdict, _)| (check.as_str(), *verdict))
        .collect();
    assert_eq!(
        named,
        [
            ("disk", Verdict::Bad),
            ("stock", Verdict::Warn),
            ("orphans", Verdict::Warn),
        ]
    );
    assert!(complaints[0].2.contains("tenantctl tenants move"));
}

#[test]
fn a_disk_without_a_limit_is_said_with_the_command_that_sets_one() {
    let mut facts = healthy_cluster();
    facts.row.max_disk_bytes = None;
    let complaints = complaints(judge::cluster(&facts));
    let limit = "tenantctl clusters update main --max-disk-gib N # the size of its disk".to_owned();
    assert_eq!(complaints, [("disk".to_owned(), Verdict::Warn, limit)]);
    facts.row.max_disk_bytes = Some(100 << 30);
    facts.row.used_bytes = None;
    assert_eq!(super::tests::complaints(judge::cluster(&facts)), []);
}

/// The same for the platform.
type PlantedInPlatform = (
    Box<dyn Fn(&mut PlatformFacts)>,
    &'static str,
    Verdict,
    &'static str,
);

#[test]
fn each_fault_of_the_platform_has_its_command() {
    let stuck = OperationId::new();
    let faults: [PlantedInPlatform; 12] = [
        (
            Box::new(|p| p.skew.seconds = 60.0),
            "clock",
            Verdict::Bad,
            "timedatectl",
        ),
        (
            Box::new(|p| p.signing_key = Some(p.now - Duration::from_secs(40 * 86_400))),
            "signing_key",
            Verdict::Warn,
            "tenantctl keys rotate-signing",
        ),
        (
            Box::new(|p| {
                p.sealing[0].known_since = Some(p.now - Duration::from_secs(400 * 86_400))
            }),
            "sealing_keys",
            Verdict::Warn,
            "then: tenantctl keys reseal",
        ),
        (
            Box::new(|p| p.sealing[1].secrets = 2),
            "sealing_keys",
            Verdict::Warn,
            "tenantctl keys reseal",
        ),
        (
            Box::new(|p| {
                p.sealing[1].secrets = 2;
                p.sealing[1].in_ring = false;
            }),
            "sealing_keys",
            Verdict::Bad,
            "sealing.keys",
        ),
        (
            Box::new(|p| p.operator_keys[0].made = p.now - Duration::from_secs(400 * 86_400)),
            "operator_keys",
            Verdict::Warn,
            "tenantctl keys create",
        ),
        (
            Box::new(|p| p.operator_keys[0].ends = Some(p.now + Duration::from_secs(13 * 86_400))),
            "operator_keys",
            Verdict::Warn,
            "tenantctl keys create",
        ),
        (
            Box::new(|p| {
                p.operator_keys[0].unused_since = p.now - Duration::from_secs(91 * 86_400)
            }),
            "operator_keys",
            Verdict::Warn,
            "tenantctl keys list",
        ),
        (
            Box::new(move |p| p.stuck = vec![(stuck, "suspend".to_owned())]),
            "stuck_operations",
            Verdict::Bad,
            "tenantctl operations retry op_",
        ),
        (
            Box::new(|p| p.behind = 3),
            "tenants_behind",
            Verdict::Warn,
            "tenantctl rollouts start",
        ),
        (
            Box::new(|p| p.findings = 1),
            "orphans",
            Verdict::Warn,
            "tenantctl findings",
        ),
        (
            Box::new(|p| p.replicas = 0),
            "replicas",
            Verdict::Bad,
            "start app-service",
        ),
    ];
    each_is_found(&faults);
}

#[test]
fn what_waits_for_an_operator_has_its_command() {
    let stuck = OperationId::new();
    each_is_found(&[
        (
            Box::new(move |p| p.rollout = Some((stuck, RolloutState::Halted))),
            "rollout",
            Verdict::Warn,
            "tenantctl rollouts retry op_",
        ),
        (
            Box::new(move |p| p.rollout = Some((stuck, RolloutState::Paused))),
            "rollout",
            Verdict::Warn,
            "tenantctl rollouts resume op_",
        ),
        (
            Box::new(|p| p.overdue = vec!["t_acme".parse().unwrap()]),
            "backups",
            Verdict::Bad,
            "tenantctl tenants backup t_acme",
        ),
        (
            Box::new(|p| {
                p.overdue = vec!["t_acme".parse().unwrap()];
                p.without_store = vec!["premium".to_owned()];
            }),
            "backups",
            Verdict::Bad,
            "set objects.folder",
        ),
    ]);
}

fn each_is_found(faults: &[PlantedInPlatform]) {
    for (plant, check, verdict, mend) in faults {
        let mut facts = healthy_platform();
        plant(&mut facts);
        let complaints = complaints(judge::platform(&facts));
        let [(seen, bad, command)] = complaints.as_slice() else {
            panic!("{check}: {complaints:?}");
        };
        assert_eq!((seen.as_str(), bad), (*check, verdict));
        assert!(command.contains(mend), "{check}: {command}");
    }
}

#[test]
fn who_is_behind_a_live_roll_out_is_not_told_to_start_another() {
    let id = OperationId::new();
    for (state, command) in [
        (RolloutState::Running, format!("rollouts watch {id}")),
        (RolloutState::Halted, format!("rollouts retry {id}")),
        (RolloutState::Paused, format!("rollouts resume {id}")),
    ] {
        let mut facts = healthy_platform();
        (facts.behind, facts.rollout) = (2, Some((id, state)));
        let complaints = complaints(judge::platform(&facts));
        let behind = complaints.iter().find(|one| one.0 == "tenants_behind");
        let (_, _, mend) = behind.unwrap();
        assert!(mend.contains(&command), "{mend}");
        assert!(!mend.contains("rollouts start"), "{mend}");
    }
}

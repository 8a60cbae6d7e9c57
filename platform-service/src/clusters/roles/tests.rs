//! Every check and every warning alone, against a server that has nothing to say to.

use super::*;
use crate::clusters::beside::Beside;

fn good_settings() -> ServerSettings {
    ServerSettings {
        version: 150_018,
        recovery_init_sync_method: "syncfs".to_owned(),
        naptime_seconds: 300,
        connection_check_ms: 1000,
        fsync: true,
        max_connections: 100,
        reserved_connections: 3,
    }
}

fn good() -> Facts {
    Facts {
        server: 1,
        is_superuser: false,
        can_make_databases: true,
        can_make_roles: true,
        is_standby: false,
        encoding: "UTF8".to_owned(),
        platform_mark: None,
        platform_is_superuser: false,
    }
}

fn judged(facts: Facts, budget: u32) -> (Vec<&'static str>, Vec<&'static str>) {
    judged_with(good_settings(), facts, budget)
}

fn judged_with(
    settings: ServerSettings,
    facts: Facts,
    budget: u32,
) -> (Vec<&'static str>, Vec<&'static str>) {
    let inspection = Inspection { settings, facts };
    let demand = Demand {
        cluster: "main",
        budget,
        beside: Beside::default(),
        files: None,
    };
    let failures = inspection.failures(demand).into_iter();
    let warnings = inspection.warnings(demand).into_iter();
    (
        failures.map(|(field, _)| field).collect(),
        warnings.map(|warning| warning.about).collect(),
    )
}

#[test]
fn a_good_server_passes() {
    assert_eq!(judged(good(), 73), (vec![], vec![]));
}

#[test]
fn each_check_names_its_field() {
    let cases = [
        (
            Facts {
                is_standby: true,
                ..good()
            },
            "/host",
        ),
        (
            Facts {
                can_make_roles: false,
                ..good()
            },
            "/admin_user",
        ),
        (
            Facts {
                can_make_databases: false,
                ..good()
            },
            "/admin_user",
        ),
        (
            Facts {
                encoding: "SQL_ASCII".to_owned(),
                ..good()
            },
            "/host",
        ),
        (
            Facts {
                platform_is_superuser: true,
                ..good()
            },
            "/host",
        ),
    ];
    for (facts, field) in cases {
        assert_eq!(judged(facts, 60).0, [field]);
    }
    let old = ServerSettings {
        version: 140_011,
        ..good_settings()
    };
    assert_eq!(judged_with(old, good(), 60).0, ["/host"]);
    assert_eq!(
        judged(good(), 98),
        (vec!["/connection_budget"], vec!["max_connections"])
    );
    let superuser = Facts {
        is_superuser: true,
        can_make_roles: false,
        ..good()
    };
    assert_eq!(judged(superuser, 60).0, Vec::<&str>::new());
}

#[test]
fn each_setting_that_hurts_is_warned_of() {
    let cases = [
        (
            ServerSettings {
                recovery_init_sync_method: "fsync".to_owned(),
                ..good_settings()
            },
            "recovery_init_sync_method",
        ),
        (
            ServerSettings {
                naptime_seconds: 60,
                ..good_settings()
            },
            "autovacuum_naptime",
        ),
        (
            ServerSettings {
                connection_check_ms: 0,
                ..good_settings()
            },
            "client_connection_check_interval",
        ),
        (
            ServerSettings {
                max_connections: 86,
                ..good_settings()
            },
            "max_connections",
        ),
        (
            ServerSettings {
                fsync: false,
                ..good_settings()
            },
            "fsync",
        ),
    ];
    for (settings, about) in cases {
        assert_eq!(judged_with(settings, good(), 60), (vec![], vec![about]));
    }
}

#[test]
fn a_server_says_whose_cluster_it_is() {
    let marked = |mark: Option<&str>| {
        let inspection = Inspection {
            settings: good_settings(),
            facts: Facts {
                platform_mark: mark.map(str::to_owned),
                ..good()
            },
        };
        inspection.mark()
    };
    let mark = Mark::new(&"main".parse().unwrap(), Uuid::from_u128(7));
    assert_eq!(marked(Some(&mark.to_string())), Some(mark));
    let unnamed = marked(Some("tenantry:cluster:main")).unwrap();
    assert!(unnamed.names_nobody());
    assert_eq!(marked(Some("somebody's role")), None);
    assert_eq!(marked(None), None);
}

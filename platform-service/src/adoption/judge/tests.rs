//! What stands in the way, and which schemas need a baseline.

use contract::SchemaVersions;
use contract::operator::adoption::CheckOutcome;

use super::{Looked, People, Verdict, Whose, judge};
use crate::clusters::postgres::contents::{Inside, Schema};
use crate::clusters::postgres::foreign::{Facts, Found};

fn versions(all: &[(&str, i32)]) -> SchemaVersions {
    all.iter()
        .map(|(owner, version)| (owner.parse().unwrap(), *version))
        .collect()
}

/// A database that can be adopted, with these schemas of ours.
fn looked(schemas: &[(&str, Option<i32>)]) -> Looked {
    let found = Found {
        oid: 20_000,
        name: "legacy".to_owned(),
        owner: "smith".to_owned(),
        comment: None,
        rights: Vec::new(),
    };
    let schemas = schemas.iter().map(|(name, version)| Schema {
        name: (*name).to_owned(),
        version: *version,
    });
    Looked {
        facts: Facts {
            found,
            owner_is_superuser: false,
            encoding: "UTF8".to_owned(),
            is_open: true,
            is_template: false,
            is_half_dropped: false,
            may_alter: true,
            may_enter: true,
            size_bytes: None,
            prepared_transactions: 0,
            sessions: Vec::new(),
            superusers: Vec::new(),
            settings: Vec::new(),
            server: 0,
        },
        inside: Some(Inside {
            schemas: schemas.collect(),
            ..Inside::default()
        }),
        whose: Whose::Foreign,
        newest: versions(&[("auth", 2), ("entries", 2)]),
    }
}

fn failed(verdict: &Verdict) -> Vec<&str> {
    let checks = verdict.checks.iter();
    checks
        .filter(|check| check.outcome == CheckOutcome::Failed)
        .map(|check| check.check.as_str())
        .collect()
}

#[test]
fn every_way_in_which_a_database_will_not_do_has_its_check() {
    let none = SchemaVersions::new();
    let mut cases: Vec<(&str, Looked)> = Vec::new();
    let mut case = |check, change: fn(&mut Looked)| {
        let mut looked = looked(&[("auth", Some(2))]);
        change(&mut looked);
        cases.push((check, looked));
    };
    case("foreign", |it| it.whose = Whose::Registry);
    case("foreign", |it| it.whose = Whose::Tenant);
    case("foreign", |it| it.facts.found.name = "postgres".to_owned());
    case("foreign", |it| it.facts.found.name = "stock:7".to_owned());
    case("foreign", |it| it.facts.is_template = true);
    case("foreign", |it| {
        it.facts.found.comment = Some("tenantry:t_x:1".to_owned());
    });
    case("connections", |it| it.facts.is_open = false);
    case("connections", |it| it.facts.is_half_dropped = true);
    case("encoding", |it| it.facts.encoding = "LATIN1".to_owned());
    case("prepared_transactions", |it| {
        it.facts.prepared_transactions = 1;
    });
    case("rights", |it| it.facts.may_alter = false);
    case("entry", |it| {
        it.facts.may_enter = false;
        it.inside = None;
    });
    case("ownership", |it| {
        if let Some(inside) = &mut it.inside {
            inside.obstacles.push("grant".to_owned());
        }
    });
    for (check, looked) in &cases {
        let verdict = judge(looked, &none, People::Present);
        assert_eq!(failed(&verdict), [*check], "{:?}", looked.facts);
        assert!(verdict.refusal().is_some());
    }
    let fine = judge(&looked(&[("auth", Some(2))]), &none, People::Present);
    assert_eq!(failed(&fine), [""; 0]);
    assert!(fine.refusal().is_none());
}

#[test]
fn a_schema_without_a_history_needs_its_baseline_and_a_history_leads() {
    /// What is there, what the baseline says, and whether they fit.
    type Case<'a> = (&'a [(&'a str, Option<i32>)], &'a [(&'a str, i32)], bool);
    let cases: [Case<'_>; 10] = [
        (&[], &[], true),
        (&[("auth", Some(1))], &[], true),
        (&[("auth", Some(1))], &[("auth", 1)], true),
        (&[("auth", Some(1))], &[("auth", 2)], false),
        (&[("auth", Some(2))], &[("auth", 1)], true),
        (&[("auth", Some(3))], &[], false),
        (&[("auth", None)], &[], false),
        (&[("auth", None)], &[("auth", 2)], true),
        (&[("auth", None)], &[("auth", 3)], false),
        (&[], &[("auth", 1)], false),
    ];
    for (there, said, fits) in cases {
        let verdict = judge(&looked(there), &versions(said), People::NewOwner);
        let failed = failed(&verdict);
        assert_eq!(failed.is_empty(), fits, "{there:?} {said:?}: {failed:?}");
    }
    let unknown = judge(&looked(&[]), &versions(&[("crm", 1)]), People::NewOwner);
    assert_eq!(failed(&unknown), ["baseline"]);
    let said = versions(&[("auth", 1)]);
    let verdict = judge(
        &looked(&[("auth", None), ("entries", Some(2))]),
        &said,
        People::Present,
    );
    assert_eq!(verdict.schemas.baseline, said);
    assert_eq!(
        verdict.schemas.there,
        versions(&[("auth", 1), ("entries", 2)])
    );
}

#[test]
fn somebody_can_log_in_afterwards() {
    let none = SchemaVersions::new();
    assert_eq!(
        failed(&judge(&looked(&[]), &none, People::Present)),
        ["owner"]
    );
    assert_eq!(
        failed(&judge(&looked(&[]), &none, People::NewOwner)),
        [""; 0]
    );
}

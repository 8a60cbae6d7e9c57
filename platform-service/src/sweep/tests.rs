//! What nobody claims, and who may remove it.

use adapters::secret_store::{SecretSubject, StoredSecret};
use contract::secret::SecretRef;
use uuid::Uuid;

use super::claims::{By, Claims};
use super::look::{ObjectClaims, unclaimed, unrecorded, unreferenced};
use super::store::Key;
use super::{Found, Removal};
use crate::clusters::postgres::Name;

fn ids(finds: &[Found]) -> Vec<String> {
    finds.iter().map(|one| one.key.to_string()).collect()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

const OPERATION: &str = "0192f0c1a2b37c4d8e9f0a1b2c3d4e5f";
const OTHER: &str = "0192f0c1a2b37c4d8e9f0a1b2c3d4e60";

fn claims() -> Claims {
    let operation: Uuid = OPERATION.parse().unwrap();
    Claims {
        tenants: [contract::TenantId::try_from("t_acme".to_owned()).unwrap()].into(),
        purged: ["t_gone".parse().unwrap()].into(),
        busy: ["t_busy".parse().unwrap()].into(),
        operations: [operation].into(),
        names: ["stock:1", "tpl:1", "deleted:t_late:1", "old:t_acme:2"]
            .map(name)
            .into(),
        logins: [operation].into(),
        taken_over: ["legacy".to_owned()].into(),
    }
}

#[test]
fn what_a_row_claims_is_no_find() {
    let claims = claims();
    let claimed = [
        "t_acme".to_owned(),
        "t_busy".to_owned(),
        "stock:1".to_owned(),
        "tpl:1".to_owned(),
        "deleted:t_late:1".to_owned(),
        "deleted:t_busy:3".to_owned(),
        "old:t_acme:2".to_owned(),
        "side:t_busy:2".to_owned(),
        format!("scratch:{OPERATION}"),
        format!("psql:{OPERATION}"),
    ];
    for text in &claimed {
        assert_eq!(claims.claimless(&name(text)), None, "{text}");
    }
    assert_eq!(claims.claimless_slot(&format!("tn_{OPERATION}")), None);
    assert_eq!(claims.claimless_slot("somebody_else"), None);
}

#[test]
fn what_may_be_the_only_copy_is_left_to_people() {
    let claims = claims();
    for (text, by) in [
        ("t_lost".to_owned(), By::People),
        // Also that of a tenant whose purge is said to be complete.
        ("t_gone".to_owned(), By::People),
        ("deleted:t_lost:1".to_owned(), By::People),
        ("deleted:t_gone:1".to_owned(), By::Sweep),
        ("old:t_acme:1".to_owned(), By::Sweep),
        ("side:t_acme:3".to_owned(), By::Sweep),
        ("stock:2".to_owned(), By::Sweep),
        ("tpl:2".to_owned(), By::Sweep),
        (format!("scratch:{OTHER}"), By::Sweep),
        (format!("psql:{OTHER}"), By::Sweep),
    ] {
        let claimless = claims.claimless(&name(&text)).unwrap();
        assert_eq!(claimless.by, by, "{text}");
    }
    let slot = claims.claimless_slot(&format!("tn_{OTHER}")).unwrap();
    assert_eq!(slot.by, By::Sweep);
    assert_eq!(claims.claimless_slot("tn_x").unwrap().by, By::People);
}

#[test]
fn a_role_goes_with_its_database_and_foreign_names_are_left_alone() {
    let texts = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let found = unclaimed(
        &"main".parse().unwrap(),
        &claims(),
        &texts(&["t_acme", "stock:2", "warehouse", "legacy", "old:t_acme:2"]),
        &texts(&["t_acme", "stock:2", "stock:3", "side:odd"]),
    );
    assert_eq!(
        ids(&found),
        [
            "database/main/stock:2",
            "database/main/warehouse",
            "role/main/stock:3",
        ]
    );
    assert_eq!(found[1].by, By::People);
    assert!(matches!(found[1].removal, Removal::Foreign(_)));
    assert!(matches!(found[2].removal, Removal::Named(..)));
}

#[test]
fn a_secret_is_found_where_no_row_refers_to_it_and_no_operation_may_hold_it() {
    let stored = |tenant: &str, reference: &str| StoredSecret {
        subject: SecretSubject::Tenant(tenant.parse().unwrap()),
        version: "op_1".to_owned(),
        reference: SecretRef(reference.to_owned()),
        created_at: None,
    };
    let busy = SecretSubject::Tenant("t_busy".parse().unwrap());
    let found = unreferenced(
        vec![
            stored("t_acme", "aws:1"),
            stored("t_acme", "aws:2"),
            stored("t_busy", "aws:3"),
        ],
        &[SecretRef("aws:1".to_owned())].into(),
        |subject| *subject == busy,
    );
    assert_eq!(ids(&found), ["secret/secrets/tenant/t_acme/op_1"]);
}

#[test]
fn an_object_without_a_row_goes_and_that_of_nobody_is_left_to_people() {
    let known = ObjectClaims {
        recorded: ["tenants/t_acme/backups/b1.dump".to_owned()].into(),
        tenants: ["t_acme".parse().unwrap(), "t_busy".parse().unwrap()].into(),
        busy: ["t_busy".parse().unwrap()].into(),
    };
    let paths = [
        "tenants/t_acme/backups/b1.dump",
        "tenants/t_acme/backups/b2.dump",
        "tenants/t_busy/backups/b3.dump",
        "tenants/t_lost/backups/b4.dump",
    ];
    let found = unrecorded(paths.iter().map(|path| path.parse().unwrap()), &known);
    assert_eq!(
        ids(&found),
        [
            "object/objects/tenants/t_acme/backups/b2.dump",
            "object/objects/tenants/t_lost/backups/b4.dump",
        ]
    );
    assert_eq!((found[0].by, found[1].by), (By::Sweep, By::People));
}

#[test]
fn an_id_is_read_as_it_is_written() {
    for text in [
        "database/main/old:t_acme:3",
        "secret/secrets/tenant/t_acme/op_1",
        "slot/main/tn_1",
    ] {
        assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
    }
    for text in ["", "database", "database/main", "house/main/x"] {
        assert!(text.parse::<Key>().is_err(), "{text}");
    }
}

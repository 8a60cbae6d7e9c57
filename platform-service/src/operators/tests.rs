//! Keys and scopes as text.

use super::*;

#[test]
fn a_new_key_is_one_and_others_are_not() {
    let key = generate();
    assert!(is_key(key.expose()));
    for other in [
        "",
        "opk_",
        "opk_AAAA",
        "tok_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        assert!(!is_key(other), "{other}");
    }
}

#[test]
fn every_scope_is_read_as_it_is_written() {
    for scope in Scope::ALL {
        assert_eq!(scope.as_str().parse::<Scope>().ok(), Some(*scope));
        assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
    }
}

#[test]
fn every_scope_is_one_that_can_be_asked_for() {
    let scopes: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    assert_eq!(scopes, contract::operator::oversight::SCOPES);
}

#[test]
fn who_changes_things_sees_them() {
    use Scope::{
        ClustersRead, OperationsRead, OperationsWrite, TenantsDestroy, TenantsQuery, TenantsRead,
        TenantsWrite,
    };
    let may = |scope, wanted| {
        let key = OperatorKey {
            id: OperatorKeyId::new(),
            name: String::new(),
            scopes: vec![scope],
        };
        key.may(wanted)
    };
    assert!(may(TenantsWrite, TenantsWrite) && may(TenantsWrite, TenantsRead));
    for begins in [TenantsWrite, TenantsDestroy, TenantsQuery] {
        assert!(may(begins, OperationsRead), "{begins:?}");
        assert!(!may(begins, OperationsWrite), "{begins:?}");
        assert!(!may(begins, ClustersRead), "{begins:?}");
    }
    assert!(!may(TenantsRead, OperationsRead) && !may(TenantsRead, TenantsWrite));
    assert!(!may(TenantsDestroy, TenantsRead) && !may(OperationsRead, OperationsWrite));
}

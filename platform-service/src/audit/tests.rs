//! Actors and actions as text.

use super::*;

#[test]
fn who_did_it_is_read_as_it_is_written() {
    let key = OperatorKeyId::new();
    for actor in [Actor::Signup, Actor::Platform, Actor::Operator(key)] {
        assert_eq!(actor.to_string().parse(), Ok(actor));
    }
    // As `tenantctl keys list` shows it.
    assert_eq!(key.to_string().parse(), Ok(Actor::Operator(key)));
    for nobody in ["", "operator/", "operator", "somebody", "op_1"] {
        assert_eq!(nobody.parse::<Actor>(), Err(UnknownActor), "{nobody}");
    }
}

#[test]
fn what_was_done_is_read_as_it_is_written() {
    let kinds = OperationKind::ALL.iter().copied();
    for action in kinds
        .map(Action::OperationBegun)
        .chain([Action::TenantRequested, Action::ClusterRemoved])
    {
        assert_eq!(action.text().parse(), Ok(action));
    }
    for nothing in ["", ".begun", "tenant", "tenant.exploded"] {
        assert_eq!(nothing.parse::<Action>(), Err(UnknownAction), "{nothing}");
    }
}

//! Exit codes, and what is said beside the first line.

use serde_json::json;

use super::*;

fn refused(refusal: Refusal) -> Failure {
    Failure::Refused {
        route: Route::get("/v1/tenants/t_acme"),
        refusal: Box::new(refusal),
        close: Vec::new(),
    }
}

#[test]
fn exit_codes_are_those_that_scripts_know() {
    for (code, exit) in [
        (Code::ValidationFailed, 2),
        (Code::IdMalformed, 2),
        (Code::NotFound, 3),
        (Code::TenantDeleted, 3),
        (Code::OperatorKeyInvalid, 4),
        (Code::PermissionMissing, 4),
        (Code::Conflict, 5),
        (Code::ConfirmationMissing, 5),
        (Code::VersionStale, 5),
        (Code::RateLimited, 6),
        (Code::DatabaseUnavailable, 6),
        (Code::Internal, 1),
    ] {
        assert_eq!(refused(Refusal::of(code)).exit(), exit, "{code:?}");
    }
    assert_eq!(Failure::NotInTime(Going::operation("op_1")).exit(), 6);
    assert_eq!(Failure::usage("").exit(), 2);
}

#[test]
fn what_the_first_line_says_is_not_said_again() {
    let detail = "There is no such backup.".to_owned();
    let missing = refused(Refusal {
        detail: Some(detail.clone()),
        ..Refusal::of(Code::NotFound)
    });
    assert_eq!(missing.details(), Vec::<String>::new());
    let conflict = refused(Refusal {
        detail: Some(detail.clone()),
        ..Refusal::of(Code::Conflict)
    });
    assert_eq!(conflict.details(), [detail]);
}

#[test]
fn what_stands_in_the_way_of_a_trial_is_no_roll_out() {
    let id = contract::OperationId::new();
    for (path, command) in [
        ("/v1/rollouts", "rollouts watch"),
        ("/v1/rollouts/trial", "operations watch"),
        ("/v1/tenants/t_acme/move", "operations watch"),
    ] {
        let refusal = Refusal {
            detail: Some(format!("The operation {id} (move) is under way.")),
            ..Refusal::of(Code::Conflict)
        };
        let next = Failure::Refused {
            route: Route::new(reqwest::Method::POST, path),
            refusal: Box::new(refusal),
            close: Vec::new(),
        }
        .next();
        assert!(
            next[0].contains(&format!("tenantctl {command} {id}")),
            "{next:?}"
        );
    }
}

#[test]
fn a_stuck_operation_says_how_it_goes_on() {
    let view = json!({"id": "op_1", "state": "stuck", "step": "drop"});
    let next = Failure::Operation(Box::new(view)).next();
    assert!(
        next.iter()
            .any(|line| line.contains("operations retry op_1")),
        "{next:?}"
    );
}

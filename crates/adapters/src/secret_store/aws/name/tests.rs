//! Names and references: whose they are, and what is none of ours.

use super::{SecretSubject, check_prefix, in_arn, of, parse, reference, request_token, split};
use crate::secret_store::{ClusterRole, SecretError};

const ARN: &str =
    "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app/tenant/t_acme/v1-a1B2c3";

fn subjects() -> Vec<SecretSubject> {
    vec![
        SecretSubject::Tenant("t_acme".parse().unwrap()),
        SecretSubject::Cluster("main".parse().unwrap(), ClusterRole::Platform),
        SecretSubject::Cluster("main".parse().unwrap(), ClusterRole::Schema),
        SecretSubject::Cluster("main".parse().unwrap(), ClusterRole::Query),
        SecretSubject::SigningKey,
        SecretSubject::DataKey("t_acme".parse().unwrap()),
        SecretSubject::Operation(contract::OperationId::new()),
    ]
}

#[test]
fn a_name_tells_its_subject_and_version() {
    for subject in subjects() {
        let name = of("app/production", &subject, "op_1");
        assert_eq!(parse("app/production", &name), Some((subject, "op_1")));
    }
}

#[test]
fn foreign_names_are_not_ours() {
    for name in [
        "app/tenant/t_acme",
        "app/tenant/t_acme/",
        "app/tenant/T_ACME/v1",
        "app/tenant/t_acme/extra/v1",
        "app/cluster/main/postgres/v1",
        "app/signing-key",
        "application/tenant/t_acme/v1",
        "other/tenant/t_acme/v1",
    ] {
        assert_eq!(parse("app", name), None, "{name}");
    }
}

#[test]
fn a_reference_splits_into_arn_and_version() {
    let made = reference(ARN, "11111111-2222-3333-4444-555555555555");
    assert_eq!(
        split(&made),
        Some((ARN, "11111111-2222-3333-4444-555555555555"))
    );
    assert_eq!(in_arn(ARN), Some("app/tenant/t_acme/v1"));
}

#[test]
fn other_arns_have_no_name() {
    for arn in [
        "",
        "app/tenant/t_acme/v1",
        "arn:aws:s3:eu-west-1:123456789012:secret:app/tenant/t_acme/v1-a1B2c3",
        "arn:aws:secretsmanager:eu-west-1:123456789012:key:app/tenant/t_acme/v1-a1B2c3",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:short",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app/tenant/t_acme/v1_a1B2c3",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app/tenant/t_acme/é12345",
    ] {
        assert_eq!(in_arn(arn), None, "{arn}");
    }
}

#[test]
fn tokens_are_of_the_length_that_aws_takes_and_differ_by_name() {
    assert_eq!(request_token("a").len(), 64);
    assert_eq!(request_token("a"), request_token("a"));
    assert_ne!(request_token("a"), request_token("b"));
}

#[test]
fn unusable_prefixes_are_refused() {
    let too_long = "a".repeat(129);
    assert_eq!(check_prefix("app/production"), Ok(()));
    for prefix in ["", "/app", "app/", "a pp", "app#1", &too_long] {
        assert!(
            matches!(check_prefix(prefix), Err(SecretError::Settings(_))),
            "{prefix}"
        );
    }
}

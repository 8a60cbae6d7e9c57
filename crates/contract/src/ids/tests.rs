//! The rules of identifiers, by example and by property.
use proptest::prelude::*;

use super::*;

#[test]
fn tenant_ids_follow_the_rule() {
    for good in ["t_ac", "t_acme", "t_a1_", &format!("t_a{}", "b".repeat(39))] {
        assert_eq!(good.parse::<TenantId>().unwrap().as_str(), good);
    }
    let long = format!("t_a{}", "b".repeat(40));
    for bad in [
        "", "t_", "t_a", "acme", "T_acme", "t_Acme", "t_1a", "t__a", "t_a-b", "t_a b", " t_acme",
        "t_acme ", "t_a;drop", "t_../x", "t_аcme", "t_acme\0", "stock:7", &long,
    ] {
        assert!(bad.parse::<TenantId>().is_err(), "{bad:?}");
    }
}

#[test]
fn slugs_give_ids() {
    for (slug, id) in [
        ("acme-corp", "t_acme_corp"),
        ("1a", "t_n1a"),
        ("n1a", "t_n1a"),
    ] {
        assert_eq!(slug.parse::<Slug>().unwrap().tenant_id().as_str(), id);
    }
    for bad in ["a", "-a", "a-", "a--b", "A1", "a_b", "ä1", &"a".repeat(40)] {
        assert!(bad.parse::<Slug>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_wrong_kind_of_id_says_so() {
    let operation = OperationId::new();
    assert_eq!(
        operation.to_string().parse::<OperationId>().unwrap(),
        operation
    );
    assert!(matches!(
        ReplicaId::new().to_string().parse::<OperationId>(),
        Err(InvalidPrefixedId::OtherKind { .. })
    ));
    assert!(matches!(
        "op_1".parse::<OperationId>(),
        Err(InvalidPrefixedId::Malformed { .. })
    ));
}

/// Whether API descriptions let this text in as such an id.
fn is_let_in<T: utoipa::PartialSchema>(text: &str) -> bool {
    let RefOr::T(Schema::Object(schema)) = T::schema() else {
        panic!("an id is described in place");
    };
    let pattern = fancy_regex::Regex::new(&schema.pattern.unwrap()).unwrap();
    pattern.is_match(text).unwrap()
}

proptest! {
    #[test]
    fn descriptions_say_the_rules(text in "(t_)?[a-c0-9A_ -]{0,42}") {
        prop_assert_eq!(is_let_in::<TenantId>(&text), text.parse::<TenantId>().is_ok());
        prop_assert_eq!(is_let_in::<Slug>(&text), text.parse::<Slug>().is_ok());
        prop_assert_eq!(is_let_in::<ClusterName>(&text), text.parse::<ClusterName>().is_ok());
        prop_assert_eq!(is_let_in::<SchemaOwner>(&text), text.parse::<SchemaOwner>().is_ok());
    }

    #[test]
    fn descriptions_say_the_rule_of_prefixed_ids(text in "(op|rep)_[0-9a-gA]{31,33}") {
        prop_assert_eq!(is_let_in::<OperationId>(&text), text.parse::<OperationId>().is_ok());
    }
}

#[test]
fn what_nearly_is_a_tenant_id_is_one_or_refused() {
    let letters: Vec<char> = "abcxyz0189__AZ-.'\"; \\\0ü".chars().collect();
    let mut rng = rand::rng();
    let mut taken = 0;
    for _ in 0..100_000 {
        let length = rng.random_range(0..44);
        // Mostly what an id may hold.
        let most = [letters.len(), 12][rng.random_range(0..2)];
        let rest: String = (0..length)
            .map(|_| letters[rng.random_range(0..most)])
            .collect();
        let fits = (2..=40).contains(&rest.len())
            && rest.starts_with(|first: char| first.is_ascii_lowercase())
            && rest
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let id = format!("t_{rest}").parse::<TenantId>();
        assert_eq!(id.is_ok(), fits, "{rest:?}");
        taken += usize::from(fits);
        assert!(
            rest.parse::<TenantId>().is_err() || rest.starts_with("t_"),
            "{rest:?}"
        );
    }
    assert!(taken > 1_000, "{taken}");
}

proptest! {
    #[test]
    fn whatever_parses_as_a_tenant_id_is_a_safe_name(text in "\\PC{0,60}") {
        if let Ok(id) = text.parse::<TenantId>() {
            prop_assert!(id.as_str().len() <= 42);
            prop_assert!(id.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
        }
    }

    #[test]
    fn every_slug_gives_a_valid_id(text in "[a-z0-9](-?[a-z0-9]){1,38}") {
        if let Ok(slug) = text.parse::<Slug>() {
            let id = slug.tenant_id();
            prop_assert_eq!(id.as_str().parse::<TenantId>().unwrap(), id);
        } else {
            prop_assert!(text.len() > 39);
        }
    }
}

#[test]
fn a_replicas_sessions_are_named_after_its_service() {
    let replica: ReplicaId = "rep_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f".parse().unwrap();
    let service: ServiceName = "app-service".parse().unwrap();
    assert_eq!(
        replica.application_name(&service),
        "app-service/0192f0c1a2b37c4d8e9f0a1b2c3d4e5f"
    );
    let long: ServiceName = "x".repeat(40).parse().unwrap();
    assert_eq!(replica.application_name(&long).len(), 63);
}

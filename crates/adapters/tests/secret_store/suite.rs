//! What every secret store does, as functions over a fresh store; [`behaves!`] makes tests of
//! them.
//!
//! Deliberately knows no store. Where stores rightly differ, the difference is a value of
//! [`Removal`].

use adapters::secret_store::{
    ClusterRole, MAX_SECRET_BYTES, MAX_VERSION_CHARS, SecretError, SecretStore, SecretSubject,
};
use contract::secret::{Secret, SecretRef};

/// What a reference is after its removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// It still opens: the reference is the secret, and whoever keeps it keeps the secret.
    EndsWithTheReference,
    /// It opens nothing.
    IsInTheStore,
}

/// A fresh store and how it differs.
pub(crate) struct Subject {
    pub(crate) store: SecretStore,
    pub(crate) removal: Removal,
}

/// Makes a test of each behaviour for the store that `$fresh` (an async function) makes.
macro_rules! behaves {
    ($fresh:path: $($behaviour:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $behaviour() {
                $crate::suite::$behaviour($fresh().await).await;
            }
        )+
    };
    ($fresh:path) => {
        behaves!($fresh:
            what_was_put_is_opened,
            a_repeat_refers_to_the_same_secret,
            a_repeat_with_another_secret_breaks_no_reference,
            another_subject_is_refused,
            removing_twice_is_fine,
            a_removed_secret_is_gone_where_the_store_keeps_it,
            versions_stand_side_by_side,
            texts_that_are_no_references_are_named,
            limits_are_held,
            no_error_and_no_reference_shows_the_secret,
        );
    };
}

pub(crate) fn tenant(id: &str) -> SecretSubject {
    SecretSubject::Tenant(id.parse().unwrap())
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

async fn opened(store: &SecretStore, subject: &SecretSubject, reference: &SecretRef) -> String {
    let secret = store.open(subject, reference).await.unwrap();
    secret.expose().to_owned()
}

pub(crate) async fn what_was_put_is_opened(Subject { store, .. }: Subject) {
    let longest = "x".repeat(MAX_SECRET_BYTES);
    let subjects = [
        tenant("t_acme"),
        SecretSubject::Cluster("main".parse().unwrap(), ClusterRole::Platform),
        SecretSubject::Cluster("main".parse().unwrap(), ClusterRole::Schema),
        SecretSubject::SigningKey,
    ];
    let texts = [
        "0123456789abcdef",
        "päss wörd \"'\\ \u{1f511}",
        "-----BEGIN-----\nline\n",
        &longest,
    ];
    for (subject, text) in subjects.iter().zip(texts) {
        let reference = store.put(subject, "v1", &secret(text)).await.unwrap();
        assert_eq!(opened(&store, subject, &reference).await, text);
    }
}

pub(crate) async fn a_repeat_refers_to_the_same_secret(Subject { store, .. }: Subject) {
    let subject = tenant("t_acme");
    let first = store.put(&subject, "v1", &secret("one")).await.unwrap();
    let again = store.put(&subject, "v1", &secret("one")).await.unwrap();
    assert_eq!(opened(&store, &subject, &first).await, "one");
    assert_eq!(opened(&store, &subject, &again).await, "one");
}

pub(crate) async fn a_repeat_with_another_secret_breaks_no_reference(
    Subject { store, .. }: Subject,
) {
    let subject = tenant("t_acme");
    let first = store.put(&subject, "v1", &secret("one")).await.unwrap();
    let second = store.put(&subject, "v1", &secret("two")).await.unwrap();
    assert_eq!(opened(&store, &subject, &first).await, "one");
    assert_eq!(opened(&store, &subject, &second).await, "two");
}

pub(crate) async fn another_subject_is_refused(Subject { store, .. }: Subject) {
    let owner = SecretSubject::Cluster("main".parse().unwrap(), ClusterRole::Schema);
    let reference = store.put(&owner, "v1", &secret("one")).await.unwrap();
    for other in [
        tenant("t_acme"),
        SecretSubject::Cluster("main".parse().unwrap(), ClusterRole::Platform),
        SecretSubject::Cluster("mai".parse().unwrap(), ClusterRole::Schema),
        SecretSubject::SigningKey,
    ] {
        let refused = SecretError::Refused {
            subject: other.to_string(),
        };
        assert_eq!(store.open(&other, &reference).await.unwrap_err(), refused);
        assert_eq!(store.remove(&other, &reference).await, Err(refused));
    }
    assert_eq!(opened(&store, &owner, &reference).await, "one");
}

pub(crate) async fn removing_twice_is_fine(Subject { store, .. }: Subject) {
    let subject = tenant("t_acme");
    let reference = store.put(&subject, "v1", &secret("one")).await.unwrap();
    store.remove(&subject, &reference).await.unwrap();
    store.remove(&subject, &reference).await.unwrap();
    store.remove_version(&subject, "v1").await.unwrap();
    store.remove_version(&subject, "never").await.unwrap();
    assert_eq!(store.list().await, Ok(Vec::new()));
    let anew = store.put(&subject, "v1", &secret("two")).await.unwrap();
    assert_eq!(opened(&store, &subject, &anew).await, "two");
}

pub(crate) async fn a_removed_secret_is_gone_where_the_store_keeps_it(
    Subject { store, removal }: Subject,
) {
    let subject = tenant("t_acme");
    let reference = store.put(&subject, "v1", &secret("one")).await.unwrap();
    store.remove(&subject, &reference).await.unwrap();
    let unstored = store.put(&subject, "v2", &secret("two")).await.unwrap();
    store.remove_version(&subject, "v2").await.unwrap();
    for gone in [reference, unstored] {
        let after = store.open(&subject, &gone).await;
        match removal {
            Removal::EndsWithTheReference => assert!(after.is_ok()),
            Removal::IsInTheStore => assert_eq!(after.unwrap_err(), SecretError::NotFound),
        }
    }
}

pub(crate) async fn versions_stand_side_by_side(Subject { store, .. }: Subject) {
    let subject = tenant("t_acme");
    let neighbour = tenant("t_acme2");
    let old = store.put(&subject, "op_1", &secret("old")).await.unwrap();
    let new = store.put(&subject, "op_2", &secret("new")).await.unwrap();
    let other = store.put(&neighbour, "op_1", &secret("other")).await;
    assert_eq!(opened(&store, &subject, &old).await, "old");
    assert_eq!(opened(&store, &subject, &new).await, "new");
    store.remove(&subject, &old).await.unwrap();
    assert_eq!(opened(&store, &subject, &new).await, "new");
    assert_eq!(opened(&store, &neighbour, &other.unwrap()).await, "other");
}

pub(crate) async fn texts_that_are_no_references_are_named(Subject { store, .. }: Subject) {
    let subject = tenant("t_acme");
    for text in [
        "",
        "t_acme",
        "vault:secret/t_acme",
        "sealed:",
        "sealed:v2:k1:AAAA",
        "aws:",
        "aws:arn:aws:s3:::bucket#v1",
    ] {
        let reference = SecretRef(text.to_owned());
        for error in [
            store.open(&subject, &reference).await.unwrap_err(),
            store.remove(&subject, &reference).await.unwrap_err(),
        ] {
            assert!(
                matches!(error, SecretError::Malformed { .. }),
                "{text:?}: {error:?}"
            );
        }
    }
}

pub(crate) async fn limits_are_held(Subject { store, .. }: Subject) {
    let subject = tenant("t_acme");
    let too_long = "v".repeat(MAX_VERSION_CHARS + 1);
    for version in ["", "a/b", "a b", "ä", &too_long] {
        assert_eq!(
            store.put(&subject, version, &secret("one")).await,
            Err(SecretError::InvalidVersion)
        );
        assert_eq!(
            store.remove_version(&subject, version).await,
            Err(SecretError::InvalidVersion)
        );
    }
    let too_large = "x".repeat(MAX_SECRET_BYTES + 1);
    for text in ["", &too_large] {
        assert_eq!(
            store.put(&subject, "v1", &secret(text)).await,
            Err(SecretError::InvalidSize)
        );
    }
}

pub(crate) async fn no_error_and_no_reference_shows_the_secret(Subject { store, .. }: Subject) {
    const CANARY: &str = "canary-5c0ffee5";
    let subject = tenant("t_acme");
    let canary = secret(CANARY);
    let reference = store.put(&subject, "v1", &canary).await.unwrap();
    let mut shown = vec![
        format!("{reference:?}"),
        format!("{store:?}"),
        format!("{canary:?}"),
        format!("{:?}", store.list().await),
    ];
    let half = SecretRef(reference.0[..reference.0.len() / 2].to_owned());
    let bent = SecretRef(format!("{}A", reference.0));
    let failures = [
        store
            .open(&SecretSubject::SigningKey, &reference)
            .await
            .err(),
        store.open(&subject, &half).await.err(),
        store.open(&subject, &bent).await.err(),
        store.put(&subject, CANARY, &secret("")).await.err(),
        store.put(&subject, "", &canary).await.err(),
    ];
    for failure in failures {
        let error = failure.unwrap();
        shown.push(format!("{error} {error:?}"));
    }
    for text in shown {
        assert!(!text.contains(CANARY), "{text}");
    }
}

//! The suite on AWS Secrets Manager, and what is peculiar to it: its list, its recovery window,
//! and its bad days.
//!
//! Deliberately sets nothing but the endpoint and test credentials; all calls are the SDK's own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use adapters::secret_store::{
    AwsCredentials, AwsSettings, AwsStore, SecretError, SecretStore, SecretSubject,
};
use aws_config::BehaviorVersion;
use contract::secret::SecretRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::moto;
use crate::suite::{Removal, Subject, secret, tenant};

const REGION: &str = "eu-west-1";

async fn connect(endpoint_url: &str, name_prefix: &str) -> SecretStore {
    let settings = AwsSettings {
        endpoint_url: Some(endpoint_url.to_owned()),
        region: Some(REGION.to_owned()),
        name_prefix: name_prefix.to_owned(),
        credentials: AwsCredentials::ForTests,
    };
    SecretStore::Aws(AwsStore::connect(settings).await.unwrap())
}

/// A prefix that no other test of this process has.
fn prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test/{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn endpoint() -> &'static str {
    tokio::task::spawn_blocking(moto::url).await.unwrap()
}

async fn fresh() -> Subject {
    Subject {
        store: connect(endpoint().await, &prefix()).await,
        removal: Removal::IsInTheStore,
    }
}

behaves!(fresh);

/// What an operator has beside the port: AWS itself.
async fn operator() -> aws_sdk_secretsmanager::Client {
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .test_credentials()
        .region(aws_config::Region::new(REGION))
        .endpoint_url(endpoint().await)
        .load()
        .await;
    aws_sdk_secretsmanager::Client::new(&config)
}

#[tokio::test]
async fn a_repeat_gives_the_same_reference() {
    let Subject { store, .. } = fresh().await;
    let subject = tenant("t_acme");
    let first = store.put(&subject, "v1", &secret("one")).await.unwrap();
    let again = store.put(&subject, "v1", &secret("one")).await.unwrap();
    assert_eq!(first, again);
    assert!(first.0.starts_with("aws:arn:aws:secretsmanager:eu-west-1:"));
}

#[tokio::test]
async fn a_repeat_of_a_second_text_is_recognised_too() {
    let Subject { store, .. } = fresh().await;
    let subject = tenant("t_acme");
    store.put(&subject, "v1", &secret("one")).await.unwrap();
    let second = store.put(&subject, "v1", &secret("two")).await.unwrap();
    let again = store.put(&subject, "v1", &secret("two")).await.unwrap();
    assert_eq!(second, again);
}

#[tokio::test]
async fn the_list_names_what_is_held_under_the_prefix() {
    let name_prefix = prefix();
    let store = connect(endpoint().await, &name_prefix).await;
    let neighbour = connect(endpoint().await, &format!("{name_prefix}0")).await;
    let key = SecretSubject::SigningKey;
    neighbour.put(&key, "v1", &secret("theirs")).await.unwrap();
    operator()
        .await
        .create_secret()
        .name(format!("{name_prefix}/somebody/elses"))
        .secret_string("x")
        .send()
        .await
        .unwrap();
    let mut expected = Vec::new();
    // More than one page of the list.
    for number in 0..105 {
        let subject = tenant(&format!("t_acme{number}"));
        let reference = store.put(&subject, "op_1", &secret("one")).await.unwrap();
        expected.push((subject.to_string(), "op_1".to_owned(), reference.0));
    }
    let listed = store.list().await.unwrap();
    assert!(listed.iter().all(|stored| stored.created_at.is_some()));
    let mut found: Vec<_> = listed
        .into_iter()
        .map(|stored| {
            (
                stored.subject.to_string(),
                stored.version,
                stored.reference.0,
            )
        })
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_secret_that_waits_for_its_deletion_is_brought_back_by_put() {
    let name_prefix = prefix();
    let store = connect(endpoint().await, &name_prefix).await;
    let subject = tenant("t_acme");
    let before = store.put(&subject, "v1", &secret("one")).await.unwrap();
    let schedule = async || {
        operator()
            .await
            .delete_secret()
            .secret_id(format!("{name_prefix}/tenant/t_acme/v1"))
            .recovery_window_in_days(7)
            .send()
            .await
            .unwrap()
    };
    schedule().await;
    assert_eq!(
        store.open(&subject, &before).await.unwrap_err(),
        SecretError::NotFound
    );
    let after = store.put(&subject, "v1", &secret("two")).await.unwrap();
    assert_eq!(store.open(&subject, &after).await.unwrap().expose(), "two");

    schedule().await;
    store.remove(&subject, &after).await.unwrap();
    let anew = store.put(&subject, "v1", &secret("three")).await.unwrap();
    assert_eq!(store.open(&subject, &anew).await.unwrap().expose(), "three");
}

#[tokio::test]
async fn an_unknown_version_of_a_known_secret_is_not_found() {
    let Subject { store, .. } = fresh().await;
    let subject = tenant("t_acme");
    let reference = store.put(&subject, "v1", &secret("one")).await.unwrap();
    let (arn, _) = reference.0.rsplit_once('#').unwrap();
    let unknown = SecretRef(format!("{arn}#11111111-2222-3333-4444-555555555555"));
    assert_eq!(
        store.open(&subject, &unknown).await.unwrap_err(),
        SecretError::NotFound
    );
}

#[tokio::test]
async fn another_prefix_is_refused() {
    let Subject { store, .. } = fresh().await;
    let Subject { store: other, .. } = fresh().await;
    let subject = tenant("t_acme");
    let reference = other.put(&subject, "v1", &secret("one")).await.unwrap();
    assert!(matches!(
        store.open(&subject, &reference).await,
        Err(SecretError::Refused { .. })
    ));
}

/// A server that answers every request with one refusal, as AWS words it.
async fn refusing(status: &'static str, code: &'static str, message: &str) -> String {
    let body = format!(r#"{{"__type":"{code}","message":"{message}"}}"#);
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 16 * 1024];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn throttling_and_server_faults_may_be_tried_again() {
    for (status, code) in [
        ("400 Bad Request", "ThrottlingException"),
        ("500 Internal Server Error", "InternalServiceError"),
    ] {
        let store = connect(&refusing(status, code, "slow down").await, "test").await;
        let error = store
            .put(&tenant("t_acme"), "v1", &secret("one"))
            .await
            .unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(error.to_string().contains(code), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_is_final_and_does_not_repeat_the_message_of_aws() {
    let message = "Value 'canary-5c0ffee5' failed to satisfy constraint";
    for code in ["AccessDeniedException", "ValidationException"] {
        let endpoint_url = refusing("400 Bad Request", code, message).await;
        let store = connect(&endpoint_url, "test").await;
        let error = store
            .put(&tenant("t_acme"), "v1", &secret("canary-5c0ffee5"))
            .await
            .unwrap_err();
        assert_eq!(
            error,
            SecretError::Denied {
                operation: "CreateSecret",
                reason: code.to_owned()
            }
        );
    }
}

#[tokio::test]
async fn an_address_that_nobody_serves_is_unavailable_within_the_limits() {
    // Bound and never accepting: connections stand, answers never come.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [silent.local_addr().unwrap(), closed.local_addr().unwrap()];
    drop(closed);
    for address in addresses {
        let store = connect(&format!("http://{address}"), "test").await;
        let subject = tenant("t_acme");
        let reference = SecretRef(format!(
            "aws:arn:aws:secretsmanager:{REGION}:123456789012:secret:test/{subject}/v1-a1B2c3#v1"
        ));
        let call = store.open(&subject, &reference);
        let bounded = tokio::time::timeout(Duration::from_secs(10), call).await;
        let error = bounded.unwrap().unwrap_err();
        assert!(error.is_retryable(), "{error}");
    }
}

#[tokio::test]
async fn unusable_settings_are_refused() {
    let settings = AwsSettings {
        endpoint_url: None,
        region: Some(REGION.to_owned()),
        name_prefix: "/app/".to_owned(),
        credentials: AwsCredentials::ForTests,
    };
    assert!(matches!(
        AwsStore::connect(settings).await,
        Err(SecretError::Settings(_))
    ));
}

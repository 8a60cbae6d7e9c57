//! AWS Secrets Manager: one secret per subject and version, named
//! `<prefix>/<subject>/<version>`, e.g. `tenantry/tenant/t_acme/op_0192...`.
//!
//! Deliberately never uses AWS's staging labels to choose a text: a reference names the version
//! id, so a text that is put later under the same name cannot change what it opens. Deliberately
//! leaves the messages of AWS out of errors: a message about bad input may repeat the input.
//! Invariants: a reference whose name is not under its subject is refused before any call, and
//! every call is bounded in time and in retries.

use std::error::Error;
use std::time::{Duration, SystemTime};

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, SecretListEntry};
use contract::secret::{Secret, SecretRef};

use self::name::reference;
use super::{AwsCredentials, AwsSettings, SecretError, SecretSubject, StoredSecret};

mod name;

/// The label of the newest version of an AWS secret.
const CURRENT: &str = "AWSCURRENT";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 3;
/// Most that AWS gives in one page of a list.
const PAGE_SIZE: i32 = 100;

/// Secrets that are kept in AWS Secrets Manager.
#[derive(Debug)]
pub struct AwsStore {
    client: Client,
    name_prefix: String,
}

/// What AWS holds as the newest text under a name.
enum Current {
    Held {
        secret: Secret,
        reference: SecretRef,
    },
    Scheduled,
    Missing,
}

impl AwsStore {
    /// Reads what the settings leave open from where the AWS SDK finds it. Makes no call to AWS.
    pub async fn connect(settings: AwsSettings) -> Result<Self, SecretError> {
        name::check_prefix(&settings.name_prefix)?;
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                    .operation_timeout(CALL_TIMEOUT)
                    .build(),
            );
        if let Some(region) = settings.region {
            loader = loader.region(Region::new(region));
        }
        if let Some(endpoint_url) = settings.endpoint_url {
            loader = loader.endpoint_url(endpoint_url);
        }
        if settings.credentials == AwsCredentials::ForTests {
            loader = loader.test_credentials();
        }
        let config = loader.load().await;
        if config.region().is_none() {
            return Err(SecretError::Settings(
                "no AWS region: set one here or in AWS_REGION",
            ));
        }
        Ok(Self {
            client: Client::new(&config),
            name_prefix: settings.name_prefix,
        })
    }

    pub(super) async fn put(
        &self,
        subject: &SecretSubject,
        version: &str,
        secret: &Secret,
    ) -> Result<SecretRef, SecretError> {
        let name = self.name(subject, version);
        let token = name::request_token(&name);
        let created = self
            .client
            .create_secret()
            .name(&name)
            .client_request_token(&token)
            .secret_string(secret.expose())
            .send()
            .await;
        match created {
            Ok(output) => {
                let arn = output.arn().ok_or(incomplete("CreateSecret"))?;
                // A repeat that AWS recognises by its token need not say the version again.
                Ok(reference(arn, output.version_id().unwrap_or(&token)))
            }
            // The name is taken, or waits for its deletion: look at what it holds.
            Err(SdkError::ServiceError(context))
                if context.err().is_resource_exists_exception()
                    || context.err().is_invalid_request_exception() =>
            {
                self.ensure_text(&name, secret).await
            }
            Err(error) => Err(failure("CreateSecret", &error)),
        }
    }

    /// Makes an existing name hold this text, without touching its earlier versions.
    async fn ensure_text(&self, name: &str, secret: &Secret) -> Result<SecretRef, SecretError> {
        let current = match self.current(name).await? {
            Current::Scheduled => {
                self.restore(name).await?;
                self.current(name).await?
            }
            other => other,
        };
        match current {
            Current::Held {
                secret: held,
                reference,
            } if held.expose() == secret.expose() => Ok(reference),
            Current::Held { .. } => self.put_text(name, secret).await,
            // AWS deletes behind our back for some seconds, in which the name is neither there
            // nor free.
            Current::Scheduled | Current::Missing => Err(SecretError::Unavailable {
                operation: "CreateSecret",
                reason: "the name is still being deleted".to_owned(),
            }),
        }
    }

    async fn put_text(&self, name: &str, secret: &Secret) -> Result<SecretRef, SecretError> {
        let output = self
            .client
            .put_secret_value()
            .secret_id(name)
            .secret_string(secret.expose())
            .send()
            .await
            .map_err(|error| failure("PutSecretValue", &error))?;
        let (arn, version_id) = output
            .arn()
            .zip(output.version_id())
            .ok_or(incomplete("PutSecretValue"))?;
        Ok(reference(arn, version_id))
    }

    async fn current(&self, name: &str) -> Result<Current, SecretError> {
        let result = self.client.get_secret_value().secret_id(name).send().await;
        match result {
            Ok(output) => {
                let (arn, version_id) = output
                    .arn
                    .zip(output.version_id)
                    .ok_or(incomplete("GetSecretValue"))?;
                Ok(Current::Held {
                    secret: Secret::new(output.secret_string.unwrap_or_default()),
                    reference: reference(&arn, &version_id),
                })
            }
            Err(SdkError::ServiceError(context))
                if context.err().is_resource_not_found_exception() =>
            {
                Ok(Current::Missing)
            }
            Err(SdkError::ServiceError(context))
                if context.err().is_invalid_request_exception() =>
            {
                Ok(Current::Scheduled)
            }
            Err(error) => Err(failure("GetSecretValue", &error)),
        }
    }

    async fn restore(&self, name: &str) -> Result<(), SecretError> {
        let result = self.client.restore_secret().secret_id(name).send().await;
        match result {
            Ok(_) => Ok(()),
            // Gone for good by now; the look that follows says so.
            Err(SdkError::ServiceError(context))
                if context.err().is_resource_not_found_exception() =>
            {
                Ok(())
            }
            Err(error) => Err(failure("RestoreSecret", &error)),
        }
    }

    pub(super) async fn open(
        &self,
        subject: &SecretSubject,
        reference: &SecretRef,
    ) -> Result<Secret, SecretError> {
        let (arn, version_id) = self.address(subject, reference)?;
        let result = self
            .client
            .get_secret_value()
            .secret_id(arn)
            .version_id(version_id)
            .send()
            .await;
        match result {
            Ok(output) => output
                .secret_string
                .map(Secret::new)
                .ok_or(incomplete("GetSecretValue")),
            // An invalid request is how AWS names a secret that waits for its deletion.
            Err(SdkError::ServiceError(context))
                if context.err().is_resource_not_found_exception()
                    || context.err().is_invalid_request_exception() =>
            {
                Err(SecretError::NotFound)
            }
            Err(error) => Err(failure("GetSecretValue", &error)),
        }
    }

    /// Removes the AWS secret with every text that was put under the reference's version.
    pub(super) async fn remove(
        &self,
        subject: &SecretSubject,
        reference: &SecretRef,
    ) -> Result<(), SecretError> {
        let (arn, _) = self.address(subject, reference)?;
        self.delete(arn).await
    }

    pub(super) async fn remove_version(
        &self,
        subject: &SecretSubject,
        version: &str,
    ) -> Result<(), SecretError> {
        self.delete(&self.name(subject, version)).await
    }

    async fn delete(&self, name_or_arn: &str) -> Result<(), SecretError> {
        let result = self
            .client
            .delete_secret()
            .secret_id(name_or_arn)
            .force_delete_without_recovery(true)
            .send()
            .await;
        match result {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(context))
                if context.err().is_resource_not_found_exception() =>
            {
                Ok(())
            }
            Err(error) => Err(failure("DeleteSecret", &error)),
        }
    }

    pub(super) async fn list(&self) -> Result<Vec<StoredSecret>, SecretError> {
        let under_prefix = Filter::builder()
            .key(FilterNameStringType::Name)
            .values(format!("{}/", self.name_prefix))
            .build();
        let mut pages = self
            .client
            .list_secrets()
            .filters(under_prefix)
            .max_results(PAGE_SIZE)
            .into_paginator()
            .send();
        let mut stored = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failure("ListSecrets", &error))?;
            for entry in page.secret_list() {
                match self.stored(entry) {
                    Some(found) => stored.push(found),
                    None => tracing::warn!(
                        secret.name = entry.name(),
                        "skipped a secret under our prefix that is not ours"
                    ),
                }
            }
        }
        Ok(stored)
    }

    fn stored(&self, entry: &SecretListEntry) -> Option<StoredSecret> {
        let (subject, version) = name::parse(&self.name_prefix, entry.name()?)?;
        let (version_id, _) = entry
            .secret_versions_to_stages()?
            .iter()
            .find(|(_, labels)| labels.iter().any(|label| label == CURRENT))?;
        Some(StoredSecret {
            subject,
            version: version.to_owned(),
            reference: reference(entry.arn()?, version_id),
            created_at: entry
                .created_date()
                .and_then(|date| SystemTime::try_from(*date).ok()),
        })
    }

    fn name(&self, subject: &SecretSubject, version: &str) -> String {
        name::of(&self.name_prefix, subject, version)
    }

    /// The ARN and the version id of a reference, if it is one of this subject.
    fn address<'r>(
        &self,
        subject: &SecretSubject,
        reference: &'r SecretRef,
    ) -> Result<(&'r str, &'r str), SecretError> {
        let malformed = SecretError::Malformed { store: "aws" };
        let (arn, version_id) = name::split(reference).ok_or(malformed.clone())?;
        let full_name = name::in_arn(arn).ok_or(malformed)?;
        match name::parse(&self.name_prefix, full_name) {
            Some((found, _)) if found == *subject => Ok((arn, version_id)),
            _ => Err(SecretError::Refused {
                subject: subject.to_string(),
            }),
        }
    }
}

fn incomplete(operation: &'static str) -> SecretError {
    SecretError::Denied {
        operation,
        reason: "the answer lacks a field".to_owned(),
    }
}

/// Sorts a failure into "later" and "never". Keeps codes only: neither the request, which may
/// hold the secret, nor the message of AWS, which may repeat it.
fn failure<E>(operation: &'static str, error: &SdkError<E>) -> SecretError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    const THROTTLED: [&str; 5] = [
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "RequestThrottled",
    ];
    match error {
        SdkError::ServiceError(context) => {
            let reason = context.err().code().unwrap_or("no code").to_owned();
            let status = context.raw().status().as_u16();
            if status >= 500 || status == 429 || THROTTLED.contains(&reason.as_str()) {
                SecretError::Unavailable { operation, reason }
            } else {
                SecretError::Denied { operation, reason }
            }
        }
        SdkError::TimeoutError(_) => unavailable(operation, "timed out"),
        SdkError::ResponseError(_) => unavailable(operation, "unreadable answer"),
        // Neither has seen an answer; their causes speak of sockets and credentials only.
        SdkError::DispatchFailure(_) => unavailable(operation, &chain(error)),
        _ => SecretError::Denied {
            operation,
            reason: chain(error),
        },
    }
}

fn unavailable(operation: &'static str, reason: &str) -> SecretError {
    SecretError::Unavailable {
        operation,
        reason: reason.to_owned(),
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

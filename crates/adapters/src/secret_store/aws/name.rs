//! Names and references of the AWS store.
//!
//! Deliberately without calls to AWS. Invariant: [`parse`] undoes [`of`], so a reference tells whose
//! secret it is, and a subject can neither be forged nor be confused with another.
//!
//! Name: `<prefix>/<subject>/<version>`. Reference: `aws:<arn>#<version id>`.

use contract::secret::SecretRef;
use sha2::{Digest, Sha256};

use crate::secret_store::{ClusterRole, SecretError, SecretSubject, check_version};

const PREFIX: &str = "aws:";
/// The hyphen and six random characters that AWS appends to the name in an ARN.
const ARN_SUFFIX_CHARS: usize = 7;
/// Longest prefix of names, in characters; AWS allows 512 for a whole name.
const MAX_PREFIX_CHARS: usize = 128;

/// The full name of a version of a subject's secret.
pub(super) fn of(prefix: &str, subject: &SecretSubject, version: &str) -> String {
    format!("{prefix}/{subject}/{version}")
}

/// Refuses a prefix that AWS would not take or that [`parse`] could not tell from a subject.
pub(super) fn check_prefix(prefix: &str) -> Result<(), SecretError> {
    let valid = (1..=MAX_PREFIX_CHARS).contains(&prefix.len())
        && !prefix.starts_with('/')
        && !prefix.ends_with('/')
        && prefix
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/_+=.@-".contains(&b));
    if valid {
        Ok(())
    } else {
        Err(SecretError::Settings(
            "name_prefix is 1 to 128 of A-Z a-z 0-9 / _ + = . @ -, with no / at either end",
        ))
    }
}

/// The idempotency token of a name's first version: 64 hexadecimal digits, AWS's longest.
pub(super) fn request_token(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The reference of one version of an AWS secret.
pub(super) fn reference(arn: &str, version_id: &str) -> SecretRef {
    SecretRef(format!("{PREFIX}{arn}#{version_id}"))
}

/// The ARN and the version id of a reference.
pub(super) fn split(reference: &SecretRef) -> Option<(&str, &str)> {
    let (arn, version_id) = reference.0.strip_prefix(PREFIX)?.rsplit_once('#')?;
    check_version(version_id).ok()?;
    Some((arn, version_id))
}

/// The name in `arn:<partition>:secretsmanager:<region>:<account>:secret:<name>-<6 characters>`.
pub(super) fn in_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(7, ':');
    let arn_start = (parts.next()?, parts.next()?, parts.next()?);
    let ("arn", _, "secretsmanager") = arn_start else {
        return None;
    };
    let (_region, _account, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let named = parts.next().filter(|_| kind == "secret")?;
    let (name, suffix) = named.split_at_checked(named.len().checked_sub(ARN_SUFFIX_CHARS)?)?;
    suffix.starts_with('-').then_some(name)
}

/// The subject and the version in a full name; nothing when the name is not one of ours.
pub(super) fn parse<'n>(prefix: &str, name: &'n str) -> Option<(SecretSubject, &'n str)> {
    let rest = name.strip_prefix(prefix)?.strip_prefix('/')?;
    let (subject, version) = rest.rsplit_once('/')?;
    check_version(version).ok()?;
    let parts: Vec<&str> = subject.split('/').collect();
    let subject = match parts.as_slice() {
        ["tenant", tenant] => SecretSubject::Tenant(tenant.parse().ok()?),
        ["cluster", cluster, role] => {
            let role = [
                ClusterRole::Platform,
                ClusterRole::Schema,
                ClusterRole::Query,
            ]
            .into_iter()
            .find(|known| known.as_str() == *role)?;
            SecretSubject::Cluster(cluster.parse().ok()?, role)
        }
        ["signing-key"] => SecretSubject::SigningKey,
        ["data-key", tenant] => SecretSubject::DataKey(tenant.parse().ok()?),
        ["operation", operation] => SecretSubject::Operation(operation.parse().ok()?),
        _ => return None,
    };
    Some((subject, version))
}

#[cfg(test)]
mod tests;

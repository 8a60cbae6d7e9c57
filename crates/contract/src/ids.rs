//! Identifiers: parsed once at the edge, trusted afterwards.
//!
//! Deliberately no constructor that skips the rule. Invariant: every [`TenantId`] matches
//! `^t_[a-z][a-z0-9_]{1,39}$`, so it can stand, quoted, as the name of a database and of a role,
//! and never collides with a derived name (those contain a `:`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use uuid::Uuid;

/// Why a text is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {kind}: {rule}")]
pub struct InvalidId {
    kind: &'static str,
    rule: &'static str,
    text: String,
}

impl InvalidId {
    fn new(kind: &'static str, rule: &'static str, text: &str) -> Self {
        const SHOWN_CHARS: usize = 64;
        Self {
            kind,
            rule,
            text: text.chars().take(SHOWN_CHARS).collect(),
        }
    }

    /// The rule that the text breaks, for a message that does not repeat the text.
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

macro_rules! text_id {
    (
        $(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal,
        $example:literal, $pattern:literal, $valid:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String, example = $example, pattern = $pattern)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The rule as a regular expression (ECMA-262), as API descriptions say it. It may let in
            /// what the rule does not, and never the other way around.
            pub const PATTERN: &str = $pattern;

            /// The text of the identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&[u8]) -> bool = $valid;
                if valid(text.as_bytes()) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId::new($kind, $rule, text))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// A tenant, everywhere and for ever: header, database, role, secret, log field.
    TenantId,
    "a tenant id",
    "`t_`, a letter, then 1 to 39 of a-z, 0-9 and _",
    "t_acme",
    "^t_[a-z][a-z0-9_]{1,39}$",
    |text| {
        matches!(text, [b't', b'_', first, rest @ ..]
            if first.is_ascii_lowercase()
                && (1..=39).contains(&rest.len())
                && rest.iter().all(|&b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
    }
);

text_id!(
    /// What people see and type for a tenant: a DNS label of 2 to 39 characters.
    Slug,
    "a slug",
    "2 to 39 of a-z, 0-9 and single hyphens, with a letter or digit at both ends",
    "acme-corp",
    "^(?=.{2,39}$)[a-z0-9]+(-[a-z0-9]+)*$",
    |text| {
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        (2..=39).contains(&text.len())
            && text.iter().all(|&b| alphanumeric(b) || b == b'-')
            && text.first().is_some_and(|&b| alphanumeric(b))
            && text.last().is_some_and(|&b| alphanumeric(b))
            && !text.windows(2).any(|pair| pair == b"--")
    }
);

text_id!(
    /// The module that owns a PostgreSQL schema of the same name in every tenant database.
    SchemaOwner,
    "a schema owner",
    "a letter, then up to 39 of a-z, 0-9 and _; not pg_... and no word that SQL reserves",
    "entries",
    "^[a-z][a-z0-9_]{0,39}$",
    |text| {
        matches!(text, [first, rest @ ..]
            if first.is_ascii_lowercase()
                && rest.len() <= 39
                && rest.iter().all(|&b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
            && !text.starts_with(b"pg_")
            && !matches!(text, b"public" | b"information_schema")
            && !RESERVED.iter().any(|word| word.as_bytes() == text)
    }
);

/// Words that SQL reserves, which statements would have to quote (PostgreSQL's documentation, appendix C).
#[rustfmt::skip]
const RESERVED: [&str; 99] = [
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization",
    "binary", "both", "case", "cast", "check", "collate", "collation", "column", "concurrently",
    "constraint", "create", "cross", "current_catalog", "current_date", "current_role", "current_schema",
    "current_time", "current_timestamp", "current_user", "default", "deferrable", "desc", "distinct",
    "do", "else", "end", "except", "false", "fetch", "for", "foreign", "freeze", "from", "full", "grant",
    "group", "having", "ilike", "in", "initially", "inner", "intersect", "into", "is", "isnull", "join",
    "lateral", "leading", "left", "like", "limit", "localtime", "localtimestamp", "natural", "not",
    "notnull", "null", "offset", "on", "only", "or", "order", "outer", "overlaps", "placing", "primary",
    "references", "returning", "right", "select", "session_user", "similar", "some", "symmetric",
    "tablesample", "table", "then", "to", "trailing", "true", "union", "unique", "user", "using",
    "variadic", "verbose", "when", "where", "window",
];

text_id!(
    /// A PostgreSQL server that holds tenant databases.
    ClusterName,
    "a cluster name",
    "1 to 40 of a-z, 0-9 and -, starting with a letter",
    "main",
    "^[a-z][a-z0-9-]{0,39}$",
    is_short_name
);

text_id!(
    /// A program that registers with the platform, e.g. `app-service`.
    ServiceName,
    "a service name",
    "1 to 40 of a-z, 0-9 and -, starting with a letter",
    "app-service",
    "^[a-z][a-z0-9-]{0,39}$",
    is_short_name
);

fn is_short_name(text: &[u8]) -> bool {
    matches!(text, [first, rest @ ..]
        if first.is_ascii_lowercase()
            && rest.len() <= 39
            && rest.iter().all(|&b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
}

impl Slug {
    /// The id that a first slug gives: `-` becomes `_`, a leading digit gets an `n`.
    ///
    /// Two slugs can give one id (`1a`, `n1a`); the registry's primary key decides who has it.
    pub fn tenant_id(&self) -> TenantId {
        let prefix = if self.0.as_bytes()[0].is_ascii_digit() {
            "t_n"
        } else {
            "t_"
        };
        TenantId(format!("{prefix}{}", self.0.replace('-', "_")).into())
    }
}

/// Defines the id of a kind of thing: a prefix and a UUIDv7, e.g. `ent_0192...` (32 hex digits).
///
/// The text of one kind never parses as another, so a wrong kind is a clear refusal at the edge.
#[macro_export]
macro_rules! prefixed_id {
    ($(#[doc = $doc:literal])+ $name:ident, $prefix:literal, $kind:literal) => {
        $(#[doc = $doc])+
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            ::serde::Serialize, ::serde::Deserialize,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(::uuid::Uuid);

        impl ::utoipa::PartialSchema for $name {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::Schema> {
                $crate::ids::describe_prefixed($prefix, concat!($($doc),+).trim())
            }
        }

        impl ::utoipa::ToSchema for $name {}

        impl $name {
            /// A new id; later ids sort after earlier ones.
            #[expect(clippy::new_without_default, reason = "every call gives another id")]
            pub fn new() -> Self {
                Self(::uuid::Uuid::now_v7())
            }

            /// The id of a stored UUID.
            pub const fn from_uuid(uuid: ::uuid::Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID as it is stored.
            pub const fn uuid(self) -> ::uuid::Uuid {
                self.0
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::ids::InvalidPrefixedId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::ids::parse_prefixed(text, $prefix, $kind).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::ids::InvalidPrefixedId;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(self, f)
            }
        }
    };
}

/// Why a text is not the id of the wanted kind of thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrefixedId {
    /// An id of another kind of thing.
    #[error("this is the id of another kind of thing; {kind} starts with `{prefix}_`")]
    OtherKind {
        /// The kind that was wanted, with its article.
        kind: &'static str,
        /// The prefix that was wanted.
        prefix: &'static str,
    },
    /// Not an id at all.
    #[error("{kind} is `{prefix}_` and 32 hexadecimal digits")]
    Malformed {
        /// The kind that was wanted, with its article.
        kind: &'static str,
        /// The prefix that was wanted.
        prefix: &'static str,
    },
}

#[doc(hidden)]
pub fn parse_prefixed(
    text: &str,
    prefix: &'static str,
    kind: &'static str,
) -> Result<Uuid, InvalidPrefixedId> {
    let malformed = InvalidPrefixedId::Malformed { kind, prefix };
    let (found, digits) = text.rsplit_once('_').ok_or_else(|| malformed.clone())?;
    let simple = digits.len() == 32
        && digits
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !simple {
        return Err(malformed);
    }
    if found != prefix {
        return Err(InvalidPrefixedId::OtherKind { kind, prefix });
    }
    Uuid::try_parse(digits).map_err(|_| malformed)
}

/// How API descriptions show an id with this prefix.
#[doc(hidden)]
pub fn describe_prefixed(prefix: &str, description: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .description(Some(description))
        .pattern(Some(format!("^{prefix}_[0-9a-f]{{32}}$")))
        .examples([format!("{prefix}_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")])
        .into()
}

prefixed_id!(
    /// A recorded, resumable piece of platform work on a tenant.
    OperationId,
    "op",
    "the id of an operation"
);
prefixed_id!(
    /// A running process of a service.
    ReplicaId,
    "rep",
    "the id of a replica"
);

impl ReplicaId {
    /// The `application_name` of its sessions: a service opens them under it, and the platform asks a server
    /// by it whether a replica that is not heard still has one.
    pub fn application_name(self, service: &ServiceName) -> String {
        /// PostgreSQL keeps this much of one.
        const MOST_BYTES: usize = 63;
        let mut name = format!("{service}/{}", self.0.simple());
        name.truncate(MOST_BYTES);
        name
    }
}

#[cfg(test)]
mod tests;

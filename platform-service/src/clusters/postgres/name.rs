//! The names of databases and roles that are ours.
//!
//! Deliberately the only way from a text to a name in a statement. Invariants: a name fits the 63 bytes
//! that PostgreSQL keeps of one; one that is not a tenant's holds a `:`, which no tenant's does.

use std::fmt;
use std::str::FromStr;

use contract::TenantId;
use uuid::Uuid;

/// A database of ours and the role of the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Name {
    /// A tenant's.
    Tenant(TenantId),
    /// A ready copy, by its number.
    Stock(i64),
    /// A template, by its number; it has no role.
    Template(i64),
    /// That of a deleted tenant, by its copy.
    Deleted(TenantId, u32),
    /// One that is to become a tenant's, by the copy that it will be; it has no role of its own but on
    /// another cluster.
    Side(TenantId, u32),
    /// One that was a tenant's, by the copy that it was.
    Old(TenantId, u32),
    /// One to try something in, by its operation; it has no role.
    Scratch(Uuid),
    /// An operator's login for a time; it has no database.
    Psql(Uuid),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant) => write!(f, "{tenant}"),
            Self::Stock(number) => write!(f, "stock:{number}"),
            Self::Template(number) => write!(f, "tpl:{number}"),
            Self::Deleted(tenant, copy) => write!(f, "deleted:{tenant}:{copy}"),
            Self::Side(tenant, copy) => write!(f, "side:{tenant}:{copy}"),
            Self::Old(tenant, copy) => write!(f, "old:{tenant}:{copy}"),
            Self::Scratch(operation) => write!(f, "scratch:{}", operation.simple()),
            Self::Psql(login) => write!(f, "psql:{}", login.simple()),
        }
    }
}

/// A text that names no database of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a database of ours")]
pub(crate) struct NotOurs;

impl FromStr for Name {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        fn read<T: FromStr>(text: &str) -> Result<T, NotOurs> {
            text.parse().map_err(|_| NotOurs)
        }
        let copy_of = |text: &str| -> Result<(TenantId, u32), NotOurs> {
            let (tenant, copy) = text.rsplit_once(':').ok_or(NotOurs)?;
            Ok((read(tenant)?, read(copy)?))
        };
        let name = match text.split_once(':') {
            Some(("stock", number)) => Self::Stock(read(number)?),
            Some(("tpl", number)) => Self::Template(read(number)?),
            Some(("deleted", rest)) => copy_of(rest).map(|(of, copy)| Self::Deleted(of, copy))?,
            Some(("side", rest)) => copy_of(rest).map(|(of, copy)| Self::Side(of, copy))?,
            Some(("old", rest)) => copy_of(rest).map(|(of, copy)| Self::Old(of, copy))?,
            Some(("scratch", id)) => Self::Scratch(read(id)?),
            Some(("psql", id)) => Self::Psql(read(id)?),
            Some(_) => return Err(NotOurs),
            None => Self::Tenant(read(text)?),
        };
        if name.to_string() == text {
            Ok(name)
        } else {
            Err(NotOurs)
        }
    }
}

//! Holds the schemas of a database that is to be adopted against what migrations make of nothing.
//!
//! Deliberately with a database that is made for this alone, on the same server, as drift does.
//! Invariant: it reads; what would set rights is given as statements.

use contract::Code;
use contract::operator::rollout::Difference;
use contract::tenant::{DATA_ROLE, READ_ROLE, SIGN_IN_ROLE};
use kit::error::Problem;
use sqlx::Connection as _;

use super::judge::Schemas;
use crate::clusters::connections::{ClusterRole, Server};
use crate::clusters::postgres::foreign::Found;
use crate::clusters::postgres::{Name, contents};
use crate::clusters::{services, spare};
use crate::drift::diff::{Drifted, Kind, diff};
use crate::drift::store;
use crate::platform::Platform;
use crate::stop::Stop;

/// Differences that are named.
const NAMED: usize = 5;
/// What is about the table of a history.
const HISTORY: &str = ".refinery_schema_history";

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Statements that give the platform's groups the rights that migrations would have given.
    pub(crate) rights: Vec<String>,
    /// The same for the tables of histories that the baseline makes.
    pub(crate) history_rights: Vec<String>,
    /// What differs in schemas that are said to have a version, in words.
    pub(crate) wrong: Vec<String>,
    /// The same in schemas that have a history.
    pub(crate) drifted: Vec<String>,
    /// Statements that take rights from everybody.
    pub(crate) open: Vec<String>,
}

impl Compared {
    /// Why the database cannot be adopted like this.
    pub(crate) fn refusal(&self) -> Option<Problem> {
        if !self.wrong.is_empty() {
            let detail = format!("The baseline is wrong: {}.", named(&self.wrong));
            return Some(Problem::new(Code::ValidationFailed).detail(detail));
        }
        if !self.open.is_empty() {
            let detail = format!(
                "Everybody has rights in schemas of ours; run first: {}.",
                self.open.join("; ")
            );
            return Some(Problem::new(Code::Conflict).detail(detail));
        }
        None
    }
}

/// The first of some texts.
pub(crate) fn named(texts: &[String]) -> String {
    let first = texts.iter().take(NAMED).cloned().collect::<Vec<_>>();
    let more = texts.len().saturating_sub(NAMED);
    match more {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// How a schema's version is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// An operator says so; its history is not there yet.
    Said,
    /// Its history says so.
    Noted,
}

impl Compared {
    fn add(&mut self, standing: Standing, drifted: Vec<Drifted>) {
        for one in drifted {
            let is_history = one.object.contains(HISTORY);
            // Whatever is there gets an owner of ours.
            if one.object.starts_with("owner of ") {
                continue;
            }
            if is_history && standing == Standing::Said {
                if one.kind == Kind::Right && one.difference == Difference::Missing {
                    self.history_rights.extend(one.mend);
                }
                continue;
            }
            match (one.kind, standing) {
                (Kind::Right, _) => self.add_right(one),
                (Kind::Object, Standing::Said) => self.wrong.push(words(&one)),
                (Kind::Object, Standing::Noted) => self.drifted.push(words(&one)),
            }
        }
    }

    fn add_right(&mut self, drifted: Drifted) {
        let Some(mend) = drifted.mend else {
            return;
        };
        let of = |role: &str| drifted.object.starts_with(&format!("right of {role} to "));
        match drifted.difference {
            Difference::Extra if of("public") => self.open.push(mend),
            // Others cannot connect any more, and keep what they had in case it is undone.
            Difference::Extra if ![DATA_ROLE, READ_ROLE, SIGN_IN_ROLE].into_iter().any(of) => {}
            _ => self.rights.push(mend),
        }
    }
}

fn words(drifted: &Drifted) -> String {
    let how = match drifted.difference {
        Difference::Missing => "is missing",
        Difference::Extra => "should not be there",
        Difference::Different => "is another one",
    };
    format!("{} {how}", drifted.object)
}

/// Makes the schemas in an empty database beside the tenants', and compares.
pub(crate) async fn compare(
    platform: &Platform,
    (server, scratch): (&Server, &Name),
    found: &Found,
    schemas: &Schemas,
) -> Result<Compared, Stop> {
    let reference = server.database(scratch, spare::copy_of(scratch));
    let services = services::living(platform).await?;
    let made = services::make_at(platform, &services, &reference, &schemas.there).await?;
    let mut compared = Compared::default();
    for (owner, version) in &schemas.there {
        if made.get(owner) != Some(version) {
            compared
                .wrong
                .push(format!("{owner} has no version {version}"));
        }
    }
    let mut expected = server
        .connect_as(platform, ClusterRole::Schema, &reference)
        .await?;
    let place = (found.oid, found.name.as_str());
    let mut inside = server
        .connect_foreign(platform, ClusterRole::Schema, place)
        .await?;
    contents::only_read(&mut inside).await?;
    for owner in schemas.there.keys() {
        let one = [owner.to_string()];
        let expected = store::catalog(&mut expected, &one).await?;
        let found = store::catalog(&mut inside, &one).await?;
        let standing = match schemas.baseline.contains_key(owner) {
            true => Standing::Said,
            false => Standing::Noted,
        };
        compared.add(standing, diff(&expected, &found));
    }
    inside.close().await?;
    expected.close().await?;
    Ok(compared)
}

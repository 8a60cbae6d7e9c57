//! Whether a database can be adopted: rules over what was seen of it.
//!
//! Deliberately pure. Invariants: every look has its line, passed or not; what an administrator has to
//! run stands with it.

use contract::operator::adoption::{AdoptionCheck, CheckOutcome};
use contract::tenant::PLATFORM_ROLE;
use contract::{Code, SchemaOwner, SchemaVersions};
use kit::error::Problem;
use serde::{Deserialize, Serialize};

use super::compare::{Compared, named};
use crate::clusters::postgres::Name;
use crate::clusters::postgres::contents::{Inside, Schema};
use crate::clusters::postgres::foreign::Facts;

/// Databases of every server.
const SYSTEM: [&str; 3] = ["postgres", "template0", "template1"];
/// What the marker of a database of ours begins with.
const MARKER: &str = "tenantry:";
/// Sessions, settings and the like that are named.
const MOST_DETAIL_CHARS: usize = 300;

/// What was seen of a database.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) facts: Facts,
    /// None where the platform cannot get in.
    pub(crate) inside: Option<Inside>,
    /// Whose it is, as far as the registry knows.
    pub(crate) whose: Whose,
    /// What the living services bring.
    pub(crate) newest: SchemaVersions,
}

/// Whose a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The registry itself.
    Registry,
    /// A tenant's that the registry has.
    Tenant,
    /// Somebody else's.
    Foreign,
}

/// The schemas of ours that a database has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Schemas {
    /// Their versions, which their history or an operator says.
    pub(crate) there: SchemaVersions,
    /// Those of them that an operator says.
    pub(crate) baseline: SchemaVersions,
}

/// Who can log in afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum People {
    /// An owner is asked for.
    NewOwner,
    /// Those who are in the database.
    Present,
}

/// What was found, and whether it will do.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) checks: Vec<AdoptionCheck>,
    pub(crate) schemas: Schemas,
}

impl Verdict {
    /// The first check that failed, as a refusal.
    pub(crate) fn refusal(&self) -> Option<Problem> {
        let failed = |check: &&AdoptionCheck| check.outcome == CheckOutcome::Failed;
        let check = self.checks.iter().find(failed)?;
        let mut words = check.detail.clone().unwrap_or_default();
        if !check.statements.is_empty() {
            words += &format!(" Run first: {}.", check.statements.join("; "));
        }
        let field = match check.check.as_str() {
            "baseline" => Some("/baseline"),
            "owner" => Some("/password"),
            _ => None,
        };
        let code = check.code.unwrap_or(Code::Conflict);
        let problem = Problem::new(code).detail(words.clone());
        Some(match field {
            Some(field) if code == Code::ValidationFailed => problem.and_field(field, words),
            _ => problem,
        })
    }
}

fn check(name: &str, outcome: CheckOutcome, detail: impl Into<String>) -> AdoptionCheck {
    let detail: String = detail.into();
    AdoptionCheck {
        check: name.to_owned(),
        outcome,
        code: (outcome == CheckOutcome::Failed).then_some(Code::Conflict),
        detail: (!detail.is_empty()).then(|| detail.chars().take(MOST_DETAIL_CHARS).collect()),
        statements: Vec::new(),
    }
}

fn passed(name: &str) -> AdoptionCheck {
    check(name, CheckOutcome::Passed, "")
}

/// `failed` where a rule is broken.
fn must(name: &str, kept: bool, words: impl Into<String>) -> AdoptionCheck {
    if kept {
        passed(name)
    } else {
        check(name, CheckOutcome::Failed, words)
    }
}

/// A warning where there is something to say.
fn warn(name: &str, texts: &[String], words: impl FnOnce(String) -> String) -> AdoptionCheck {
    if texts.is_empty() {
        passed(name)
    } else {
        check(name, CheckOutcome::Warning, words(texts.join(", ")))
    }
}

/// Judges a database.
pub(crate) fn judge(looked: &Looked, baseline: &SchemaVersions, people: People) -> Verdict {
    let facts = &looked.facts;
    let mut checks = vec![
        ours(looked),
        must(
            "connections",
            facts.is_open && !facts.is_half_dropped,
            "The database takes no connections.",
        ),
        must(
            "encoding",
            facts.encoding == "UTF8",
            format!("The database is encoded in {}, not UTF8.", facts.encoding),
        ),
        must(
            "prepared_transactions",
            facts.prepared_transactions == 0,
            "The database has prepared transactions: commit them or roll them back.",
        ),
        rights(facts),
        entry(facts),
        sessions(facts),
        warn("settings", &facts.settings, |settings| {
            format!("The database keeps settings of its own: {settings}.")
        }),
    ];
    let Some(inside) = &looked.inside else {
        return Verdict {
            checks,
            schemas: Schemas::default(),
        };
    };
    checks.push(ownership(inside));
    checks.push(warn("extensions", &inside.extensions, |extensions| {
        format!(
            "A copy, a restore or a move needs the right to make the extensions {extensions} as well."
        )
    }));
    let (schemas, check) = schemas(inside, baseline, &looked.newest);
    checks.push(check);
    checks.push(owner(&schemas, people));
    Verdict { checks, schemas }
}

/// The same of what a comparison found.
pub(crate) fn judge_compared(compared: &Compared) -> Vec<AdoptionCheck> {
    let mut baseline = must(
        "comparison",
        compared.wrong.is_empty(),
        format!("The baseline is wrong: {}.", named(&compared.wrong)),
    );
    if baseline.outcome == CheckOutcome::Failed {
        baseline.code = Some(Code::ValidationFailed);
    }
    let mut open = must(
        "public_rights",
        compared.open.is_empty(),
        "Everybody has rights in schemas of ours.",
    );
    open.statements.clone_from(&compared.open);
    let drifted = warn("drift", &compared.drifted, |_| {
        format!(
            "Schemas differ from what their migrations make: {}.",
            named(&compared.drifted)
        )
    });
    vec![baseline, open, drifted]
}

fn ours(looked: &Looked) -> AdoptionCheck {
    let facts = &looked.facts;
    let name = facts.found.name.as_str();
    let marker = facts.found.comment.as_deref().unwrap_or_default();
    let is_derived = !matches!(name.parse::<Name>(), Ok(Name::Tenant(_)) | Err(_));
    let words = if looked.whose == Whose::Registry {
        "It is the registry."
    } else if SYSTEM.contains(&name) || facts.is_template {
        "It is a database of the server's own, or a template."
    } else if marker.starts_with(MARKER) || is_derived || looked.whose == Whose::Tenant {
        "It is a database of ours already."
    } else {
        return passed("foreign");
    };
    check("foreign", CheckOutcome::Failed, words)
}

fn rights(facts: &Facts) -> AdoptionCheck {
    let mut rights = must(
        "rights",
        facts.may_alter,
        format!(
            "{PLATFORM_ROLE} may not alter the database, which {} owns.",
            facts.found.owner
        ),
    );
    if !facts.may_alter {
        rights.statements.push(facts.let_alter());
    }
    rights
}

fn entry(facts: &Facts) -> AdoptionCheck {
    let mut entry = must(
        "entry",
        facts.may_enter,
        "The platform may not connect to the database.",
    );
    if !facts.may_enter {
        entry.statements.push(facts.let_in());
    }
    entry
}

fn sessions(facts: &Facts) -> AdoptionCheck {
    let warning = |words| check("sessions", CheckOutcome::Warning, words);
    if !facts.superusers.is_empty() {
        return warning(format!(
            "Sessions of superusers ({}) must be gone, and only they can end them; these would be \
             ended: {}.",
            facts.superusers.join(", "),
            facts.sessions.join(", ")
        ));
    }
    warn("sessions", &facts.sessions, |who| {
        format!("These sessions would be ended: {who}.")
    })
}

fn ownership(inside: &Inside) -> AdoptionCheck {
    let mut ownership = must(
        "ownership",
        inside.obstacles.is_empty(),
        match inside.unshown {
            0 => "What is in the database cannot be taken over.".to_owned(),
            more => format!(
                "What is in the database cannot be taken over; {more} more statements are not shown."
            ),
        },
    );
    ownership.statements.clone_from(&inside.obstacles);
    ownership
}

/// Which schemas of ours there are, and at which version.
fn schemas(
    inside: &Inside,
    baseline: &SchemaVersions,
    newest: &SchemaVersions,
) -> (Schemas, AdoptionCheck) {
    let mut found = Schemas::default();
    let mut wrong = Vec::new();
    if let Some(unknown) = baseline.keys().find(|owner| !newest.contains_key(*owner)) {
        wrong.push(format!("no service owns a schema {unknown}"));
    }
    for (owner, newest) in newest {
        let there = inside
            .schemas
            .iter()
            .find(|schema| schema.name == owner.as_str());
        match standing(owner, there, baseline.get(owner).copied(), *newest) {
            Ok(None) => {}
            Ok(Some(Standing::Noted(version))) => {
                found.there.insert(owner.clone(), version);
            }
            Ok(Some(Standing::Said(version))) => {
                found.there.insert(owner.clone(), version);
                found.baseline.insert(owner.clone(), version);
            }
            Err(words) => wrong.push(words),
        }
    }
    let mut check = must(
        "baseline",
        wrong.is_empty(),
        format!("{}.", wrong.join("; ")),
    );
    if check.outcome == CheckOutcome::Failed {
        check.code = Some(Code::ValidationFailed);
    }
    (found, check)
}

/// How the version of a schema is known.
enum Standing {
    Noted(i32),
    Said(i32),
}

fn standing(
    owner: &SchemaOwner,
    there: Option<&Schema>,
    said: Option<i32>,
    newest: i32,
) -> Result<Option<Standing>, String> {
    match (there.map(|schema| schema.version), said) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(format!("the database has no schema {owner}")),
        (Some(Some(noted)), _) if noted > newest => Err(format!(
            "{owner} has version {noted}, and the services here bring {newest}"
        )),
        // A history leads: a try that was undone may have brought the schema past the baseline.
        (Some(Some(noted)), Some(said)) if said > noted => {
            Err(format!("the history of {owner} says {noted}, not {said}"))
        }
        (Some(Some(noted)), _) => Ok(Some(Standing::Noted(noted))),
        (Some(None), Some(said)) if (1..=newest).contains(&said) => Ok(Some(Standing::Said(said))),
        (Some(None), Some(_)) => Err(format!("a baseline of {owner} is 1 to {newest}")),
        (Some(None), None) => Err(format!(
            "the schema {owner} has no history: give the version that it has as its baseline, 1 to \
             {newest}, or rename it where it is nothing of ours"
        )),
    }
}

fn owner(schemas: &Schemas, people: People) -> AdoptionCheck {
    let has_people = !schemas.there.is_empty() || people == People::NewOwner;
    let mut owner = must(
        "owner",
        has_people,
        "Nobody could log in: the database has no people yet, so send a password for the owner.",
    );
    if !has_people {
        owner.code = Some(Code::ValidationFailed);
    }
    owner
}

#[cfg(test)]
mod tests;

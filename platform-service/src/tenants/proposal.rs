//! A slug that is refused comes with one that would be taken.
//!
//! Deliberately a proposal alone: nobody gets a name that they did not ask for. Invariant: what is proposed
//! is free, and allowed, at the moment that it is looked for.

use contract::{Code, Slug};
use kit::error::{Problem, Result};
use sqlx::PgConnection;

use super::{slug, store};

/// Of a text that is no slug, this much is read for a proposal.
const MAX_CHARS_READ: usize = 100;
/// What a name is made of that gives no letter of its own.
const FALLBACK: &str = "tenant";

/// What a slug may be made of, the best first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    /// None derives it from the company.
    pub(super) slug: Option<&'a str>,
    pub(super) company: &'a str,
    pub(super) email: &'a str,
}

impl Names<'_> {
    /// The nearest slug, which may be taken or reserved.
    fn nearest(&self) -> Option<Slug> {
        let mailbox = self.email.split('@').next();
        [self.slug, Some(self.company), mailbox, Some(FALLBACK)]
            .into_iter()
            .flatten()
            .find_map(near)
    }
}

fn near(text: &str) -> Option<Slug> {
    let bounded: String = text.chars().take(MAX_CHARS_READ).collect();
    slug::derive(&bounded)
}

/// The slug that is meant, or the one that the company's name gives.
///
/// # Errors
/// It breaks the rule of slugs, or the name gives none.
pub(super) async fn wanted_slug(connection: &mut PgConnection, names: Names<'_>) -> Result<Slug> {
    let refused = match names.slug.map(str::parse::<Slug>) {
        Some(Ok(slug)) => return Ok(slug),
        Some(Err(invalid)) => Problem::field("/slug", format!("must be {}", invalid.rule())),
        None => match slug::derive(names.company) {
            Some(slug) => return Ok(slug),
            None => Problem::field(
                "/slug",
                "cannot be derived from the company's name; send one",
            ),
        },
    };
    match names.nearest() {
        Some(near) => Err(beside(connection, refused, near).await?),
        None => Err(refused),
    }
}

/// What to say of a slug that somebody has.
pub(super) async fn taken(connection: &mut PgConnection, slug: Slug) -> Result<Problem> {
    beside(connection, Problem::new(Code::SlugTaken), slug).await
}

/// Adds a slug that nobody has to a refusal: this one, or the nearest that is free.
pub(super) async fn beside(
    connection: &mut PgConnection,
    problem: Problem,
    slug: Slug,
) -> Result<Problem> {
    let mut candidates = slug::candidates(&slug);
    if !slug::is_reserved(&slug) {
        candidates.insert(0, slug);
    }
    let slugs: Vec<String> = candidates.iter().map(Slug::to_string).collect();
    let ids: Vec<String> = candidates
        .iter()
        .map(|slug| slug.tenant_id().to_string())
        .collect();
    let holders = store::find_taken(connection, &slugs, &ids).await?;
    let free = candidates.into_iter().find(|candidate| {
        let id = candidate.tenant_id();
        !holders
            .iter()
            .any(|holder| holder.slug == candidate.as_str() || holder.id == id.as_str())
    });
    Ok(match free {
        Some(free) => problem.proposal(free.to_string()),
        None => problem,
    })
}

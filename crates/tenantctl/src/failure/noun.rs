//! The kinds of things that paths of the API name: what one is called, and the command that lists them.
//!
//! Deliberately only of refusals: what a command shows is its own. Invariant: a kind of thing stands in one
//! table, so that whatever can be said to be missing can be listed.

use contract::Code;
use percent_encoding::percent_decode_str;

use super::Refusal;
use crate::api::Route;

/// A kind of thing.
struct Noun {
    /// What its paths begin with, after the version.
    path: &'static str,
    singular: &'static str,
    /// The command that lists it.
    list: &'static str,
}

const NOUNS: [Noun; 8] = [
    noun("tenants", "tenant", "tenantctl tenants list"),
    noun("clusters", "cluster", "tenantctl clusters list"),
    noun("operations", "operation", "tenantctl operations list"),
    noun("rollouts", "rollout", "tenantctl rollouts list"),
    noun("backups", "backup", "tenantctl backups list"),
    noun("findings", "finding", "tenantctl findings list"),
    noun("operator-keys", "operator key", "tenantctl keys list"),
    noun("tiers", "tier", "tenantctl tiers list"),
];

const fn noun(path: &'static str, singular: &'static str, list: &'static str) -> Noun {
    Noun {
        path,
        singular,
        list,
    }
}

/// The kind of thing that a path is about, and the one that it names.
fn named(path: &str) -> Option<(&'static Noun, Option<&str>)> {
    let mut parts = path.strip_prefix("/v1/")?.split('/');
    let first = parts.next()?;
    let noun = NOUNS.iter().find(|noun| noun.path == first)?;
    Some((noun, parts.next()))
}

/// What is refused, in a line: a path that names nothing is said as the thing that there is not.
pub(super) fn refused(route: &Route, refusal: &Refusal) -> String {
    if !refusal.is(Code::NotFound) {
        return refusal.title.clone();
    }
    // A detail says that something else is missing: the thing itself is there, or none is in the path.
    if let Some(detail) = &refusal.detail {
        return detail.trim_end_matches('.').to_owned();
    }
    match named(&route.path) {
        Some((noun, Some(id))) => {
            let id = percent_decode_str(id).decode_utf8_lossy();
            format!("There is no {} {id}", noun.singular)
        }
        _ => refusal.title.clone(),
    }
}

/// The command that lists what a path names one of.
pub(super) fn list_of(path: &str) -> Option<&'static str> {
    named(path).map(|(noun, _)| noun.list)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn missing(path: &str, detail: Option<&str>) -> String {
        let refusal = Refusal {
            detail: detail.map(str::to_owned),
            ..Refusal::of(Code::NotFound)
        };
        refused(&Route::get(path), &refusal)
    }

    #[test]
    fn what_is_missing_is_named_and_not_what_the_path_begins_with() {
        let path = "/v1/tenants/t_acme/restore-backup";
        assert_eq!(missing(path, None), "There is no tenant t_acme");
        let backup = missing(path, Some("There is no such backup."));
        assert_eq!(backup, "There is no such backup");
    }

    #[test]
    fn a_name_is_said_as_it_is_typed() {
        let find = missing("/v1/findings/database%2Fmain%2Ft%5Flost", None);
        assert_eq!(find, "There is no finding database/main/t_lost");
        let removed = missing("/v1/clusters/old?confirm=old", None);
        assert_eq!(removed, "There is no cluster old");
    }

    #[test]
    fn a_path_that_names_nothing_has_the_title_of_its_code() {
        for path in ["/v1/tenants", "/v1/doctor", "/healthz"] {
            assert_eq!(missing(path, None), Code::NotFound.title(), "{path}");
        }
    }

    #[test]
    fn every_list_is_a_command() {
        for noun in &NOUNS {
            let path = format!("/v1/{}/x", noun.path);
            let list = list_of(&path).unwrap();
            assert!(Cli::try_parse_from(list.split(' ')).is_ok(), "{list}");
        }
    }
}

//! One turn of several tenants: each service brings its schemas up in as many databases as it likes.
//!
//! Deliberately chooses neither who shares a call nor what a failure means. Invariants: no more than one database of
//! a call is told as failed, however many services there are, and it is the last one that is told of.

use contract::SchemaVersions;
use contract::internal::{KnownDatabase, MigrateRequest, Migrated};

use super::{covers, next_replica, none_newest};
use crate::platform::Platform;
use crate::replicas::{self, LiveService};
use crate::stop::Stop;

/// Lets the services that have something newer than is known of these databases bring their schemas in
/// them up, one after the other. `spread` counts the calls, so that they go round.
///
/// Gives what came of the first of them, at least of one; the others have not had their turn. A database
/// that does not come up ends it, as time does.
///
/// # Errors
/// The first one could not be worked with.
pub(crate) async fn bring_up(
    platform: &Platform,
    services: &[LiveService],
    databases: &[KnownDatabase],
    spread: usize,
) -> Result<Vec<Migrated>, Stop> {
    let mut brought = vec![Migrated::default(); databases.len()];
    for service in services {
        let newest = replicas::newest_versions(std::slice::from_ref(service));
        let behind: Vec<usize> = (0..brought.len())
            .filter(|at| brought[*at].failed.is_none() && !covers(&databases[*at].known, &newest))
            .collect();
        let Some(first) = behind.first() else {
            continue;
        };
        let asked = behind.iter().map(|at| &databases[*at]);
        let answers = match bring_up_by(platform, service, (asked, &newest), spread).await {
            Err(stop) if *first == 0 => return Err(stop),
            // It says so again when it is the first one itself.
            Err(_) => Vec::new(),
            Ok(answers) => answers,
        };
        note(&mut brought, &behind, answers);
    }
    Ok(brought)
}

/// Notes what a service says of those that are behind; who comes after the first that fails, or has no answer,
/// has not had its turn, whatever other services have brought there.
fn note(brought: &mut Vec<Migrated>, behind: &[usize], answers: Vec<Migrated>) {
    let untouched = behind.get(answers.len()).copied();
    for (at, answer) in behind.iter().zip(answers) {
        brought[*at].schema_versions.extend(answer.schema_versions);
        brought[*at].failed = answer.failed;
    }
    let failed = brought.iter().position(|one| one.failed.is_some());
    let had_turn = [untouched, failed.map(|at| at + 1)];
    let most = had_turn.into_iter().flatten().min();
    brought.truncate(most.unwrap_or(brought.len()));
}

/// Asks the replicas of a service in turn until one brings its newest versions, or has tried. A replica may
/// leave out all but the first database, as those do that know of no more.
async fn bring_up_by(
    platform: &Platform,
    service: &LiveService,
    (databases, newest): (
        impl Iterator<Item = &KnownDatabase> + Clone,
        &SchemaVersions,
    ),
    spread: usize,
) -> Result<Vec<Migrated>, Stop> {
    let mut databases = databases.cloned();
    let Some(first) = databases.next() else {
        return Ok(Vec::new());
    };
    let request = MigrateRequest {
        database: first.database,
        known: Some(first.known),
        baseline: SchemaVersions::new(),
        until: None,
        more: databases.collect(),
    };
    let has_ended =
        |answer: &Migrated| answer.failed.is_some() || covers(&answer.schema_versions, newest);
    let urls = &service.internal_urls;
    let mut last = None;
    for url in urls
        .iter()
        .cycle()
        .skip(spread % urls.len().max(1))
        .take(urls.len())
    {
        match platform.services.migrate(url, &request).await {
            Ok(answer) if has_ended(&answer.first) => {
                let more = answer.more.into_iter().take(request.more.len());
                let answers = std::iter::once(answer.first).chain(more);
                return Ok(answers.take_while(has_ended).collect());
            }
            Ok(_) => {}
            Err(error) => last = Some(next_replica(error)?),
        }
    }
    Err(Stop::Retry(last.unwrap_or_else(|| none_newest(service))))
}

#[cfg(test)]
mod tests {
    use contract::internal::FailedMigration;

    use super::*;

    fn answer(owner: &str, fails: &[usize], at: usize) -> Migrated {
        let owner: contract::SchemaOwner = owner.parse().unwrap();
        let failed = fails.contains(&at).then(|| FailedMigration {
            owner: owner.clone(),
            migration: "V2__second".to_owned(),
            sqlstate: None,
            message: String::new(),
            statement: None,
        });
        Migrated {
            schema_versions: [(owner, 2)].into(),
            failed,
        }
    }

    #[test]
    fn of_all_services_the_first_that_fails_is_the_last_that_is_told_of() {
        for (first, second, told) in [
            (&[][..], &[][..], (6, None)),
            (&[4], &[], (5, Some(4))),
            // Before the one that another service failed at: that one has another turn.
            (&[4], &[1], (2, Some(1))),
            (&[1], &[], (2, Some(1))),
            (&[0], &[], (1, Some(0))),
        ] {
            let mut brought = vec![Migrated::default(); 6];
            for (owner, fails) in [("first", first), ("second", second)] {
                let behind: Vec<usize> = (0..brought.len())
                    .filter(|at| brought[*at].failed.is_none())
                    .collect();
                let answers = behind.iter().map(|at| answer(owner, fails, *at));
                note(&mut brought, &behind, answers.collect());
            }
            let failed: Vec<usize> = (0..brought.len())
                .filter(|at| brought[*at].failed.is_some())
                .collect();
            assert_eq!(
                (brought.len(), failed),
                (told.0, told.1.into_iter().collect())
            );
        }
    }

    #[test]
    fn who_is_left_out_by_a_service_has_not_had_its_turn() {
        let mut brought = vec![Migrated::default(); 6];
        // The third and the fifth have what this service brings.
        note(
            &mut brought,
            &[0, 1, 3, 5],
            vec![answer("first", &[], 0); 2],
        );
        assert_eq!(brought.len(), 3);
        assert!(brought[2].schema_versions.is_empty());
    }
}

//! Removing the object that an operation leaves behind.
//!
//! Deliberately gives up after a few tries: no tenant is held by a store that refuses. Invariant: what is
//! not removed has no row of its own any more, so a sweep finds it after its grace, and an upload goes with
//! its age.

use kit::error::chain;

use super::archive::{object_path, object_stop, objects};
use crate::operations::Head;
use crate::platform::Platform;
use crate::stop::Stop;

/// Tries to remove an object before it is left where it is: about two seconds.
const TRIES: i32 = 5;

/// Removes an object that nobody needs; nothing there is success, and so is a store that does not let go
/// of it.
pub(crate) async fn discard(platform: &Platform, head: &Head, object: &str) -> Result<(), Stop> {
    let path = object_path(object)?;
    let removed = match objects(&platform.settings) {
        Ok(objects) => objects.delete(&path).await.map_err(object_stop),
        Err(problem) => Err(problem.into()),
    };
    match judged(head.attempts, removed) {
        Judged::Gone => Ok(()),
        Judged::Again(stop) => Err(stop),
        Judged::Left(stop) => {
            let (operation, cause) = (head.id, chain(&stop.into_problem()));
            tracing::warn!(operation.id = %operation, object, cause, "an object is left to be swept");
            Ok(())
        }
    }
}

/// Whether an object is there for sure: one of a store that is away is not.
pub(crate) async fn is_there(platform: &Platform, object: &str) -> bool {
    match (objects(&platform.settings), object_path(object)) {
        (Ok(objects), Ok(path)) => objects.get(&path).await.is_ok(),
        _ => false,
    }
}

/// What becomes of an object.
#[derive(Debug)]
enum Judged {
    Gone,
    Again(Stop),
    Left(Stop),
}

fn judged(attempts: i32, removed: Result<(), Stop>) -> Judged {
    match removed {
        Ok(()) => Judged::Gone,
        Err(stop) if attempts >= TRIES => Judged::Left(stop),
        // What is refused now may be mended in a moment.
        Err(Stop::Fail(problem)) => Judged::Again(Stop::Retry(problem)),
        Err(stop) => Judged::Again(stop),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use adapters::object_store::ObjectError;

    use super::*;

    #[test]
    fn a_store_that_does_not_let_go_keeps_the_object_and_not_the_operation() {
        let refused = || ObjectError::Refused(io::ErrorKind::ReadOnlyFilesystem.into());
        let away = || ObjectError::Unavailable(io::ErrorKind::HostUnreachable.into());
        for error in [refused, away] {
            for attempts in 0..TRIES {
                let judged = judged(attempts, Err(object_stop(error())));
                assert!(
                    matches!(judged, Judged::Again(Stop::Retry(_))),
                    "{judged:?}"
                );
            }
            let judged = judged(TRIES, Err(object_stop(error())));
            assert!(matches!(judged, Judged::Left(_)), "{judged:?}");
        }
        assert!(matches!(judged(0, Ok(())), Judged::Gone));
    }
}

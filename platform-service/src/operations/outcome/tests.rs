//! The runner's rules: the way forward, the way back, and the ends of patience.

use contract::Code;
use uuid::Uuid;

use super::*;
use crate::operations::Subject;

const STEPS: &[Step] = &[
    Step::Secret,
    Step::Place,
    Step::Database,
    Step::Schema,
    Step::Provision,
    Step::Activate,
];

/// What fails after its last step is nothing.
const BACK: Way = Way {
    steps: STEPS,
    point_of_no_return: Step::Activate,
    traits: Traits::QUICK,
};
/// What fails after `Database` goes on forwards.
const FORTH: Way = Way {
    point_of_no_return: Step::Database,
    ..BACK
};

fn head(state: OperationState, step: Step) -> Head {
    Head {
        id: contract::OperationId::new(),
        lease: Uuid::now_v7(),
        parent: None,
        subject: Subject::Tenant("t_acme".parse().unwrap()),
        state,
        step,
        attempts: 0,
        failure: None,
        wish: Wish::GoOn,
        age: Duration::ZERO,
    }
}

fn running(step: Step) -> Head {
    head(OperationState::Running, step)
}

fn unwinding(step: Step) -> Head {
    head(OperationState::Unwinding, step)
}

fn retry() -> Result<(), Stop> {
    Err(Stop::Retry(Problem::new(Code::Overloaded)))
}

fn unreachable() -> Result<(), Stop> {
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    Err(Stop::from(sqlx::Error::from(refused)))
}

fn fail() -> Result<(), Stop> {
    Err(Stop::Fail(
        Problem::new(Code::Conflict).detail("It is somebody else's."),
    ))
}

fn later() -> Result<(), Stop> {
    Err(Stop::Later {
        wait: Duration::from_secs(1),
        reason: "Something is missing.".into(),
    })
}

fn events(turn: &Turn) -> Vec<(Step, Event)> {
    turn.log
        .iter()
        .map(|entry| (entry.step, entry.event))
        .collect()
}

#[test]
fn steps_follow_each_other_to_the_end() {
    let mut current = running(Step::Secret);
    for step in STEPS.iter().copied() {
        assert_eq!(current.step, step);
        let progress = next(&current, &BACK, &Ok(()));
        assert_eq!(events(&progress)[0], (step, Event::Done));
        assert_eq!(progress.pause, None);
        (current.state, current.step) = (progress.state, progress.step);
    }
    assert_eq!(current.state, OperationState::Done);
}

#[test]
fn a_failed_step_is_undone_first_and_then_all_before_it() {
    let failed = running(Step::Schema);
    let progress = next(&failed, &BACK, &fail());
    assert_eq!(
        events(&progress),
        [
            (Step::Schema, Event::Failed),
            (Step::Schema, Event::UndoStarted)
        ]
    );
    let failure = Failure {
        code: Code::Conflict,
        detail: "It is somebody else's.".to_owned(),
    };
    assert_eq!(progress.failure.as_ref(), Some(&failure));

    let mut current = unwinding(Step::Schema);
    current.failure = progress.failure;
    for step in [Step::Schema, Step::Database, Step::Place, Step::Secret] {
        assert_eq!(current.step, step);
        let progress = next(&current, &BACK, &Ok(()));
        assert_eq!(events(&progress)[0], (step, Event::Undone));
        assert_eq!(
            progress.failure.as_ref(),
            Some(&failure),
            "why stays to be seen"
        );
        (current.state, current.step) = (progress.state, progress.step);
    }
    assert_eq!(current.state, OperationState::Undone);
}

#[test]
fn what_may_pass_is_tried_again_ever_more_slowly() {
    let mut current = running(Step::Database);
    let mut pauses = Vec::new();
    loop {
        let progress = next(&current, &BACK, &retry());
        if progress.state == OperationState::Unwinding {
            break;
        }
        assert_eq!(
            (progress.state, progress.step),
            (OperationState::Running, Step::Database)
        );
        pauses.push(progress.pause.unwrap().as_millis());
        current.attempts = progress.attempts;
    }
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
}

#[test]
fn a_wait_is_logged_once_and_has_an_end() {
    let mut current = running(Step::Place);
    let first = next(&current, &BACK, &later());
    assert_eq!(events(&first), [(Step::Place, Event::Postponed)]);
    assert_eq!(first.pause, Some(Duration::from_secs(1)));
    assert_eq!(first.attempts, 0);
    current.failure = first.failure;
    assert_eq!(events(&next(&current, &BACK, &later())), []);
    current.age = BACK.traits.patience;
    assert_eq!(
        next(&current, &BACK, &later()).state,
        OperationState::Unwinding
    );
}

#[test]
fn a_look_in_between_ends_the_tries() {
    let mut current = running(Step::Place);
    current.attempts = MOST_TRIES - 1;
    current.attempts = next(&current, &BACK, &later()).attempts;
    assert_eq!(
        next(&current, &BACK, &retry()).state,
        OperationState::Running
    );
}

#[test]
fn an_undo_waits_as_long_as_it_tries() {
    let mut current = unwinding(Step::Database);
    let turn = next(&current, &BACK, &later());
    assert_eq!((turn.state, turn.attempts), (OperationState::Unwinding, 1));
    assert_eq!(turn.failure, current.failure);
    current.attempts = MOST_UNDO_TRIES - 1;
    assert_eq!(next(&current, &BACK, &later()).state, OperationState::Stuck);
}

#[test]
fn what_waits_for_a_server_goes_on_for_as_long_as_its_patience_is() {
    let undo = unwinding(Step::Place);
    let onwards = running(Step::Schema);
    for mut current in [undo, onwards] {
        let why = current.failure.clone();
        let unwinds = current.state == OperationState::Unwinding;
        current.attempts = MOST_UNDO_TRIES - 1;
        let turn = next(&current, &FORTH, &unreachable());
        assert_eq!((turn.state, turn.step), (current.state, current.step));
        assert_eq!(turn.pause, Some(AWAY_PAUSE));
        assert_eq!(events(&turn), [(current.step, Event::Postponed)]);
        let shown = turn.failure.as_ref().map(|failure| failure.code);
        match unwinds {
            true => assert_eq!(turn.failure, why, "why stays to be seen"),
            false => assert_eq!(shown, Some(Code::DatabaseUnavailable)),
        }
        // Looked at again, in silence; what else goes wrong then is stuck.
        current.attempts = turn.attempts;
        current.age = FORTH.traits.patience - Duration::from_secs(1);
        let turn = next(&current, &FORTH, &unreachable());
        assert_eq!((turn.state, events(&turn)), (current.state, vec![]));
        assert_eq!(turn.pause, Some(AWAY_PAUSE));
        assert_eq!(
            next(&current, &FORTH, &retry()).state,
            OperationState::Stuck
        );
        let over = next(&current, &FORTH, &Ok(()));
        assert_eq!((over.attempts, over.pause), (0, None));
        current.age = FORTH.traits.patience;
        let turn = next(&current, &FORTH, &unreachable());
        assert_eq!(turn.state, OperationState::Stuck);
    }
    // What can be undone is, as soon as ever.
    let mut early = running(Step::Place);
    early.attempts = MOST_TRIES - 1;
    let turn = next(&early, &FORTH, &unreachable());
    assert_eq!(turn.state, OperationState::Unwinding);
}

#[test]
fn an_undo_that_cannot_be_done_is_stuck() {
    let progress = next(&unwinding(Step::Database), &BACK, &fail());
    assert_eq!(progress.state, OperationState::Stuck);
    assert_eq!(events(&progress), [(Step::Database, Event::UndoFailed)]);

    let mut current = unwinding(Step::Database);
    assert_eq!(
        next(&current, &BACK, &retry()).state,
        OperationState::Unwinding
    );
    current.attempts = MOST_UNDO_TRIES - 1;
    assert_eq!(next(&current, &BACK, &retry()).state, OperationState::Stuck);
}

#[test]
fn past_the_point_of_no_return_it_only_goes_on() {
    // The step itself is undone, those after it are tried for long and then somebody has to look.
    let turn = next(&running(Step::Database), &FORTH, &fail());
    assert_eq!(turn.state, OperationState::Unwinding);
    let turn = next(&running(Step::Schema), &FORTH, &fail());
    assert_eq!(
        (turn.state, turn.resumes),
        (OperationState::Stuck, Some(OperationState::Running))
    );
    assert_eq!(events(&turn), [(Step::Schema, Event::Failed)]);
    assert_eq!(
        turn.failure.map(|failure| failure.code),
        Some(Code::Conflict)
    );
    let mut tired = running(Step::Schema);
    tired.attempts = MOST_TRIES;
    assert_eq!(
        next(&tired, &FORTH, &retry()).state,
        OperationState::Running
    );
    tired.attempts = MOST_UNDO_TRIES - 1;
    assert_eq!(next(&tired, &FORTH, &retry()).state, OperationState::Stuck);
    let undo = next(&unwinding(Step::Place), &FORTH, &fail());
    assert_eq!(undo.resumes, Some(OperationState::Unwinding));
}

#[test]
fn a_cancelled_one_is_undone_as_long_as_it_can_be() {
    let cancelled = |step, way: &Way| {
        let wished = Head {
            wish: Wish::End,
            ..running(step)
        };
        way.is_cancelled(&wished)
    };
    assert!(cancelled(Step::Database, &FORTH));
    assert!(!cancelled(Step::Schema, &FORTH));
    assert!(!BACK.is_cancelled(&running(Step::Place)));
    let heeding = Way {
        traits: Traits {
            cancel: Cancel::Heeded,
            ..Traits::QUICK
        },
        ..FORTH
    };
    assert!(heeding.may_be_cancelled(OperationState::Running, Step::Schema));
    assert!(!cancelled(Step::Schema, &heeding), "its acts see to it");
    assert!(!heeding.may_be_cancelled(OperationState::Unwinding, Step::Schema));
}

#[test]
fn a_step_that_the_plan_does_not_have_is_stuck() {
    let turn = next(&running(Step::Wall), &BACK, &Ok(()));
    assert_eq!(turn.state, OperationState::Stuck);
}

#[test]
fn everybody_reads_what_the_code_means_and_no_more() {
    let failure = Failure {
        code: Code::Overloaded,
        detail: "The server db7.internal said: out of memory".to_owned(),
    };
    let shown = failure.for_everybody();
    assert_eq!(shown.code, Code::Overloaded);
    assert_eq!(shown.detail, Code::Overloaded.title());
}

#[test]
fn a_server_that_answers_and_refuses_is_not_waited_for() {
    let said = |state| {
        let message = "no";
        Stop::from(sqlx::Error::Database(Box::new(Said { state, message })))
    };
    let full = || Stop::from(sqlx::Error::PoolTimedOut);
    let unnamed = || Stop::Retry(Problem::new(Code::DatabaseUnavailable));
    let mut current = unwinding(Step::Place);
    current.attempts = MOST_UNDO_TRIES - 1;
    for stop in [said("28P01"), said("25006"), full(), unnamed()] {
        let what = stop.words();
        assert!(stop.is_unusable(), "{what}");
        let turn = next(&current, &FORTH, &Err(stop));
        assert_eq!(turn.state, OperationState::Stuck, "{what}");
    }
    for stop in [said("57P03"), said("08006")] {
        let turn = next(&current, &FORTH, &Err(stop));
        assert_eq!(turn.pause, Some(AWAY_PAUSE));
    }
    // Also where an error of ours has words of its own.
    let away = sqlx::Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let problem = Problem::new(Code::DatabaseUnavailable)
        .detail("It does not answer.")
        .caused_by(away);
    let turn = next(&current, &FORTH, &Err(Stop::Retry(problem)));
    assert_eq!(turn.pause, Some(AWAY_PAUSE));
}

#[test]
fn the_last_try_is_known_as_such() {
    let mut current = running(Step::Schema);
    current.attempts = MOST_TRIES - 2;
    let again = next(&current, &BACK, &retry());
    assert_eq!(
        (again.state, current.is_last_try()),
        (OperationState::Running, false)
    );
    current.attempts = again.attempts;
    assert!(current.is_last_try());
    let over = next(&current, &BACK, &retry());
    assert_eq!(over.state, OperationState::Unwinding);
}

/// A server's error, as one is met over a connection.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Said {
    state: &'static str,
    message: &'static str,
}

impl sqlx::error::DatabaseError for Said {
    fn message(&self) -> &str {
        self.message
    }

    fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
        Some(self.state.into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> sqlx::error::ErrorKind {
        sqlx::error::ErrorKind::Other
    }
}

#[test]
fn a_failure_has_the_servers_words_but_those_that_quote_values() {
    let met = |state, message| {
        let error = sqlx::Error::Database(Box::new(Said { state, message }));
        Stop::from(error)
    };
    let full = met("53100", "could not extend file: No space left on device");
    assert!(matches!(full, Stop::Retry(_)), "{full:?}");
    let shown = failure(&full);
    assert_eq!(shown.code, Code::DatabaseExhausted);
    assert!(
        shown
            .detail
            .ends_with("53100 could not extend file: No space left on device"),
        "{shown:?}"
    );
    for state in ["22P02", "42601", "P0001"] {
        let stop = met(state, "at or near \"canary\"");
        let detail = failure(&stop).detail;
        assert!(
            detail.contains(state) && !detail.contains("canary"),
            "{detail}"
        );
    }
    // Also where an error of ours has words of its own.
    let cause = sqlx::Error::Database(Box::new(Said {
        state: "3D000",
        message: "database \"t_acme\" does not exist",
    }));
    let problem = Problem::new(Code::Conflict)
        .detail("It is gone.")
        .caused_by(cause);
    let detail = failure_of(&problem).detail;
    assert_eq!(
        detail,
        "It is gone; the server said: 3D000 database \"t_acme\" does not exist"
    );
}

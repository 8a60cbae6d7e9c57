//! Which answers wait, and for how long.

use std::time::Duration;

use http::StatusCode;

use super::{LEAST, wait_before};

#[test]
fn refusals_that_were_made_in_different_times_leave_at_the_same() {
    for spent in [0, 1, 30, 199].map(Duration::from_millis) {
        assert_eq!(spent + wait_before(StatusCode::UNAUTHORIZED, spent), LEAST);
    }
    for spent in [LEAST, LEAST * 10] {
        assert_eq!(wait_before(StatusCode::UNAUTHORIZED, spent), Duration::ZERO);
    }
}

#[test]
fn nobody_else_waits() {
    for status in [
        StatusCode::OK,
        StatusCode::UNPROCESSABLE_ENTITY,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ] {
        assert_eq!(wait_before(status, Duration::ZERO), Duration::ZERO);
    }
}

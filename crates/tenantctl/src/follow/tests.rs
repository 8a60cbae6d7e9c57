//! What is followed while the platform is away.

use super::*;
use crate::failure::Refusal;

fn refused(status: u16) -> Result<(), Failure> {
    let refusal = Refusal {
        status,
        ..Refusal::default()
    };
    Err(Failure::Refused {
        route: crate::api::Route::new(reqwest::Method::GET, "/v1/operations/op_1"),
        refusal: Box::new(refusal),
        close: Vec::new(),
    })
}

#[test]
fn a_platform_that_is_away_for_a_while_is_waited_for() {
    let going = || Going::operation("op_1");
    let (mut sight, began) = (Sight::default(), Instant::now());
    let at = |seconds| began + Duration::from_secs(seconds);
    assert!(matches!(sight.of(refused(503), at(0), going), Ok(None)));
    assert!(matches!(sight.of(refused(503), at(59), going), Ok(None)));
    assert!(matches!(sight.of(Ok(()), at(59), going), Ok(Some(()))));
    // Each outage has its own time.
    assert!(matches!(sight.of(refused(503), at(60), going), Ok(None)));
    let over = sight.of(refused(503), at(120), going).unwrap_err();
    assert_eq!(over.exit(), 6);
    assert!(over.to_string().contains("op_1"), "{over}");
    let gone = sight.of(refused(404), at(121), going).unwrap_err();
    assert!(matches!(gone, Failure::Refused { .. }));
}

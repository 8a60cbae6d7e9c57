//! What may be dropped.

use super::*;
use crate::clusters::postgres::look::{DatabaseLook, RoleLook};

#[test]
fn only_what_is_meant_is_dropped() {
    let found = |mark: &str, state| Look {
        database: Some(DatabaseLook {
            marker: None,
            state,
        }),
        role: Some(RoleLook {
            mark: Some(mark.to_owned()),
        }),
    };
    let mine = found("tenantry:mine", DatabaseState::Open);
    let others = found("tenantry:others", DatabaseState::Open);
    let broken = found("tenantry:others", DatabaseState::HalfDropped);
    assert!(Whose::Marked("tenantry:mine").covers(&mine));
    assert!(!Whose::Marked("tenantry:mine").covers(&others));
    assert!(!Whose::HalfDropped.covers(&others));
    assert!(Whose::HalfDropped.covers(&broken));
}

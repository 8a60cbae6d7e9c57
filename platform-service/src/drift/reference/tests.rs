//! Which sets of versions have a database made for them.

use super::*;

fn versions(of: &[(&str, i32)]) -> SchemaVersions {
    let of = of.iter();
    of.map(|(owner, version)| (owner.parse().unwrap(), *version))
        .collect()
}

#[test]
fn what_living_services_can_make_is_made_up_to_a_limit() {
    let newest = versions(&[("auth", 3), ("entries", 2)]);
    let judged = |of: &[(&str, i32)], made| obstacle(&versions(of), &newest, made);
    for behind in [
        &[("auth", 3), ("entries", 2)][..],
        &[("auth", 3), ("entries", 1)],
        &[("auth", 1)],
    ] {
        assert_eq!(judged(behind, 0), None);
        assert_eq!(judged(behind, MOST_SETS - 1), None);
        let too_many = judged(behind, MOST_SETS);
        assert_eq!(too_many, Some(Incomparable::TooManyVersions));
    }
    let ahead = judged(&[("auth", 3), ("entries", 3)], 0);
    assert_eq!(ahead, Some(Incomparable::Ahead));
    let unowned = judged(&[("auth", 4), ("gone", 1)], MOST_SETS);
    assert_eq!(unowned, Some(Incomparable::Unowned));
}

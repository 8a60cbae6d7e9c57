//! What is missing, extra and different, and what mends it.

use contract::operator::rollout::Difference;

use super::{Catalog, Kind, Line, diff};

fn catalog(lines: &[(&str, Kind, &str)]) -> Catalog {
    lines
        .iter()
        .map(|(object, kind, definition)| {
            let line = Line {
                kind: *kind,
                definition: (*definition).to_owned(),
                make: Some(format!("make {object}")),
                unmake: (*kind == Kind::Right).then(|| format!("unmake {object}")),
            };
            ((*object).to_owned(), line)
        })
        .collect()
}

#[test]
fn the_same_differs_in_nothing() {
    let one = catalog(&[
        ("table a", Kind::Object, ""),
        ("right b", Kind::Right, "granted"),
    ]);
    assert_eq!(diff(&one, &one), []);
}

#[test]
fn what_differs_is_told_with_what_mends_it() {
    let expected = catalog(&[
        ("index a", Kind::Object, "on a"),
        ("index b", Kind::Object, "on b"),
        ("owner of c", Kind::Object, "tn_schema"),
        ("right d", Kind::Right, "granted"),
        ("right e", Kind::Right, "granted"),
    ]);
    let found = catalog(&[
        ("index b", Kind::Object, "on b, c"),
        ("owner of c", Kind::Object, "postgres"),
        ("right e", Kind::Right, "with grant option"),
        ("right f", Kind::Right, "granted"),
        ("table g", Kind::Object, ""),
    ]);
    let told: Vec<_> = diff(&expected, &found)
        .into_iter()
        .map(|drifted| (drifted.object, drifted.difference, drifted.mend))
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|(object, difference, mend)| (object.as_str(), *difference, mend.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            ("index a", Difference::Missing, Some("make index a")),
            ("index b", Difference::Different, None),
            ("owner of c", Difference::Different, Some("make owner of c")),
            ("right d", Difference::Missing, Some("make right d")),
            ("right e", Difference::Different, Some("make right e")),
            ("right f", Difference::Extra, Some("unmake right f")),
            ("table g", Difference::Extra, None),
        ]
    );
}

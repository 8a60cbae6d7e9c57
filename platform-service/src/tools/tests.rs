//! Which programs are chosen, and what their words are cut down to.

use super::*;

fn tools(majors: &[i32]) -> Vec<Tool> {
    majors
        .iter()
        .map(|&major| Tool {
            major,
            bin_dir: PathBuf::from(format!("/{major}")),
        })
        .collect()
}

#[test]
fn versions_are_read_as_the_programs_say_them() {
    for (answer, expected) in [
        ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-1)", Some(15)),
        ("pg_dump (PostgreSQL) 18beta1", Some(18)),
        ("pg_dump (PostgreSQL) 9.6.24", Some(9)),
        ("pg_dump", None),
        ("pg_dump (PostgreSQL)", None),
    ] {
        assert_eq!(parse_major(answer), expected, "{answer}");
    }
}

#[test]
fn the_oldest_that_fits_both_servers_is_chosen() {
    let all = tools(&[15, 16, 17]);
    for (source, target, chosen) in [
        (150_018, 150_002, 15),
        (150_018, 170_001, 15),
        (160_000, 170_001, 16),
        (170_000, 170_001, 17),
    ] {
        assert_eq!(pick(&all, source, target).unwrap().major, chosen);
    }
    assert_eq!(pick(&tools(&[14, 17]), 150_000, 170_000).unwrap().major, 17);
}

#[test]
fn a_downgrade_is_refused_by_name_and_a_missing_program_says_which() {
    let refused = pick(&tools(&[15, 16]), 160_001, 150_002).unwrap_err();
    assert_eq!(refused.code(), Code::DowngradeRefused);
    let words = refused.document(None).detail.unwrap();
    assert!(
        words.contains("PostgreSQL 16") && words.contains("PostgreSQL 15"),
        "{words}"
    );

    for (found, source, target) in [
        (&[][..], 150_000, 150_000),
        (&[14], 150_000, 150_000),
        (&[16], 150_000, 150_000),
        (&[14, 18], 150_000, 170_000),
    ] {
        let refused = pick(&tools(found), source, target).unwrap_err();
        assert_eq!(refused.code(), Code::ToolsMissing);
        let words = refused.document(None).detail.unwrap();
        assert!(
            words.contains("version 15") || words.contains("from 15 to 17"),
            "{words}"
        );
    }
}

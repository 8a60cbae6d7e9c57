//! What may hold a semicolon, and what counts as a statement.

use super::nth;

fn all(sql: &str) -> Vec<&str> {
    (0..).map_while(|place| nth(sql, place)).collect()
}

#[test]
fn statements_end_at_their_semicolons() {
    assert_eq!(all("select 1; select 2"), ["select 1", "select 2"]);
    assert_eq!(all("select 1;\n\n;select 2;\n"), ["select 1", "select 2"]);
    assert_eq!(all(""), Vec::<&str>::new());
    assert_eq!(all(" ;; -- nothing\n;"), Vec::<&str>::new());
}

#[test]
fn strings_names_bodies_and_comments_hold_semicolons() {
    let cases = [
        "select 'a;b', 'it''s; so'",
        r"select e'a\';b', E'\\'",
        r#"select ";" from "odd;name""#,
        "create function f() returns int as $$ select 1; select 2; $$ language sql",
        "do $body$ begin perform 1; execute $$select ';'$$; end $body$",
        "select 1 -- not here; nor here",
        "select 1 /* ; /* ; */ ; */ + 1",
        "select $1, price$ ",
    ];
    for case in cases {
        let sql = format!("select 0; {case}\n; select 9");
        assert_eq!(
            all(&sql),
            ["select 0", case.trim_end(), "select 9"],
            "{case}"
        );
    }
}

#[test]
fn comments_before_a_statement_are_left_out() {
    let sql = "-- Why; it is.\n/* And\n; more. */ alter table a add b int;\n-- The end.";
    assert_eq!(all(sql), ["alter table a add b int"]);
}

#[test]
fn what_never_ends_ends_with_the_text() {
    for sql in [
        "select 'a; b",
        "select $$a; b",
        "select /* a; b",
        "select \"a; b",
    ] {
        assert_eq!(all(sql), [sql]);
    }
}

//! Which statements may be asked, and how answers are written.

use contract::Code;
use contract::operator::fleet::{QueryEnd, QueryError, QueryFormat};

use super::answer::Writer;
use super::{Answered, End, statement};

#[test]
fn statements_that_read_pass() {
    for (text, expected) in [
        ("select 1", "select 1"),
        (" SELECT 1 ;; \n", " SELECT 1"),
        (
            "-- why\nselect 1 -- and so on",
            "-- why\nselect 1 -- and so on",
        ),
        ("/* a /* b */ c */ with x as (select 1) table x", ""),
        ("(select 1) union (select 2)", ""),
        ("values (1)", "values (1)"),
        ("table entries.entry", "table entries.entry"),
    ] {
        let passed = statement::checked(text).unwrap();
        assert!(expected.is_empty() || passed == expected, "{passed:?}");
    }
}

#[test]
fn others_do_not() {
    for text in [
        "",
        " ; ",
        "-- select 1",
        "/* select 1",
        "update entries.entry set title = ''",
        "explain select 1",
        "selection",
        "do $$ begin end $$",
        "begin; select 1",
        "set role tn_data",
        "select '\0'",
    ] {
        assert!(statement::checked(text).is_err(), "{text:?}");
    }
    assert!(statement::checked(&format!("select '{}'", "x".repeat(70_000))).is_err());
}

fn answered(tenant: &str, rows: &[&str], missing: Option<&str>) -> Answered {
    Answered {
        tenant: tenant.parse().unwrap(),
        rows: rows.iter().map(|row| (*row).to_owned()).collect(),
        missing: missing.map(|words| QueryError {
            code: Code::Timeout,
            sqlstate: None,
            detail: words.to_owned(),
        }),
    }
}

fn written(format: QueryFormat, answers: Vec<Answered>) -> (String, End) {
    let mut writer = Writer::new(format);
    let mut end = End {
        tenants: answers.len() as u64,
        ..End::default()
    };
    let mut text = String::new();
    for answer in answers {
        text += std::str::from_utf8(&writer.tenant(&answer, &mut end)).unwrap();
    }
    let operation = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f".parse().unwrap();
    let last = QueryEnd {
        tenants: end.tenants,
        rows: end.rows,
        failed: end.failed,
        complete: end.failed == 0,
        operation,
    };
    text += std::str::from_utf8(&writer.end(&last)).unwrap();
    (text, end)
}

#[test]
fn lines_of_json_keep_numbers_and_say_what_is_missing() {
    let (text, end) = written(
        QueryFormat::Ndjson,
        vec![
            answered(
                "t_acme",
                &[r#"{"n":12345678901234567890.5}"#, "{\"j\":{\n}}"],
                None,
            ),
            answered("t_beta", &[r#"{"n":1}"#], Some("It took too long.")),
        ],
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            r#"{"tenant":"t_acme","row":{"n":12345678901234567890.5}}"#,
            r#"{"tenant":"t_acme","row":{"j":{ }}}"#,
            r#"{"tenant":"t_beta","row":{"n":1}}"#,
            r#"{"tenant":"t_beta","error":{"code":"timeout","detail":"It took too long."}}"#,
            r#"{"end":{"tenants":2,"rows":3,"failed":1,"complete":false,"operation":"op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f"}}"#,
        ]
    );
    assert_eq!((end.answered, end.rows, end.failed), (2, 3, 1));
}

#[test]
fn comma_separated_values_have_one_head_and_quotes_where_they_need_them() {
    let (text, _) = written(
        QueryFormat::Csv,
        vec![
            answered(
                "t_acme",
                &[r#"{"b":"x, \"y\"","a":null,"c":{"d":[1]}}"#],
                None,
            ),
            answered("t_beta", &[r##"{"b":"#1","a":true,"c":2}"##], None),
        ],
    );
    assert_eq!(
        text,
        "tenant,b,a,c\nt_acme,\"x, \"\"y\"\"\",,\"{\"\"d\"\":[1]}\"\nt_beta,\"#1\",true,2\n\
         # end: 2 rows of 2 tenants\n"
    );
}

#[test]
fn comma_separated_values_hold_no_formula_and_numbers_stay_numbers() {
    let row = r##"{"=a":"=cmd|' /C calc'!A0","b":"+1","c":"-1","d":"@x","e":"\t=1","f":"\r=1","g":-1,"h":"a=1","i":"=\"1,2\""}"##;
    let (text, _) = written(QueryFormat::Csv, vec![answered("t_acme", &[row], None)]);
    assert_eq!(
        text,
        "tenant,'=a,b,c,d,e,f,g,h,i\n\
         t_acme,'=cmd|' /C calc'!A0,'+1,'-1,'@x,'\t=1,\"'\r=1\",-1,a=1,\"'=\"\"1,2\"\"\"\n\
         # end: 1 rows of 1 tenants\n"
    );
}

#[test]
fn comma_separated_values_say_what_is_missing_at_the_end() {
    let (text, end) = written(
        QueryFormat::Csv,
        vec![
            answered("t_acme", &[r#"{"a":1}"#], Some("two\nlines")),
            answered("t_beta", &[r#"{"other":1}"#], None),
        ],
    );
    assert_eq!(
        text,
        "tenant,a\nt_acme,1\n# t_acme: timeout: two lines\n\
         # t_beta: validation-failed: It has other columns than the tenants before it.\n\
         # partial: rows of 2 of 2 tenants are missing\n"
    );
    assert_eq!((end.rows, end.failed), (1, 2));
}

#[test]
fn an_answer_without_rows_has_a_head_all_the_same() {
    let (text, _) = written(QueryFormat::Csv, vec![answered("t_acme", &[], None)]);
    assert_eq!(text, "tenant\n# end: 0 rows of 1 tenants\n");
}

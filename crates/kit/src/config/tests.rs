//! Rules of settings: layers, names, kinds, and errors that name the source and hide the value.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use contract::secret::Secret;
use serde::Deserialize;
use tempfile::NamedTempFile;

use super::*;

const SPEC: ConfigSpec = ConfigSpec {
    defaults: r#"
# Who is greeted.
name = "nobody"

# How: warmly or coldly.
manner = "warmly"

[public]
# Where to listen.
listen = "127.0.0.1:8080"
# Origins that may call.
origins = []
trusted = []
header_timeout = "10s"
workers = 2
share = 0.5
compress = true

[database]
# Must be set.
password = ""
address = "127.0.0.1"

# Free names.
[labels]
"#,
    env_prefix: "GREETER",
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    name: String,
    manner: Manner,
    public: Public,
    database: Database,
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Manner {
    Warmly,
    Coldly,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Public {
    listen: std::net::SocketAddr,
    origins: Vec<String>,
    trusted: Vec<std::net::IpAddr>,
    header_timeout: Period,
    workers: u8,
    share: f64,
    compress: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Database {
    password: Secret,
    address: IpAddr,
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn from(file_text: &str, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let file = file(file_text);
    load_with(&SPEC, Some(file.path()), environment.iter().copied())
}

fn refusal(file_text: &str, environment: &[(&str, &str)]) -> String {
    from(file_text, environment).unwrap_err().to_string()
}

#[test]
fn defaults_alone_are_complete() {
    let settings: Settings = load_with(&SPEC, None, std::iter::empty::<(&str, &str)>()).unwrap();
    assert_eq!(settings.name, "nobody");
    assert_eq!(
        settings.public.header_timeout.get(),
        Duration::from_secs(10)
    );
    assert!(settings.labels.is_empty());
}

#[test]
fn file_beats_defaults_and_environment_beats_file() {
    let settings = from(
        "name = \"file\"\n[public]\nworkers = 3\nshare = 1\n",
        &[
            ("GREETER__NAME", "environment"),
            ("GREETER__PUBLIC__COMPRESS", "false"),
            ("SOMEBODY__ELSE", "x"),
            ("GREETER_NOTOURS", "x"),
        ],
    )
    .unwrap();
    assert_eq!(settings.name, "environment");
    assert_eq!(settings.public.workers, 3);
    assert!((settings.public.share - 1.0).abs() < f64::EPSILON);
    assert!(!settings.public.compress);
    assert_eq!(settings.public.listen.port(), 8080);
    assert_eq!(settings.database.address, IpAddr::from([127, 0, 0, 1]));
}

#[test]
fn lists_in_the_environment_are_separated_by_commas() {
    let settings = from(
        "",
        &[(
            "GREETER__PUBLIC__ORIGINS",
            "https://a.test, https://b.test,",
        )],
    );
    assert_eq!(
        settings.unwrap().public.origins,
        ["https://a.test", "https://b.test"]
    );
    let none = from(
        "[public]\norigins = [\"https://a.test\"]",
        &[("GREETER__PUBLIC__ORIGINS", "")],
    );
    assert!(none.unwrap().public.origins.is_empty());
}

#[test]
fn text_of_digits_stays_text() {
    let settings = from("", &[("GREETER__DATABASE__PASSWORD", "0012")]).unwrap();
    assert_eq!(settings.database.password.expose(), "0012");
}

#[test]
fn file_variable_gives_the_trimmed_content() {
    let secret = file("  s3cret\n");
    let path = secret.path().to_str().unwrap();
    let settings = from("", &[("GREETER__DATABASE__PASSWORD_FILE", path)]).unwrap();
    assert_eq!(settings.database.password.expose(), "s3cret");

    let both = refusal(
        "",
        &[
            ("GREETER__DATABASE__PASSWORD_FILE", path),
            ("GREETER__DATABASE__PASSWORD", "other"),
        ],
    );
    assert!(
        both.contains("GREETER__DATABASE__PASSWORD_FILE are both set"),
        "{both}"
    );

    let missing = refusal(
        "",
        &[("GREETER__DATABASE__PASSWORD_FILE", "/nonexistent/secret")],
    );
    assert!(
        missing.starts_with("/nonexistent/secret: cannot be read"),
        "{missing}"
    );
}

#[test]
fn unknown_key_in_a_file_is_refused_with_the_nearest() {
    let words = refusal("[public]\nlisten_on = \"x\"", &[]);
    assert!(
        words.ends_with("unknown setting `public.listen_on`; did you mean `public.listen`?"),
        "{words}"
    );
    let section = refusal("[pubic]\nlisten = \"x\"", &[]);
    assert!(section.ends_with("did you mean `public`?"), "{section}");
    let far = refusal("zzzz = 1", &[]);
    assert!(far.ends_with("unknown setting `zzzz`"), "{far}");
}

#[test]
fn unknown_variable_is_refused_by_its_name() {
    assert_eq!(
        refusal("", &[("GREETER__PUBLIC__LISTN", "x")]),
        "environment variable GREETER__PUBLIC__LISTN: unknown setting `public.listn`; \
         did you mean `public.listen`?"
    );
}

#[test]
fn open_section_takes_any_name() {
    let settings = from("[labels]\nzone = \"a\"", &[("GREETER__LABELS__RACK", "7")]).unwrap();
    assert_eq!(settings.labels["zone"], "a");
    assert_eq!(settings.labels["rack"], "7");
}

#[test]
fn wrong_kind_names_key_and_source_and_hides_the_value() {
    let words = refusal("[public]\nworkers = \"hunter2\"", &[]);
    assert!(
        words.ends_with("`public.workers` must be a whole number, not a text"),
        "{words}"
    );

    let words = refusal("", &[("GREETER__PUBLIC__WORKERS", "hunter2")]);
    assert!(words.contains("GREETER__PUBLIC__WORKERS: `public.workers` must be a whole number"));
    assert!(!words.contains("hunter2"), "{words}");

    let words = refusal("", &[("GREETER__PUBLIC", "x")]);
    assert!(words.contains("`public` must be a section"), "{words}");
}

#[test]
fn value_out_of_range_names_key_and_source_and_hides_the_value() {
    let words = refusal("", &[("GREETER__PUBLIC__WORKERS", "70000")]);
    assert!(
        words.starts_with("environment variable GREETER__PUBLIC__WORKERS: `public.workers`"),
        "{words}"
    );
    assert!(!words.contains("70000"), "{words}");

    let words = refusal("[database]\naddress = \"hunter2\"", &[]);
    assert!(
        words.contains("`database.address`") && !words.contains("hunter2"),
        "{words}"
    );

    let words = refusal("[public]\nheader_timeout = \"ten\"", &[]);
    assert!(
        words.contains("`public.header_timeout` is not a length of time"),
        "{words}"
    );
}

#[test]
fn a_refused_entry_of_a_list_names_who_wrote_the_list() {
    let settings = from("", &[("GREETER__PUBLIC__TRUSTED", "127.0.0.1,::1")]);
    assert_eq!(settings.unwrap().public.trusted.len(), 2);
    let words = refusal("", &[("GREETER__PUBLIC__TRUSTED", "127.0.0.1,hunter2")]);
    assert!(
        words.starts_with("environment variable GREETER__PUBLIC__TRUSTED: `public.trusted[1]`"),
        "{words}"
    );
    assert!(!words.contains("hunter2"), "{words}");
}

#[test]
fn a_choice_that_there_is_not_is_refused_with_those_that_there_are() {
    assert_eq!(from("", &[]).unwrap().manner, Manner::Warmly);
    let settings = from("manner = \"coldly\"", &[]);
    assert_eq!(settings.unwrap().manner, Manner::Coldly);
    assert_eq!(
        refusal("", &[("GREETER__MANNER", "hunter2")]),
        "environment variable GREETER__MANNER: `manner` must be `warmly` or `coldly`"
    );
}

#[test]
fn broken_toml_names_file_and_line() {
    let words = refusal("name = \"x\"\n[public\n", &[]);
    assert!(words.contains(", line 2: "), "{words}");
}

#[test]
fn missing_file_is_named() {
    let path = Path::new("/nonexistent/greeter.toml");
    let environment = std::iter::empty::<(&str, &str)>();
    let error = load_with::<Settings, _, _>(&SPEC, Some(path), environment).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nonexistent/greeter.toml: cannot be read")
    );
}

#[test]
fn help_shows_every_setting() {
    let help = settings_help(&SPEC);
    assert!(help.contains("GREETER__SECTION__KEY"));
    assert!(help.contains("header_timeout = \"10s\""));
}

#[test]
fn periods_are_read_and_written() {
    for (text, millis) in [
        ("250ms", 250),
        ("10s", 10_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
    ] {
        let period: Period = text.parse().unwrap();
        assert_eq!(period.get(), Duration::from_millis(millis));
        assert_eq!(period.to_string(), text);
    }
    for text in [
        "",
        "10",
        "s",
        "-1s",
        "1.5s",
        "10 years",
        "99999999999999999d",
    ] {
        assert!(text.parse::<Period>().is_err(), "{text}");
    }
}

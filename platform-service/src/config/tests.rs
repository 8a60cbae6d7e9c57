//! The defaults are complete, and what is missing is named.

use super::*;

const NEEDED: [(&str, &str); 4] = [
    ("PLATFORM__REGISTRY__URL", "postgres://db/registry"),
    (
        "PLATFORM__INTERNAL__APP_KEY",
        "0123456789abcdef0123456789abcdef",
    ),
    (
        "PLATFORM__INTERNAL__PLATFORM_KEY",
        "0123456789abcdef0123456789abcdee",
    ),
    (
        "PLATFORM__SEALING__KEYS",
        "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    ),
];

fn load(environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let settings: Settings = kit::config::load_with(&SPEC, None, environment.iter().copied())?;
    settings.check()?;
    Ok(settings)
}

#[test]
fn the_defaults_and_what_is_needed_are_enough() {
    let settings = load(&NEEDED).unwrap();
    assert_eq!(settings.signup.policy, SignupPolicy::Open);
    assert_eq!(settings.secrets.aws.region, None);
}

#[test]
fn every_needed_setting_is_named_with_its_variable() {
    for missing in 0..NEEDED.len() {
        let mut given = NEEDED.to_vec();
        let (variable, _) = given.remove(missing);
        let error = load(&given).unwrap_err().to_string();
        assert!(error.contains(variable), "{variable}: {error}");
    }
}

#[test]
fn a_policy_that_there_is_not_is_refused_with_those_that_there_are() {
    let mut given = NEEDED.to_vec();
    given.push(("PLATFORM__SIGNUP__POLICY", "ajar"));
    let error = load(&given).unwrap_err().to_string();
    assert!(
        error.ends_with("`signup.policy` must be `open` or `closed`"),
        "{error}"
    );
}

#[test]
fn no_secret_is_shown() {
    let shown = format!("{:?}", load(&NEEDED).unwrap());
    for (variable, value) in NEEDED {
        assert!(!shown.contains(value), "{variable}");
    }
}

#[test]
fn a_setting_with_which_nothing_would_work_is_refused() {
    for (variable, value) in [
        ("PLATFORM__REGISTRY__MAX_CONNECTIONS", "0"),
        ("PLATFORM__REGISTRY__MAX_CONNECTIONS", "1"),
        ("PLATFORM__SIGNUP__WAIT", "30s"),
    ] {
        let mut given = NEEDED.to_vec();
        given.push((variable, value));
        let refused = load(&given).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains(variable), "{variable}={value}: {refused}");
    }
}

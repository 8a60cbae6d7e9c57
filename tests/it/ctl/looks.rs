//! Looks into tenants' data: queries and psql.

use serde_json::Value;
use world::World;

use super::{Ctl, Ran};

#[tokio::test]
async fn a_question_that_lacks_rows_fails() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("asked").await;
    let question = |sql| {
        [
            "query",
            sql,
            "--tenant",
            tenant.id().as_str(),
            "-o",
            "ndjson",
        ]
    };
    let answer = ctl.run(&question("select 1 as one")).expect(0);
    let first: Value = serde_json::from_str(answer.out.lines().next().unwrap()).unwrap();
    assert_eq!(first["row"]["one"], 1);
    let slow = [
        &question("select pg_sleep(5)")[..],
        &["--tenant-timeout", "1s"],
    ]
    .concat();
    ctl.run(&slow).expect(1).says("are missing");
    ctl.run(&question("delete from entries.entry")).expect(2);
}

#[tokio::test]
async fn psql_gets_its_password_in_a_file_that_ends_with_it() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("looked").await;
    // What stands where psql is found says what it was started with.
    let programs = tempfile::tempdir().unwrap();
    let program = programs.path().join("psql");
    let script = "#!/bin/sh\necho \"arguments: $*\"\nenv\necho \"passfile: $(cat $PGPASSFILE)\"\n\
                  stat -c 'mode: %a' $PGPASSFILE\n";
    std::fs::write(&program, script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&program, executable).unwrap();
    let path = format!(
        "{}:{}",
        programs.path().display(),
        std::env::var("PATH").unwrap()
    );
    let mut command = ctl.command(&[
        "psql",
        tenant.id().as_str(),
        "--reason",
        "a test",
        "--",
        "-c",
        "select 1",
    ]);
    command.env("PATH", path);
    let seen = Ran::from(command.output().unwrap()).expect(0).out;
    let line = |start: &str| {
        let found = seen.lines().find_map(|line| line.strip_prefix(start));
        found.unwrap_or_else(|| panic!("{start} in {seen}"))
    };
    assert_eq!(line("arguments: "), "-c select 1");
    assert_eq!(line("mode: "), "600");
    let password = line("passfile: ").rsplit(':').next().unwrap();
    assert!(password.len() > 20, "no password");
    assert_eq!(
        seen.matches(password).count(),
        1,
        "the password stands in arguments or environment"
    );
    assert!(!seen.contains(&ctl.key), "psql gets the operator's key");
    assert!(
        !std::path::Path::new(line("PGPASSFILE=")).exists(),
        "the file is still there"
    );
}

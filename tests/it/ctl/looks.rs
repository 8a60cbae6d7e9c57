//! Looks into tenants' data: queries and psql.

use postgres_server::Binaries;
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
async fn what_tenants_wrote_is_not_obeyed_by_a_terminal() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("obeyed").await;
    let id = tenant.id().as_str();
    let written = "a\u{1b}[2J\nt_other  b\u{202e}\u{9b}c";
    let entry = serde_json::json!({ "title": "Odd", "body": { "text": written } });
    tenant.owner().post("/v1/entries", entry).await.expect(201);
    let sql = "select body ->> 'text' as text from entries.entry";
    let ask = ["query", sql, "--tenant", id];
    let shown = r"a\u{1b}[2J\nt_other  b\u{202e}\u{9b}c";
    let row = format!("{id}  {shown}");
    let on_terminal = ctl.on_terminal(&ask, "").expect(0).out;
    // How far it is is wiped away before there is a table.
    let (bar, table) = on_terminal.rsplit_once("\u{1b}[2K").unwrap();
    assert!(bar.contains("1 row so far"), "{on_terminal:?}");
    assert!(
        table.contains(shown) && !table.contains('\u{1b}'),
        "{on_terminal:?}"
    );
    assert!(!bar.contains("\u{1b}[2J"), "{on_terminal:?}");
    let piped = ctl.run(&ask).expect(0).out;
    assert!(piped.lines().any(|line| line == row), "{piped:?}");

    // A file of values has what was written; a terminal has not.
    let csv = [&ask[..], &["--csv"]].concat();
    let on_terminal = ctl.on_terminal(&csv, "").expect(0).out;
    let row = format!("{id},\"{shown}\"");
    assert!(
        on_terminal.lines().any(|line| line.trim_end() == row),
        "{on_terminal:?}"
    );
    let kept = ctl.run(&csv).expect(0).out;
    assert_eq!(kept, format!("tenant,text\n{id},\"{written}\"\n"));

    // A document stays the same one.
    let lines = ctl.run(&[&ask[..], &["-o", "ndjson"]].concat()).expect(0);
    assert!(!lines.out.contains(['\u{9b}', '\u{202e}']), "{}", lines.out);
    let first: Value = serde_json::from_str(lines.out.lines().next().unwrap()).unwrap();
    assert_eq!(first["row"]["text"], written);
    assert_eq!(ctl.json(&ask)[0]["row"]["text"], written);

    // Nor is what is said of a failure.
    let failing = "select ($$\u{1b}[2J$$)::integer";
    let failed = ctl.run(&["query", failing, "--tenant", id]);
    assert_ne!(failed.code, Some(0), "{}", failed.err);
    assert!(!failed.err.contains('\u{1b}'), "{:?}", failed.err);
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

#[tokio::test]
async fn psql_itself_is_opened_in_the_tenant_s_database() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("opened").await;
    let (id, programs) = (
        tenant.id().as_str(),
        Binaries::of_workspace().await.unwrap().bin_dir,
    );
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let ask = |access: &[&str], sql: &str| -> Ran {
        let words = [
            &["psql", id, "--reason", "a test"],
            access,
            &["--", "-Atc", sql],
        ];
        let mut command = ctl.command(&words.concat());
        Ran::from(command.env("PATH", &path).output().unwrap())
    };
    assert_eq!(ask(&[], "select 1").expect(0).out, "1\n");
    let place = "select current_database() || ' ' || count(*) from entries.entry";
    assert_eq!(ask(&[], place).expect(0).out, format!("{id} 0\n"));
    let write = "insert into entries.entry (title) values ('by hand')";
    ask(&[], write).expect(1).says("read-only transaction");
    // A statement that fails is psql's to say, and the command's failure.
    ask(&[], "select nothing").expect(1).says("psql failed");
}

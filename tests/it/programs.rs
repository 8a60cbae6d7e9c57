//! The services as operators start them: their commands, their help, and what they say when they cannot serve.

use std::os::unix::process::ExitStatusExt as _;

use tokio::process::Command;
use world::{DEADLINE, World, until};

use crate::support::unique;

const PROGRAM: &str = env!("CARGO_BIN_EXE_world-platform");
const APP_PROGRAM: &str = env!("CARGO_BIN_EXE_world-app");

#[tokio::test]
async fn help_names_every_setting() {
    for (program, spec) in [
        (PROGRAM, &platform_service::config::SPEC),
        (APP_PROGRAM, &app_service::config::SPEC),
    ] {
        for arguments in [&["--help"][..], &["serve", "--help"]] {
            let asked = Command::new(program)
                .args(arguments)
                .output()
                .await
                .unwrap();
            assert!(asked.status.success(), "{asked:?}");
            let help = String::from_utf8(asked.stdout).unwrap();
            let shown: Vec<&str> = help.lines().map(str::trim).collect();
            for line in spec.defaults.lines().filter(|line| !line.is_empty()) {
                assert!(shown.contains(&line), "{program} {arguments:?}: {line}");
            }
            let variable = format!("{}__SECTION__KEY", spec.env_prefix);
            assert!(help.contains(&variable), "{program} {arguments:?}");
        }
    }
}

#[tokio::test]
async fn a_registry_that_is_left_to_a_command_is_migrated_by_that_alone() {
    let world = World::shared().await;
    let database = unique("by-command");
    let url = world.empty_registry(&database).await;
    let variables = [
        ("PLATFORM__REGISTRY__URL", url.as_str()),
        ("PLATFORM__REGISTRY__MIGRATE", "by_command"),
    ];
    let run = async |command: &str| {
        let mut program = world.platform_command(PROGRAM, &variables);
        let ended = program.args(command.split(' ')).kill_on_drop(true).output();
        let ended = tokio::time::timeout(DEADLINE, ended).await;
        ended.expect("it ends by itself").unwrap()
    };
    let refuses = async || {
        let refused = run("serve").await;
        assert!(!refused.status.success());
        let words = String::from_utf8(refused.stderr).unwrap();
        assert!(words.contains("run `platform-service migrate`"), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");
    };
    refuses().await;
    let tables = "select count(*) from pg_tables where schemaname = 'registry'";
    assert_eq!(world.postgres().number(&database, tables).await, 0);
    let newest = platform_migrations::migrations().len();
    let history = "select count(*) from registry.refinery_schema_history";
    for _ in 0..2 {
        let migrated = run("migrate").await;
        assert!(migrated.status.success(), "{migrated:?}");
        let ran = world.postgres().number(&database, history).await;
        assert_eq!(usize::try_from(ran).unwrap(), newest);
    }
    let epoch = async || {
        let epoch = "select epoch::text from registry.feed";
        world.postgres().texts(&database, epoch).await
    };
    let before = epoch().await;
    assert!(run("migrate").await.status.success());
    assert_eq!(epoch().await, before);
    assert!(run("migrate --restored").await.status.success());
    assert_ne!(epoch().await, before, "replicas forget what they knew");
    let serving = world.platform_process_with(PROGRAM, &variables).await;
    let visitor = world.visitor().at(&serving.url());
    visitor.get("/v1/tiers").await.expect(200);
    serving.terminate().await;
    // As the release before left it.
    let older = format!("delete from registry.refinery_schema_history where version = {newest}");
    world.postgres().run(&database, &older).await;
    refuses().await;
    let ran = world.postgres().number(&database, history).await;
    assert_eq!(usize::try_from(ran).unwrap(), newest - 1);
    let drop = format!("drop database \"{database}\" with (force)");
    world.postgres().run("postgres", &drop).await;
}

/// Started where cores are wanted, and stopped before it has read its settings.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_service_that_crashes_leaves_no_copy_of_its_memory() {
    for program in [PROGRAM, APP_PROGRAM] {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("settings.toml");
        let made = Command::new("mkfifo").arg(&settings).status().await;
        assert!(made.unwrap().success());
        let wanting = r#"ulimit -S -c "$(ulimit -H -c)" && exec "$0" serve --config "$1""#;
        let mut crashing = Command::new("sh")
            .args(["-c", wanting, program])
            .arg(&settings)
            .current_dir(folder.path())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let id = crashing.id().unwrap();
        until("it allows no cores", || async {
            let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
            let cores = limits.lines().find(|line| line.starts_with("Max core"));
            let words: Vec<&str> = cores.unwrap().split_whitespace().collect();
            words.ends_with(&["0", "0", "bytes"])
        })
        .await;
        let sent = Command::new("kill")
            .args(["-ABRT", &id.to_string()])
            .status()
            .await;
        assert!(sent.unwrap().success());
        let ended = crashing.wait().await.unwrap();
        assert_eq!((ended.signal(), ended.core_dumped()), (Some(6), false));
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "the settings alone");
    }
}

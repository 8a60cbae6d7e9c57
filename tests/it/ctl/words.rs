//! What all commands have in common: exit codes, bars and colours, the completion of a shell.

use std::process::Command;

use world::World;

use super::{Ctl, Ran};

#[tokio::test]
async fn exit_codes_say_what_kind_of_failure_it_was() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("exits").await;
    let id = tenant.id().as_str();
    ctl.run(&["tenants", "show", id]).expect(0);

    let company = [
        "tenants",
        "create",
        "--company",
        "",
        "--email",
        "a@b.example",
        "--generate-password",
    ];
    let invalid = ctl.run(&company).expect(2);
    invalid.says("--company");
    let many = ctl
        .run(&["rollouts", "start", "--at-once", "100"])
        .expect(2);
    many.says("--at-once is 1 to 64");
    let help = ctl.run(&["help", "tenants", "list"]).expect(0).out;
    assert!(help.contains("tenantctl tenants list"), "{help}");

    world.tenant("second").await;
    let some = ctl.run(&["tenants", "list", "--limit", "1"]).expect(0);
    some.says("--limit 0 shows all");

    let missing = ctl.run(&["tenants", "show", &id[..id.len() - 1]]).expect(3);
    missing.says(&format!("did you mean {id}?"));

    let mut stranger = ctl.command(&["tenants", "list"]);
    stranger.env("TENANTCTL_KEY", format!("opk_{}", "A".repeat(43)));
    Ran::from(stranger.output().unwrap())
        .expect(4)
        .says("tenantctl login");
    let (_, reader) = ctl.with_scopes(&["tenants:read"]);
    reader.run(&["tenants", "list"]).expect(0);
    reader.run(&["keys", "list"]).expect(4).says("keys:write");

    let taken = [
        "tenants",
        "create",
        "--company",
        "Other",
        "--slug",
        tenant.slug(),
        "--email",
        "a@b.example",
        "--generate-password",
    ];
    ctl.run(&taken).expect(5).says("slug-taken");

    let mut nowhere = ctl.command(&["tenants", "list"]);
    nowhere.env("TENANTCTL_URL", "http://127.0.0.1:1");
    Ran::from(nowhere.output().unwrap())
        .expect(6)
        .says("does not answer");
}

#[tokio::test]
async fn bars_and_colours_are_for_terminals() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("bars").await;
    let operations = ctl.run(&[
        "operations",
        "list",
        "--tenant",
        tenant.id().as_str(),
        "-o",
        "json",
    ]);
    let operation = operations.expect(0).json()[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let watch = ["operations", "watch", operation.as_str()];

    let piped = ctl.run(&watch).expect(0);
    assert_eq!(piped.err, "", "only data, and nothing to say");
    assert!(!piped.out.contains('\u{1b}'), "{:?}", piped.out);
    let seen = ctl.on_terminal(&watch, "").expect(0).out;
    assert!(seen.contains('\u{1b}'), "no colour on a terminal: {seen:?}");
    let plain = ctl
        .on_terminal(&["operations", "list", "--no-color"], "")
        .expect(0)
        .out;
    assert!(!plain.contains("\u{1b}[38"), "{plain:?}");
}

#[tokio::test]
async fn a_shell_completes_the_ids_of_tenants() {
    const ASK: &str = r#"
source <(tenantctl completion bash)
COMP_WORDS=(tenantctl tenants show "$1")
COMP_CWORD=3
COMP_LINE="tenantctl ${2:+--profile $2 }tenants show $1"
$(complete -p tenantctl | sed 's/.*-F \([^ ]*\).*/\1/') tenantctl "$1" show
printf '%s\n' "${COMPREPLY[@]}"
"#;
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let one = world.tenant("complete-me").await;
    let other = world.tenant("complete-me").await;
    let program = ctl.command(&[]);
    let path = ctl.home.path().join("tenantctl");
    std::os::unix::fs::symlink(program.get_program(), &path).unwrap();
    let login = ctl.command(&["login", "--key-stdin", "--profile", "far"]);
    ctl.piped(login, &ctl.key).expect(0);
    let ask_as = |word: &str, profile: &str| -> Vec<String> {
        let mut shell = Command::new("bash");
        shell
            .args(["-c", ASK, "bash", word, profile])
            .env("TENANTCTL_COMPLETION_PATIENCE", "30s");
        for (name, value) in program.get_envs() {
            shell.env(name, value.unwrap());
        }
        if !profile.is_empty() {
            // The profile that the line names, and nothing else, says where to ask.
            shell
                .env_remove("TENANTCTL_URL")
                .env_remove("TENANTCTL_KEY");
        }
        let before = std::env::var("PATH").unwrap();
        shell.env("PATH", format!("{}:{before}", ctl.home.path().display()));
        let ran = Ran::from(shell.output().unwrap()).expect(0);
        let mut words: Vec<String> = ran.out.lines().map(str::to_owned).collect();
        words.sort_unstable();
        words
    };
    let ask = |word: &str| ask_as(word, "");
    let mut both = [one.id().to_string(), other.id().to_string()];
    both.sort_unstable();
    assert_eq!(ask("t_complete_me_"), both);
    assert_eq!(ask(one.id().as_str()), [one.id().as_str()]);
    assert_eq!(ask_as("t_complete_me_", "far"), both);
    assert!(!ask_as("t_complete_me_", "nowhere").contains(&both[0]));
    assert!(ask("--out").contains(&"--output".to_owned()));
}

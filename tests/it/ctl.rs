//! The operators' command line beside a running platform: exit codes, keys, bars, confirmations.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use world::{PASSWORD, World, until};

use crate::support::unique;

/// The program of somebody with a profile of their own.
struct Ctl {
    home: tempfile::TempDir,
    url: String,
    key: String,
}

/// What a command did.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    #[track_caller]
    fn says(&self, words: &str) {
        assert!(self.err.contains(words), "{words:?} is not in {}", self.err);
    }
}

impl Ctl {
    fn new(world: &World) -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            url: world.platform_url(),
            key: world.operator_key().to_owned(),
        }
    }

    fn config(&self) -> PathBuf {
        self.home.path().join("config.toml")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_world-tenantctl"));
        command
            .args(arguments)
            .env("TENANTCTL_URL", &self.url)
            .env("TENANTCTL_KEY", &self.key)
            .env("TENANTCTL_CONFIG", self.config())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }

    fn piped(&self, mut command: Command, text: &str) -> Ran {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap().into()
    }

    /// Runs it on a terminal of its own, where `typed` is typed once it asks.
    fn on_terminal(&self, arguments: &[&str], typed: &str) -> Ran {
        // Waits for the prompt, so that what is typed is an answer to it.
        const TERMINAL: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
seen, typed = b'', sys.argv[1].encode()
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:
        break
    if not part:
        break
    seen += part
    if typed and b'to go on: ' in seen:
        os.write(terminal, typed + b'\\n')
        typed = b''
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";
        let program = self.command(arguments);
        let mut command = Command::new("python3");
        command.args(["-c", TERMINAL, typed]);
        command.arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            command.env(name, value.unwrap());
        }
        command.output().unwrap().into()
    }

    /// Makes a key and gives its id and the program of somebody who has it.
    fn with_scopes(&self, scopes: &[&str]) -> (String, Self) {
        let name = unique("key");
        let mut arguments = vec!["keys", "create", &name, "-o", "json"];
        for scope in scopes {
            arguments.extend(["--scope", scope]);
        }
        let made = self.run(&arguments).expect(0).json();
        let other = Self {
            home: tempfile::tempdir().unwrap(),
            url: self.url.clone(),
            key: made["key"].as_str().unwrap().to_owned(),
        };
        (made["id"].as_str().unwrap().to_owned(), other)
    }
}

#[tokio::test]
async fn a_shell_completes_the_ids_of_tenants() {
    const ASK: &str = r#"
source <(tenantctl completion bash)
COMP_WORDS=(tenantctl tenants show "$1")
COMP_CWORD=3
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
    let ask = |word: &str| -> Vec<String> {
        let mut shell = Command::new("bash");
        shell.args(["-c", ASK, "bash", word]);
        for (name, value) in program.get_envs() {
            shell.env(name, value.unwrap());
        }
        let before = std::env::var("PATH").unwrap();
        shell.env("PATH", format!("{}:{before}", ctl.home.path().display()));
        let ran = Ran::from(shell.output().unwrap()).expect(0);
        let mut words: Vec<String> = ran.out.lines().map(str::to_owned).collect();
        words.sort_unstable();
        words
    };
    let mut both = [one.id().to_string(), other.id().to_string()];
    both.sort_unstable();
    assert_eq!(ask("t_complete_me_"), both);
    assert_eq!(ask(one.id().as_str()), [one.id().as_str()]);
    assert!(ask("--out").contains(&"--output".to_owned()));
}

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
    invalid.says("/company");

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
        .says("gives no answer");
}

#[tokio::test]
async fn a_tenant_is_made_changed_and_shown_in_every_form() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let slug = unique("made");
    let command = ctl.command(&[
        "tenants",
        "create",
        "--company",
        "Made Up",
        "--slug",
        &slug,
        "--email",
        "ada@made.example",
        "--password-stdin",
        "-o",
        "json",
    ]);
    let made = ctl.piped(command, PASSWORD).expect(0).json();
    assert_eq!(made["status"], "active");
    let id = made["id"].as_str().unwrap();

    let changed = ctl
        .run(&[
            "tenants",
            "update",
            id,
            "--company",
            "Made Down",
            "-o",
            "ndjson",
        ])
        .expect(0);
    assert_eq!(changed.json()["company"], "Made Down");

    let table = ctl.run(&["tenants", "list", "--text", &slug]).expect(0).out;
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].starts_with("ID ") && lines[1].starts_with(id),
        "{table}"
    );
    assert_eq!(lines.len(), 2, "{table}");
    let list = ctl
        .run(&["tenants", "list", "--text", &slug, "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(list[0]["id"], id);

    // The default tenant of a profile.
    ctl.piped(ctl.command(&["login", "--key-stdin"]), &ctl.key)
        .expect(0);
    ctl.run(&["use", id]).expect(0);
    let meant = ctl.run(&["tenants", "show", "-o", "json"]).expect(0).json();
    assert_eq!(meant["id"], id);

    let operations = ctl
        .run(&[
            "operations",
            "list",
            "--tenant",
            id,
            "--kind",
            "create",
            "-o",
            "json",
        ])
        .expect(0)
        .json();
    let operation = operations[0]["id"].as_str().unwrap();
    let shown = ctl.run(&["operations", "show", operation]).expect(0).out;
    assert!(
        shown.contains("log") && shown.contains("activate"),
        "{shown}"
    );
    ctl.run(&["operations", "retry", operation]).expect(5);
}

#[tokio::test]
async fn a_database_is_adopted_by_a_command() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let (slug, database) = (unique("taken-in"), unique("legacy"));
    let make = format!("create database \"{database}\" template template0 encoding 'UTF8'");
    world.postgres().run("postgres", &make).await;
    let adopt = [
        "tenants",
        "adopt",
        &database,
        "--cluster",
        "main",
        "--company",
        "Taken In",
        "--slug",
        &slug,
        "--owner-email",
        "ada@taken.example",
        "--generate-password",
    ];
    // What stands in the way is shown with what mends it, and is a failure.
    let refused = ctl.run(&[&adopt[..], &["--dry-run"]].concat()).expect(1);
    refused.says("cannot be adopted like this");
    refused.says("Nothing was changed");
    let remedy = format!("alter database \"{database}\" owner to \"tn_platform\"");
    assert!(refused.out.contains(&remedy), "{}", refused.out);
    ctl.run(&adopt).expect(5).says("tn_platform");
    world.postgres().run("postgres", &remedy).await;
    let wrong = [&adopt[..], &["--baseline", "auth=two"]].concat();
    ctl.run(&wrong).expect(2).says("such as auth=2");
    let preview = [&adopt[..], &["--dry-run", "-o", "json"]].concat();
    let preview = ctl.run(&preview).expect(0).json();
    assert_eq!(preview["adoptable"], true, "{preview}");
    let done = ctl.run(&[&adopt[..], &["-o", "json"]].concat()).expect(0);
    let (done, id) = (done.json(), format!("t_{}", slug.replace('-', "_")));
    assert_eq!(
        (&done["state"], &done["tenant"]),
        (&"done".into(), &id.clone().into())
    );
    let login = serde_json::json!({ "email": "ada@taken.example", "password": done["password"] });
    let door = world.anonymous().in_tenant(&id);
    door.post("/v1/auth/login", login).await.expect(200);
}

#[tokio::test]
async fn a_key_is_never_an_argument_and_never_shown() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let given = ctl.run(&["tenants", "list", &ctl.key]).expect(2);
    assert!(!given.err.contains(&ctl.key), "{}", given.err);

    let mut login = ctl.command(&["login", "--key-stdin"]);
    login.env_remove("TENANTCTL_KEY");
    ctl.piped(login, &format!("{}\n", ctl.key)).expect(0);
    let mut kept = ctl.command(&["tenants", "list", "-o", "ndjson"]);
    kept.env_remove("TENANTCTL_KEY").env_remove("TENANTCTL_URL");
    Ran::from(kept.output().unwrap()).expect(0);
    let profiles = ctl.run(&["profiles", "-o", "json"]).expect(0);
    assert!(!profiles.out.contains(&ctl.key), "{}", profiles.out);

    // A wrong key is not kept.
    let wrong = ctl.command(&["login", "--key-stdin", "--profile", "wrong"]);
    ctl.piped(wrong, &format!("opk_{}", "A".repeat(43)))
        .expect(4);
    let text = std::fs::read_to_string(ctl.config()).unwrap();
    assert!(!text.contains("wrong"), "a key that is refused was kept");

    ctl.run(&["logout"]).expect(0);
    let text = std::fs::read_to_string(ctl.config()).unwrap();
    assert!(!text.contains(&ctl.key), "the key is still there");
}

#[tokio::test]
async fn what_destroys_asks_for_the_name() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let (id, holder) = ctl.with_scopes(&["tenants:read"]);
    let revoke = ["keys", "revoke", id.as_str()];

    ctl.run(&[&revoke[..], &["--dry-run"]].concat())
        .expect(0)
        .says("Nothing was changed");
    ctl.run(&revoke).expect(2).says("--yes");
    let wrong = ctl.on_terminal(&revoke, "opr_other").expect(1);
    assert!(wrong.out.contains("nothing was changed"), "{}", wrong.out);
    assert!(
        wrong.out.contains(&ctl.url),
        "the prompt names the server: {}",
        wrong.out
    );
    holder.run(&["tenants", "list"]).expect(0);

    ctl.on_terminal(&revoke, &id).expect(0);
    holder.run(&["tenants", "list"]).expect(4);
    // Said again it changes nothing; a script agrees in its command.
    ctl.run(&[&revoke[..], &["--yes"]].concat()).expect(0);
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
async fn a_tenants_life_by_commands() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("lived").await;
    let id = tenant.id().as_str();

    let suspend = [
        "tenants",
        "suspend",
        id,
        "--reason",
        "Stocktaking.",
        "--until",
        "2h",
        "--wait=replicas",
    ];
    ctl.run(&suspend).expect(0);
    // Every replica has heard of it.
    assert_eq!(tenant.owner().get("/v1/me").await.status(), 403);
    let shown = ctl.run(&["tenants", "show", id]).expect(0).out;
    assert!(
        shown.contains("blocked") && shown.contains("Stocktaking."),
        "{shown}"
    );
    ctl.run(&["tenants", "resume", id, "--wait=replicas"])
        .expect(0);
    assert_eq!(tenant.owner().get("/v1/me").await.status(), 200);

    let delete = ["tenants", "delete", id];
    let preview = ctl
        .run(&[&delete[..], &["--dry-run", "-o", "json"]].concat())
        .expect(0)
        .json();
    assert_eq!(preview["tenant"], id);
    ctl.run(&delete).expect(2).says("--yes");
    ctl.on_terminal(&delete, tenant.slug()).expect(1);
    assert_eq!(tenant.owner().get("/v1/me").await.status(), 200);
    let asked = ctl.on_terminal(&delete, id).expect(0);
    assert!(
        asked.out.contains(&ctl.url),
        "the prompt names the server: {}",
        asked.out
    );

    ctl.run(&["tenants", "suspend", id])
        .expect(3)
        .says("tenantctl tenants restore");
    ctl.run(&["tenants", "restore", id, "--wait=replicas"])
        .expect(0);
    // A connection that the deletion ended may still answer one request with 503.
    until("the tenant is served again", || async {
        tenant.owner().get("/v1/me").await.status() == 200
    })
    .await;

    // Begun and not waited for; then followed to its end.
    let begun = ctl
        .run(&["tenants", "rotate", id, "--no-wait", "-o", "json"])
        .expect(0);
    begun.says("operations watch");
    let operation = begun.json()["id"].as_str().unwrap().to_owned();
    let over = ctl
        .run(&["operations", "watch", &operation, "-o", "ndjson"])
        .expect(0);
    assert_eq!(over.json()["state"], "done");
}

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

//! Secrets: looked for everywhere where they must not be.

use std::collections::BTreeSet;
use std::time::Duration;

use adapters::secret_store::{ClusterRole, SecretSubject};
use contract::Code;
use contract::secret::SecretRef;
use http::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use world::{Faults, Logs, PASSWORD, StopMode, World, WorldOptions, until};

use crate::fleet::backups::{Keeping, back_up, write};
use crate::support::{entry, role_password, seal, server_lines, signup, unique};

#[tokio::test]
async fn no_secret_is_logged_shown_or_said_to_a_database() {
    let _everything = Logs::everything();
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    world
        .postgres()
        .run("postgres", "create extension pg_stat_statements")
        .await;
    world
        .postgres()
        .run("postgres", "alter system set log_statement = 'all'")
        .await;
    world
        .postgres()
        .run("postgres", "select pg_reload_conf()")
        .await;
    let mut canaries = world.secrets();
    let mut shown = Vec::new();

    // A life with good days and bad ones.
    let acme = world.tenant("canary").await;
    let copied = world.tenant("canary").await;
    let viewer = acme.viewer().await;
    let wrong = format!("wrong-{:016x}", rand::random::<u64>());
    canaries.push(wrong.clone());
    canaries.push(PASSWORD.to_owned());
    for tenant in [&acme, &copied] {
        canaries.push(role_password(&world, tenant.id()).await.expose().to_owned());
        canaries.push(tenant.owner().token().to_owned());
    }
    let login = |password: &str| json!({ "email": acme.email(), "password": password });
    let tokens = acme
        .anonymous()
        .post("/v1/auth/login", login(PASSWORD))
        .await
        .expect(200)
        .json();
    let refresh = tokens["refresh_token"].as_str().unwrap().to_owned();
    let body = json!({ "refresh_token": refresh });
    acme.anonymous()
        .post("/v1/auth/refresh", body)
        .await
        .expect(200);
    canaries.push(refresh);
    let typo = json!({ "email": acme.email(), "password": PASSWORD, "pasword": wrong });
    shown.push(acme.anonymous().post("/v1/auth/login", login(&wrong)).await);
    shown.push(acme.anonymous().post("/v1/auth/login", typo).await);
    let broken = format!(r#"{{"email": "a", "password": "{wrong}" oops"#);
    let request = acme.anonymous().request(Method::POST, "/v1/auth/login");
    shown.push(request.body(broken).send().await);
    shown.push(
        viewer
            .post("/v1/users", json!({ "email": "a", "password": wrong }))
            .await,
    );
    let mut taken = signup(acme.slug());
    taken["password"] = json!(format!("{wrong}-and-more"));
    shown.push(world.visitor().post("/v1/signup", taken).await);
    let mut bad = signup(&unique("bad"));
    bad["password"] = json!([wrong]);
    shown.push(world.visitor().post("/v1/signup", bad).await);
    let cluster = json!({
        "name": "other", "region": "here", "host": "127.0.0.1", "port": 1, "tls": "disable",
        "admin_user": "postgres", "admin_password": wrong, "connection_budget": 5,
    });
    shown.push(world.operator().post("/v1/clusters", cluster).await);
    let port = world.postgres().superuser().port;
    let cluster = json!({
        "name": "other", "region": "here", "host": "localhost", "port": port, "tls": "disable",
        "admin_user": "postgres", "admin_password": wrong, "connection_budget": 5,
    });
    shown.push(world.operator().post("/v1/clusters", cluster).await);
    let info = format!("/internal/tenants/{}/db-info", acme.id());
    shown.push(world.service().get(&info).await.expect(200));
    shown.push(
        world
            .service()
            .get("/internal/signing-keys")
            .await
            .expect(200),
    );
    shown.push(world.service().get("/metrics").await.expect(200));
    shown.push(world.platform().get("/metrics").await.expect(200));
    shown.push(world.operator().get("/v1/clusters").await.expect(200));
    shown.push(world.operator().get("/v1/tenants").await.expect(200));
    shown.push(world.operator().get("/v1/operator-keys").await.expect(200));
    let id = acme.id();
    world
        .postgres()
        .run("postgres", &format!("alter role {id} nologin"))
        .await;
    let end = format!(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = '{id}'"
    );
    world.postgres().run("postgres", &end).await;
    until("the role is refused", || async {
        acme.owner().get("/v1/entries").await.status() == 503
    })
    .await;
    shown.push(acme.owner().get("/v1/entries").await);
    world.postgres().restart(StopMode::Immediate).await;
    until("the other tenant is served", || async {
        copied
            .owner()
            .post("/v1/entries", entry("After"))
            .await
            .status()
            == 201
    })
    .await;
    let replica = world.platform_replica(Faults::none()).await;
    replica.stop().await;
    // Read at once: the looks below are statements themselves, and hold what they look for.
    let said = server_lines(&world, 0, ".").await;

    for canary in &canaries {
        let name: String = canary.chars().take(6).collect();
        for answer in &shown {
            assert!(
                !answer.text().contains(canary.as_str()),
                "{name}... in {answer}"
            );
        }
        let lines = world.logs().with(canary);
        assert!(
            lines.is_empty(),
            "{name}... is logged {} times: {}",
            lines.len(),
            lines[0]
        );
        let literal = canary.replace('\'', "''");
        let written = [canary.as_str(), &literal];
        let line = said
            .iter()
            .find(|line| written.iter().any(|text| line.contains(text)));
        assert_eq!(line, None, "{name}... is in the server's log");
        let asked = format!(
            "select query from pg_stat_statements where query like '%{literal}%' and query not like '%pg_stat_statements%'
             union all select query from pg_stat_activity where query like '%{literal}%' and query not like '%pg_stat_activity%'"
        );
        let asked = world.postgres().texts("postgres", &asked).await;
        assert!(
            asked.iter().all(|query| query.contains("pg_stat_")),
            "{name}...: {asked:?}"
        );
        for command in command_lines() {
            assert!(!command.contains(canary.as_str()), "{name}... in {command}");
        }
    }
    // The look finds what is there.
    for looked_through in [acme.id().as_str(), "sqlx::query"] {
        assert!(!world.logs().with(looked_through).is_empty());
    }
    for looked_through in [
        "statement: begin",
        "insert into entries.entry",
        "parameters: $1 = ",
    ] {
        let found = said.iter().any(|line| line.contains(looked_through));
        assert!(found, "{looked_through}");
    }
}

/// The command lines of all processes that can be seen; none where there is no `/proc`.
fn command_lines() -> Vec<String> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .collect()
}

/// What `pg_restore` makes of the dump in these bytes, as text; none where there is no dump.
async fn dumped(bytes: &[u8]) -> Option<String> {
    let at = bytes.windows(5).position(|window| window == b"PGDMP")?;
    let binaries = postgres_server::Binaries::of_workspace().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, &bytes[at..]).unwrap();
    let written = std::process::Command::new(binaries.bin_dir.join("pg_restore"))
        .args(["--file", "-"])
        .arg(file.path())
        .output()
        .unwrap();
    Some(String::from_utf8_lossy(&written.stdout).into_owned())
}

/// Every row of every table of a database, as text.
async fn rows(world: &World, database: &str) -> String {
    let tables = "select quote_ident(schemaname) || '.' || quote_ident(tablename) from pg_tables
         where schemaname !~ '^pg_' and schemaname <> 'information_schema'";
    let mut all = String::new();
    for table in world.postgres().texts(database, tables).await {
        let sql = format!("select row_to_json(held)::text from {table} held");
        all.extend(world.postgres().texts(database, &sql).await);
    }
    all
}

#[tokio::test]
async fn no_secret_is_in_a_dump_an_archive_a_copy_or_the_list_of_processes() {
    let _everything = Logs::everything();
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("taken-along").await;
    write(&acme, &["kept in plain sight"]).await;
    let login = json!({ "email": acme.email(), "password": PASSWORD });
    let tokens = acme.anonymous().post("/v1/auth/login", login).await;
    let tokens = tokens.expect(200).json();
    let mut canaries = world.secrets();
    canaries.push(PASSWORD.to_owned());
    canaries.push(role_password(world, acme.id()).await.expose().to_owned());
    canaries.push(acme.owner().token().to_owned());
    canaries.push(tokens["refresh_token"].as_str().unwrap().to_owned());
    let cluster: contract::ClusterName = "main".parse().unwrap();
    for (role, column) in [
        (ClusterRole::Platform, "platform_credential"),
        (ClusterRole::Schema, "schema_credential"),
    ] {
        let sql = format!("select {column} from registry.cluster where name = 'main'");
        let reference = world.postgres().texts("registry", &sql).await.remove(0);
        let subject = SecretSubject::Cluster(cluster.clone(), role);
        let password = seal(world).open(&subject, &SecretRef(reference)).await;
        canaries.push(password.unwrap().expose().to_owned());
    }

    // Whoever looks at the processes while they run.
    let over = CancellationToken::new();
    let looking = tokio::spawn({
        let over = over.clone();
        async move {
            let mut seen = BTreeSet::new();
            let mut looks = tokio::time::interval(Duration::from_millis(10));
            while !over.is_cancelled() {
                looks.tick().await;
                let lines = command_lines().into_iter();
                seen.extend(lines.filter(|line| line.contains("pg_dump") || line.contains("psql")));
            }
            seen
        }
    });
    for encryption in ["none", "tenant"] {
        back_up(&operator, &acme, encryption).await;
    }
    let export = format!("/v1/tenants/{}/export", acme.id());
    let export = operator.request(Method::POST, &export).send().await;
    let export = export.expect(200).json()["result"]["export"].clone();
    let path = format!("/v1/exports/{}/archive", export.as_str().unwrap());
    let archive = operator.get(&path).await.expect(200).body().to_vec();
    let slug = format!("{}-copy", acme.slug());
    let clones = format!("/v1/tenants/{}/clones", acme.id());
    let cloned = operator.post(&clones, json!({ "slug": slug })).await;
    cloned.expect(200);
    over.cancel();
    let processes = looking.await.unwrap();
    if std::path::Path::new("/proc/self/cmdline").exists() {
        assert!(!processes.is_empty(), "the look finds what is there");
    }

    let copy = format!("t_{}", slug.replace('-', "_"));
    let mut places = vec![("rows of the copy".to_owned(), rows(world, &copy).await)];
    let mut dumps = 0;
    let objects = keeping.objects();
    let objects = objects.iter().map(|file| {
        let name = file.display().to_string();
        (name, std::fs::read(file).unwrap())
    });
    for (name, bytes) in objects.chain([("export".to_owned(), archive)]) {
        if let Some(text) = dumped(&bytes).await {
            assert!(text.contains("kept in plain sight"), "{name}: {text}");
            dumps += 1;
            places.push((format!("dump of {name}"), text));
        }
        places.push((name, String::from_utf8_lossy(&bytes).into_owned()));
    }
    assert!(dumps >= 2, "a backup and an export can be read: {dumps}");
    places.extend(processes.iter().map(|line| (line.clone(), line.clone())));
    for canary in &canaries {
        let short: String = canary.chars().take(6).collect();
        for (name, text) in &places {
            assert!(!text.contains(canary.as_str()), "{short}... in {name}");
        }
        assert_eq!(world.logs().with(canary).len(), 0, "{short}... is logged");
    }
}

#[tokio::test]
async fn the_registry_holds_no_secret_in_the_clear() {
    let world = World::shared().await;
    let acme = world.tenant("dump").await;
    let mut canaries = world.secrets();
    canaries.push(PASSWORD.to_owned());
    canaries.push(role_password(&world, acme.id()).await.expose().to_owned());
    let tables =
        "select table_name::text from information_schema.tables where table_schema = 'registry'";
    for table in world.postgres().texts("registry", tables).await {
        let rows = format!("select row_to_json(t)::text from registry.{table} t");
        for row in world.postgres().texts("registry", &rows).await {
            for canary in &canaries {
                assert!(!row.contains(canary.as_str()), "{table} holds a secret");
            }
        }
    }
}

#[tokio::test]
async fn a_sealed_password_of_one_tenant_does_not_open_for_another() {
    let world = World::start().await;
    let acme = world.tenant("sealed").await;
    let beta = world.tenant("sealed").await;
    let swap = format!(
        "update registry.tenant set generation = generation + 1, credentials =
             (select credentials from registry.tenant where id = '{}') where id = '{}'",
        beta.id(),
        acme.id()
    );
    world.postgres().run("registry", &swap).await;
    world.set_status(acme.id(), "active").await;
    let end = format!(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = '{}'",
        acme.id()
    );
    world.postgres().run("postgres", &end).await;
    until("the swapped box is met", || async {
        world.postgres().run("postgres", &end).await;
        acme.owner().get("/v1/entries").await.status() == 503
    })
    .await;
    let answer = acme.owner().get("/v1/entries").await.expect(503);
    answer.refused(Code::TenantUnavailable);
    beta.owner().get("/v1/entries").await.expect(200);
}

//! `cargo up -- tour`: a narrated minute on data of its own.
//!
//! Deliberately shows only what the services do by themselves: nothing is prepared, and what fails
//! ends the tour. Invariant: a stack that runs beside it is not touched.

use std::path::Path;
use std::time::Duration;

use adapters::secret_store::SecretSubject;
use anyhow::{Context as _, bail};
use kit::telemetry::{LogFormat, LogSettings};
use postgres_server::StopMode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::announce::{say, step};
use crate::api::{Answer, Api};
use crate::arguments::Arguments;
use crate::credentials::Credentials;
use crate::database::Database;
use crate::folder::Folder;
use crate::load::Load;
use crate::reach::{self, Reach};
use crate::services::{Replica, Wiring};

/// How long requests go on while something is down, and before and after.
const WATCHED: Duration = Duration::from_secs(5);
/// How long a killed service's port may stay taken.
const PORT_PATIENCE: Duration = Duration::from_secs(10);
/// How long a sign-up may take.
const SIGN_UP_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// How exactly we know when the server is back.
const SEEN_WITHIN: Duration = Duration::from_millis(20);
const LIST: &str = "/v1/entries?limit=5";

/// A tenant that was signed up here.
struct Guest {
    id: String,
    /// Its owner, logged in.
    owner: Api,
}

/// Runs the tour.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = Folder::open(arguments, None)?;
    let log = LogSettings {
        format: LogFormat::Pretty,
        filter: "info".to_owned(),
    };
    let _telemetry = kit::telemetry::init_with_writer(&log, folder.new_tour_log()?)?;
    let credentials = Credentials::generate();
    let started = Instant::now();

    say("Starting PostgreSQL and both services, on data that is gone afterwards.");
    let mut database = step("PostgreSQL", Database::temporary(arguments)).await?;
    let admin = database.admin.clone();
    let programs = database.programs.clone();
    let wiring = Wiring {
        admin: &admin,
        credentials: &credentials,
        api_url: None,
        objects: None,
        programs: programs.as_deref().and_then(Path::to_str),
        takes_over_from: None,
    };
    let (platform, app) = step("Registry, services, template", async {
        wiring.ensure_registry().await?;
        let platform = wiring.start_platform(None).await?;
        wiring.ensure_cluster(&platform).await?;
        let app = wiring.start_app(&platform).await?;
        app.ready().await?;
        wiring.stocked(&platform).await?;
        Ok((platform, app))
    })
    .await?;
    let mut summary = Vec::new();
    let guests = sign_up(&platform, &app, &mut summary).await?;
    work(&guests).await?;
    wall(&platform, &credentials, &guests, &mut summary).await?;
    let platform = without_platform(&wiring, platform, &app, &guests, &mut summary).await?;
    restart_database(&mut database, &guests, &mut summary).await?;

    say("\nThat was it:");
    summary.iter().for_each(|line| say(&format!("  - {line}")));
    say(&format!(
        "\nIt took {:.0} s. `cargo up` starts a stack of your own.",
        started.elapsed().as_secs_f64()
    ));
    app.stop().await?;
    platform.stop().await?;
    database.stop().await
}

async fn sign_up(
    platform: &Replica,
    app: &Replica,
    summary: &mut Vec<String>,
) -> anyhow::Result<Vec<Guest>> {
    say("\nTwo companies sign up; each gets a PostgreSQL database with a role of its own.");
    let mut guests = Vec::new();
    let mut times = Vec::new();
    for company in ["Aurora Books", "Borealis Cars"] {
        let asked = Instant::now();
        let guest = guest(platform, app, company).await?;
        let millis = asked.elapsed().as_millis();
        say(&format!(
            "  {company}: tenant {}, signed up and logged in after {millis} ms",
            guest.id
        ));
        times.push(format!("{millis} ms"));
        guests.push(guest);
    }
    summary.push(format!(
        "two tenants with databases of their own, made in {}",
        times.join(" and ")
    ));
    Ok(guests)
}

/// Signs a company up and logs its owner in.
async fn guest(platform: &Replica, app: &Replica, company: &str) -> anyhow::Result<Guest> {
    let (email, password) = ("owner@company.example", "violet-anchor-9-harbour");
    let new = json!({ "company": company, "email": email, "password": password });
    let visitor = Api::new(&platform.url())?;
    let tenant = made(&visitor, visitor.post("/v1/signup", &new).await?).await?;
    let id = tenant["id"]
        .as_str()
        .context("a sign-up gives an id")?
        .to_owned();
    let owner = Api::new(&app.url())?
        .tenant(&id)
        .logged_in(email, password)
        .await?;
    Ok(Guest { id, owner })
}

/// A tenant that was signed up, once it is made: on a busy machine that takes longer than the answer.
async fn made(visitor: &Api, answer: Answer) -> anyhow::Result<Value> {
    answer.accepted()?;
    let tenant = answer.body;
    let Some(ticket) = tenant.get("operation") else {
        return Ok(tenant);
    };
    let text = |name: &str| {
        let text = ticket[name].as_str();
        text.with_context(|| format!("a 202 gives a {name}"))
    };
    let (path, poller) = (text("path")?, visitor.bearer(text("token")?));
    let started = Instant::now();
    loop {
        let operation = poller.get(path).await?.expect(200)?;
        match operation["state"].as_str() {
            Some("done") => return Ok(tenant),
            Some("running") if started.elapsed() < SIGN_UP_PATIENCE => sleep(POLL).await,
            _ => bail!("the sign-up came to no end: {operation}"),
        }
    }
}

async fn work(guests: &[Guest]) -> anyhow::Result<()> {
    say("\nBoth work in their databases over the same API.");
    for guest in guests {
        for number in 1..=3 {
            let entry = json!({ "title": format!("Entry {number} of {}", guest.id), "body": {} });
            guest.owner.post("/v1/entries", &entry).await?.expect(201)?;
        }
        let list = guest.owner.get(LIST).await?.expect(200)?;
        let titles: Vec<&str> = list["data"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|e| e["title"].as_str())
            .collect();
        say(&format!("  {} sees: {}", guest.id, titles.join(", ")));
    }
    Ok(())
}

async fn wall(
    platform: &Replica,
    credentials: &Credentials,
    guests: &[Guest],
    summary: &mut Vec<String>,
) -> anyhow::Result<()> {
    let [a, b] = guests else {
        bail!("there are two tenants")
    };
    say(&format!(
        "\nThe wall: {} asks for the entries of {} with its own token.",
        a.id, b.id
    ));
    let refused = a.owner.tenant(&b.id).get(LIST).await?.expect(403)?;
    say(&format!(
        "  app-service: 403 {}: {}",
        text(&refused["code"]),
        text(&refused["detail"])
    ));

    say(&format!(
        "Behind it: the role of {} with its right password, at the database of {}.",
        a.id, b.id
    ));
    let reach = Reach::new(&platform.internal_url(), credentials)?;
    let (route_a, route_b) = (reach.route(&a.id).await?, reach.route(&b.id).await?);
    let reference = route_a
        .credentials
        .first()
        .context("a tenant has a password")?;
    let password = reach
        .open(&SecretSubject::Tenant(route_a.tenant.clone()), reference)
        .await?;
    reach::enter(&route_a, &a.id, &password)
        .await
        .context("its own database is open to it")?;
    let Err(error) = reach::enter(&route_b, &a.id, &password).await else {
        bail!("PostgreSQL let {} into the database of {}", a.id, b.id);
    };
    let words = error
        .as_database_error()
        .map_or_else(|| error.to_string(), |e| e.message().to_owned());
    say(&format!(
        "  its own database: let in\n  PostgreSQL, the other one: {words}"
    ));
    summary.push(format!(
        "403 {} at the API, and PostgreSQL's own \"{words}\"",
        text(&refused["code"])
    ));
    Ok(())
}

async fn without_platform(
    wiring: &Wiring<'_>,
    platform: Replica,
    app: &Replica,
    guests: &[Guest],
    summary: &mut Vec<String>,
) -> anyhow::Result<Replica> {
    say("\nplatform-service is killed while both tenants work.");
    let load = Load::start(&speakers(guests), LIST);
    sleep(WATCHED / 2).await;
    let (internal, url) = (platform.internal, platform.url());
    let killed = Instant::now();
    drop(platform);
    sleep(WATCHED).await;
    let sign_up = Api::new(&url)?.post("/v1/signup", &json!({})).await;
    say(&format!(
        "  a sign-up meanwhile: {}",
        if sign_up.is_err() {
            "nobody answers"
        } else {
            "still answered"
        }
    ));
    let platform = start_again(wiring, internal).await?;
    let down = killed.elapsed().as_secs_f64();
    sleep(WATCHED / 2).await;
    let tally = load.finish().await?;
    let failed = tally.later() + tally.broken();
    say(&format!(
        "  {} requests of known tenants, {failed} failed",
        tally.total()
    ));
    let asked = Instant::now();
    let newcomer = signed_up_after(&platform, app).await?;
    say(&format!(
        "  it is back: {} signed up in {} ms",
        newcomer.id,
        asked.elapsed().as_millis()
    ));
    summary.push(format!(
        "{down:.1} s without platform-service: {} requests, {failed} failed",
        tally.total()
    ));
    Ok(platform)
}

/// Starts platform-service where the killed one was, as soon as the port is free.
async fn start_again(
    wiring: &Wiring<'_>,
    internal: std::net::SocketAddr,
) -> anyhow::Result<Replica> {
    let started = Instant::now();
    loop {
        match wiring.start_platform(Some(internal)).await {
            Ok(platform) => return Ok(platform),
            Err(error) if started.elapsed() > PORT_PATIENCE => return Err(error),
            Err(_) => sleep(POLL).await,
        }
    }
}

/// A sign-up at a platform that has just started, which app-service may have to find first.
async fn signed_up_after(platform: &Replica, app: &Replica) -> anyhow::Result<Guest> {
    platform.ready().await?;
    guest(platform, app, "Corona Cafe").await
}

async fn restart_database(
    database: &mut Database,
    guests: &[Guest],
    summary: &mut Vec<String>,
) -> anyhow::Result<()> {
    say("\nPostgreSQL is restarted while both tenants work.");
    let server = database
        .server()
        .context("the tour has a server of its own")?;
    let load = Load::start(&speakers(guests), LIST);
    sleep(WATCHED / 2).await;
    let stopped = Instant::now();
    server.restart(StopMode::Fast).await?;
    let back = Instant::now();
    sleep(WATCHED).await;
    let tally = load.finish().await?;
    let down = back.duration_since(stopped).as_secs_f64();
    let (total, later, broken) = (tally.total(), tally.later(), tally.broken());
    let recovered = tally.recovered_after(back).max(SEEN_WITHIN).as_millis();
    say(&format!(
        "  down for {down:.1} s: of {total} requests {later} were told to come again (503), \
         {broken} failed otherwise\n  everything is served again within {recovered} ms of its return"
    ));
    summary.push(format!(
        "PostgreSQL down for {down:.1} s: {later} of {total} requests got 503, {broken} failed \
         otherwise; all served again within {recovered} ms of its return"
    ));
    Ok(())
}

fn speakers(guests: &[Guest]) -> Vec<Api> {
    guests.iter().map(|guest| guest.owner.clone()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

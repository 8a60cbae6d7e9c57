//! What is printed: progress, the announcement, errors.
//!
//! Deliberately plain text without colours, so that it can be kept, searched and pasted. Invariant:
//! every printed command works as pasted, without further programs than curl and sed, at any later
//! time while the stack runs; and a reader that goes away, as `head` does, ends nothing.

use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use crate::credentials::Credentials;
use crate::demo;
use crate::folder::Folder;

/// Columns of a step's name.
const STEP_COLUMNS: usize = 46;

/// Makes curl end with the status of the answer.
const SHOW_STATUS: &str = r"-w '\n%{http_code}\n'";

/// Says a line.
pub(crate) fn say(line: &str) {
    show(&format!("{line}\n"));
}

fn show(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // What cannot be shown is no reason to stop.
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// Says what is done now and, when it is done, how long it took.
pub(crate) async fn step<T>(
    what: &str,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    show(&format!("  {what:<STEP_COLUMNS$} "));
    let started = Instant::now();
    let outcome = work.await;
    match &outcome {
        Ok(_) => say(&format!("{:>6.2} s", started.elapsed().as_secs_f64())),
        Err(_) => say("failed"),
    }
    outcome
}

/// Says why the program ends.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
    ExitCode::FAILURE
}

/// Everything that a user needs to try what runs.
pub(crate) fn ready(
    url: &str,
    postgres: &[String],
    folder: &Folder,
    credentials: &Credentials,
) -> String {
    let Credentials {
        operator_key,
        demo_password,
        ..
    } = credentials;
    let postgres = postgres.join("\n                 ");
    let log = folder.log();
    format!(
        "  API            {url}
  Documentation  {url}/docs   ({url}/openapi.json)
  PostgreSQL     {postgres}
  Log            {log}
  Operator key   {operator_key}

  Demo tenants   (password of everybody: {demo_password})
{tenants}
  Try            (each line as it is; none gets stale)

  # Sign up: a tenant with a database of its own
{sign_up}

  # List entries of {shown} as its viewer
{list}

  # The wall: a token of {shown} at another tenant's door is refused with 403
{wall}

  # The gates: a write to {read_only}, anything to tenants that are closed, and what schema {behind} has
{gates}
",
        log = log.display(),
        tenants = tenants(),
        shown = demo::SHOWN.id,
        sign_up = sign_up_line(url, demo_password),
        list = list_line(url, demo_password),
        wall = wall_line(url, demo_password),
        read_only = demo::READ_ONLY.id,
        behind = demo::OTHER.id,
        gates = [
            read_only_line(url, demo_password),
            closed_line(url, folder),
            behind_line(url, operator_key),
        ]
        .join("\n"),
    )
}

fn tenants() -> String {
    let mut text = String::new();
    for tenant in demo::TENANTS {
        text += &format!("    {:<12} {}\n", tenant.id, tenant.what);
        if tenant.is_closed() {
            continue;
        }
        for (role, email) in tenant.users() {
            text += &format!("    {:<12} {role:<7} {email}\n", "");
        }
    }
    text
}

fn sign_up_line(url: &str, password: &str) -> String {
    format!(
        "curl -s {url}/v1/signup -H 'content-type: application/json' -d '{{\"company\":\"Globex\",\
         \"slug\":\"globex-'\"$(date +%s)\"'\",\"email\":\"hank@globex.example\",\
         \"password\":\"{password}\"}}'; echo"
    )
}

/// The part of a line that logs the least of a tenant's users in and keeps the token.
fn log_in(url: &str, tenant: &demo::Demo, password: &str) -> String {
    let (_, email) = tenant.viewer();
    format!(
        "TOKEN=$(curl -s {url}/v1/auth/login -H 'x-tenant-id: {id}' \
         -H 'content-type: application/json' \
         -d '{{\"email\":\"{email}\",\"password\":\"{password}\"}}' \
         | sed -n 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/p')",
        id = tenant.id,
    )
}

fn list_line(url: &str, password: &str) -> String {
    format!(
        "{}; curl -s '{url}/v1/entries?limit=3' -H 'x-tenant-id: {}' \
         -H \"authorization: Bearer $TOKEN\"; echo",
        log_in(url, &demo::SHOWN, password),
        demo::SHOWN.id,
    )
}

fn wall_line(url: &str, password: &str) -> String {
    format!(
        "{}; curl -s {SHOW_STATUS} '{url}/v1/entries' -H 'x-tenant-id: {}' \
         -H \"authorization: Bearer $TOKEN\"",
        log_in(url, &demo::SHOWN, password),
        demo::OTHER.id,
    )
}

fn read_only_line(url: &str, password: &str) -> String {
    format!(
        "{}; curl -s {SHOW_STATUS} '{url}/v1/entries' -H 'x-tenant-id: {}' \
         -H \"authorization: Bearer $TOKEN\" -H 'content-type: application/json' -d '{{\"title\":\"x\"}}'",
        log_in(url, &demo::READ_ONLY, password),
        demo::READ_ONLY.id,
    )
}

/// Nobody can log in there: who did before still has a token, which is in a file.
fn closed_line(url: &str, folder: &Folder) -> String {
    let closed = demo::TENANTS.iter().filter(|tenant| tenant.is_closed());
    let closed: Vec<&str> = closed.map(|tenant| tenant.id).collect();
    format!(
        "for T in {}; do curl -s {SHOW_STATUS} {url}/v1/entries -H \"x-tenant-id: $T\" \
         -H \"@{}/$T\"; done",
        closed.join(" "),
        folder.gates().display(),
    )
}

fn behind_line(url: &str, operator_key: &str) -> String {
    format!(
        "curl -s {url}/v1/tenants/{} -H 'authorization: Bearer {operator_key}' \
         | sed -n 's/.*\"schema_versions\":{{\\([^}}]*\\)}}.*/\\1/p'; echo",
        demo::OTHER.id,
    )
}

//! A database that is there becomes a tenant.
//!
//! Deliberately says nothing itself of what will do: the platform looks. Invariant: with `--dry-run`
//! nothing is changed, and a database that cannot be adopted like this is a failure.

use clap::Args;
use contract::operator::adoption::NewAdoption;
use contract::{ClusterName, SchemaOwner, SchemaVersions, Slug};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::owner::{Chosen, OwnerPassword, PASSWORD};
use crate::api::Query;
use crate::commands::operations;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::follow;
use crate::output::{Column, columns, counted, plain, state};

const PATH: &str = "/v1/tenants/adopt";

columns! {
    const PREVIEW: "AdoptionPreview" = [
        plain("tenant", "/tenant"),
        plain("cluster", "/cluster"),
        plain("database", "/database"),
        plain("bytes", "/size_bytes"),
        plain("can be adopted", "/adoptable"),
    ];

    const CHECKS: "AdoptionCheck" = [
        plain("check", "/check"),
        state("outcome", "/outcome"),
        plain("detail", "/detail"),
    ];
}

/// Texts, each on a line.
const LINES: &[Column<'_>] = &[plain("", "/line")];

/// A database that becomes a tenant.
#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// The name of the database on its server.
    #[arg(value_name = "DATABASE")]
    database: String,
    /// The cluster that the database is on.
    #[arg(long)]
    cluster: ClusterName,
    /// The customer's name.
    #[arg(long)]
    company: String,
    /// Short name for people to type. Default: derived from the company.
    #[arg(long)]
    slug: Option<Slug>,
    /// Contact address of the tenant, and e-mail address of the new owner.
    #[arg(long, visible_alias = "email", value_name = "EMAIL")]
    owner_email: String,
    /// Tier, as in `tenantctl tiers list`.
    #[arg(long)]
    tier: Option<String>,
    /// Region that the data must stay in. Refused if the cluster is in another one.
    #[arg(long)]
    region: Option<String>,
    /// IANA time zone, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Versions of existing schemas that have no migration history, such as auth=2,entries=1.
    #[arg(long, value_name = "SCHEMA=VERSION", value_delimiter = ',', value_parser = version)]
    baseline: Vec<(SchemaOwner, i32)>,
    /// Create no owner: the accounts in the database stay as they are.
    #[arg(long, conflicts_with_all = ["generate_password", "password_stdin", "password_file"])]
    no_owner: bool,
    #[command(flatten)]
    password: OwnerPassword,
    /// Show what was found and what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

fn version(text: &str) -> Result<(SchemaOwner, i32), String> {
    let rule = || "expected a schema and its version, such as auth=2".to_owned();
    let (owner, version) = text.split_once('=').ok_or_else(rule)?;
    Ok((
        owner.parse().map_err(|_| rule())?,
        version.parse().map_err(|_| rule())?,
    ))
}

/// What is sent: the password is no part of what a request is shown as.
#[derive(Serialize)]
struct Sent<'a> {
    #[serde(flatten)]
    adoption: &'a NewAdoption,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

impl Adopt {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let password = match self.no_owner {
            true => None,
            false => Some(self.password.read()?),
        };
        let adoption = NewAdoption {
            cluster: self.cluster,
            database: self.database,
            company: self.company,
            slug: self.slug.map(String::from),
            email: self.owner_email,
            password: None,
            tier: self.tier,
            region: self.region,
            time_zone: self.time_zone,
            baseline: self.baseline.into_iter().collect::<SchemaVersions>(),
            dry_run: self.dry_run,
        };
        let body = Sent {
            adoption: &adoption,
            password: password.as_ref().map(Chosen::expose),
        };
        if adoption.dry_run {
            return preview(context, &body).await;
        }
        let mut unseen = password.as_ref().map(|password| password.unseen(context));
        let begun = follow::recorded(context, PATH, &body).await;
        let begun = match &mut unseen {
            Some(unseen) => unseen.sent(begun),
            None => begun,
        }?;
        let followed = begun.followed(context, PATH, &body).await;
        let mut view = match &mut unseen {
            Some(unseen) => unseen.followed(followed),
            None => followed,
        }?;
        if let Some(unseen) = unseen {
            unseen.show_in(&mut view);
        }
        let mut fields = operations::FIELDS.to_vec();
        fields.push(PASSWORD);
        context.out.item(&fields, &view)?;
        follow::say_how_to_follow(context, &view);
        Ok(())
    }
}

/// Shows what was found, and fails where it will not do.
async fn preview(context: &Context, body: &Sent<'_>) -> Result<(), Failure> {
    let api = context.api()?;
    let (_, seen) = api.post(PATH, &Query::new(), body, Uuid::now_v7()).await?;
    let empty = Vec::new();
    let list = |name: &str| seen[name].as_array().unwrap_or(&empty).clone();
    let checks = list("checks");
    context.out.item(PREVIEW, &seen)?;
    context.out.part("checks", CHECKS, &checks)?;
    context.out.part("steps", LINES, &lines(&list("actions")))?;
    let statements: Vec<Value> = checks
        .iter()
        .filter_map(|check| check["statements"].as_array())
        .flatten()
        .cloned()
        .collect();
    context.out.part(
        "an administrator of the server has to run first",
        LINES,
        &lines(&statements),
    )?;
    context.out.note("Nothing was changed.");
    if seen["adoptable"] == true {
        return Ok(());
    }
    let failed = checks.iter().filter(|check| check["outcome"] == "failed");
    Err(Failure::Found {
        what: format!(
            "the database {} cannot be adopted like this: {} failed",
            text(&seen, "/database"),
            counted(failed.count(), "check")
        ),
        next: vec!["fix what the failed checks say, then try again".to_owned()],
    })
}

fn lines(texts: &[Value]) -> Vec<Value> {
    let line = |text: &Value| serde_json::json!({ "line": text });
    texts.iter().map(line).collect()
}

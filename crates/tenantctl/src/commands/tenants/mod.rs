//! Tenants: list, show, create, update; their life and their data have files of their own.
//!
//! Deliberately never a password as an argument. Invariant: a change names the generation that was
//! read, so that nobody's change is lost.

pub(crate) mod adopt;
pub(crate) mod data;
pub(crate) mod life;
mod owner;

use clap::{Args, Subcommand};
use contract::operator::fleet::SchemaAge;
use contract::{ClusterName, Code, Slug, TenantId, TenantStatus};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::api::Query;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::follow;
use crate::output::{Column, plain, state, time};
use crate::values;
use owner::OwnerPassword;

const COLUMNS: &[Column<'_>] = &[
    plain("id", "/id"),
    plain("slug", "/slug"),
    state("status", "/status"),
    plain("tier", "/tier"),
    plain("region", "/region"),
    plain("cluster", "/cluster"),
    plain("company", "/company"),
    time("created", "/created_at"),
];

/// What is shown of one tenant.
const FIELDS: &[Column<'_>] = &[
    plain("tenant", "/id"),
    plain("slug", "/slug"),
    plain("company", "/company"),
    plain("contact", "/contact_email"),
    state("status", "/status"),
    plain("wall", "/suspension/wall").or("/wall"),
    plain("reason", "/suspension/reason").or("/suspended_reason"),
    time("until", "/suspension/until").or("/suspended_until"),
    time("held until", "/hold/until").or("/held_until"),
    time("deleted", "/deleted_at"),
    time("purged after", "/purge_after"),
    time("purged", "/purged_at"),
    plain("tier", "/tier"),
    plain("overrides", "/overrides"),
    plain("labels", "/labels"),
    plain("region", "/region"),
    plain("time zone", "/time_zone"),
    plain("cluster", "/cluster"),
    plain("copy", "/copy"),
    plain("generation", "/generation"),
    plain("schemas", "/schema_versions"),
    time("created", "/created_at"),
    time("activated", "/activated_at"),
    time("changed", "/updated_at"),
];

const FAILURES: &[Column<'_>] = &[
    plain("schema", "/owner"),
    plain("migration", "/migration"),
    plain("sqlstate", "/sqlstate"),
    plain("times", "/failures"),
    time("last", "/last_at"),
    plain("message", "/message"),
    plain("statement", "/statement"),
];

const MADE: &[Column<'_>] = &[
    plain("tenant", "/id"),
    plain("slug", "/slug"),
    state("status", "/status"),
    plain("api", "/api_url"),
    plain("owner", "/login/body/email"),
];

/// How many tenants are looked at for a name that comes close.
const LOOKED_AT: usize = 500;
/// How far a name may be off.
const FARTHEST: usize = 3;

/// What can be done with tenants.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List tenants in the order of their ids.
    #[command(after_help = "Examples:
  tenantctl tenants list --status suspended
  tenantctl tenants list --behind --label disk=nvme
  tenantctl tenants list --text acme --limit 0 -o ndjson")]
    List(List),
    /// Show a tenant, with the migrations that fail in its database.
    #[command(after_help = "Examples:
  tenantctl tenants show t_acme
  tenantctl tenants show t_acme -o json")]
    Show(Named),
    /// Make a tenant, with an owner who can log in.
    #[command(after_help = "Examples:
  tenantctl tenants create --company 'Acme Corp' --email ada@acme.example --generate-password
  tenantctl tenants create --company 'Acme Corp' --slug acme --email ada@acme.example --tier premium --password-stdin < password

The owner's password comes from TENANTCTL_OWNER_PASSWORD, a file or stdin, or is typed.")]
    Create(Create),
    /// Make a tenant of a database that is on a cluster already; its data stays as it is.
    #[command(after_help = "Examples:
  tenantctl tenants adopt legacy_acme --cluster main --company 'Acme Corp' --owner-email ada@acme.example --generate-password --dry-run
  tenantctl tenants adopt legacy_acme --cluster main --company 'Acme Corp' --owner-email ada@acme.example --password-stdin < password
  tenantctl tenants adopt restored --cluster main --company 'Acme Corp' --owner-email ada@acme.example --no-owner --baseline auth=2,entries=1

The database gets the tenant's name, and whoever sits in it is thrown out. --dry-run shows what is in the
way, with the statements that an administrator of the server has to run first. What fails is given back
as it was found.")]
    Adopt(adopt::Adopt),
    /// Change a tenant's company, slug, contact, tier, time zone, labels or overrides.
    #[command(after_help = "Examples:
  tenantctl tenants update t_acme --tier premium
  tenantctl tenants update t_acme --company 'Acme Holding' --contact it@acme.example
  tenantctl tenants update t_acme --label disk=nvme
  tenantctl tenants update t_acme --overrides '{\"limits\": {\"users\": 75}}'")]
    Update(Update),
    /// Hold a tenant back: nobody gets in, or everybody may only read.
    #[command(after_help = "Examples:
  tenantctl tenants suspend t_acme --reason 'The invoice of May is open.'
  tenantctl tenants suspend t_acme --read-only --until 2h --wait=replicas")]
    Suspend(life::Suspend),
    /// Let a suspended tenant go on.
    #[command(after_help = "Example:
  tenantctl tenants resume t_acme")]
    Resume(Named),
    /// Take a tenant out of service; its data stays for its tier's retention.
    #[command(after_help = "Examples:
  tenantctl tenants delete t_acme --dry-run
  tenantctl tenants delete t_acme

Asks for the tenant's id; a script says --yes. `tenantctl tenants restore` brings it back.")]
    Delete(life::Delete),
    /// Bring a deleted tenant back.
    #[command(after_help = "Example:
  tenantctl tenants restore t_acme

To bring back older data of a tenant, see `tenantctl tenants restore-backup`.")]
    Restore(Named),
    /// Destroy the data of a deleted tenant for good.
    #[command(after_help = "Examples:
  tenantctl tenants purge t_acme --final-backup
  tenantctl tenants purge t_acme --force --dry-run

After its retention a deleted tenant is purged by itself. `tenantctl tenants certificate` shows what
was destroyed. `tenantctl backups fetch` fetches the last backup that --final-backup keeps, until it
expires.")]
    Purge(life::Purge),
    /// Show the certificate of what a purge destroyed.
    #[command(after_help = "Example:
  tenantctl tenants certificate t_acme -o json > t_acme.certificate.json")]
    Certificate(Named),
    /// Give a tenant's database role a new password; no request fails.
    #[command(after_help = "Example:
  tenantctl tenants rotate t_acme

All tenants: `tenantctl keys rotate-credentials`.")]
    Rotate(Named),
    /// Give a tenant another owner.
    #[command(after_help = "Examples:
  tenantctl tenants transfer t_acme --to grace@acme.example
  tenantctl tenants transfer t_acme --to grace@acme.example --generate-password
  tenantctl tenants transfer t_acme --to grace@acme.example --replace --password-stdin < password

Somebody who has no account in the tenant yet needs a first password; who has one keeps theirs.")]
    Transfer(life::Transfer),
    /// Move a tenant to another cluster of its region; requests wait, none fails.
    #[command(after_help = "Examples:
  tenantctl tenants move t_acme --to second --dry-run
  tenantctl tenants move t_acme --to second
  tenantctl tenants move t_acme --by replicate --no-wait")]
    Move(data::Move),
    /// Back a tenant up, now.
    #[command(after_help = "Examples:
  tenantctl tenants backup t_acme
  tenantctl tenants backup t_acme --encrypt -o json")]
    Backup(data::Backup),
    /// Replace a tenant's data by that of a backup.
    #[command(after_help = "Examples:
  tenantctl tenants restore-backup t_acme bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f
  tenantctl tenants restore-backup t_acme previous --yes

Requests wait for a moment. The replaced database is kept for a time: `previous` brings it back. Shows the
tables whose rows differ in number; before, `tenantctl backups verify` shows them too. To look at a backup
beside the tenant, see `tenantctl backups restore --to-new`.")]
    RestoreBackup(data::RestoreBackup),
    /// Copy a tenant to a new one, for staging or a look at a problem.
    #[command(after_help = "Examples:
  tenantctl tenants clone t_acme --as acme-staging
  tenantctl tenants clone t_acme --as acme-staging --anonymise scrub.sql

A copy of a backup: `tenantctl backups restore --to-new`.")]
    Clone(data::Clone),
    /// Write a tenant into an archive that can be imported anywhere.
    #[command(after_help = "Example:
  tenantctl tenants export t_acme --to acme.tar

The platform keeps the archive for some days (`tenantctl backups list`); `tenantctl backups fetch` fetches
it again.")]
    Export(data::Export),
    /// Make a tenant of an archive.
    #[command(after_help = "Examples:
  tenantctl tenants import acme.tar
  tenantctl tenants import acme.tar --slug acme-two --tier premium")]
    Import(data::Import),
    /// Make many tenants from a file, with a report per row.
    #[command(after_help = "Examples:
  tenantctl tenants bulk tenants.csv
  tenantctl tenants bulk tenants.ndjson -o ndjson

The first line of a CSV names the columns: company,slug,email,password,tier,region,time_zone,labels (disk=nvme rack=7).")]
    Bulk(data::Bulk),
}

/// One tenant.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Its id, such as t_acme; left out for the one of `tenantctl use`.
    #[arg(value_name = "TENANT", value_parser = values::tenant)]
    pub(crate) id: Option<TenantId>,
}

/// Which tenants.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// In this state of their life.
    #[arg(long, value_parser = values::one_of::<TenantStatus>(TenantStatus::ALL.map(TenantStatus::as_str)))]
    status: Option<TenantStatus>,
    /// Of this tier.
    #[arg(long)]
    tier: Option<String>,
    /// On this cluster.
    #[arg(long)]
    cluster: Option<ClusterName>,
    /// In this region.
    #[arg(long)]
    region: Option<String>,
    /// With this in their id, slug, company or contact address.
    #[arg(long)]
    text: Option<String>,
    /// With this label, name=value.
    #[arg(long, value_name = "LABEL", value_parser = values::label)]
    label: Option<(String, String)>,
    /// With schemas that are older than the newest: active and suspended ones, or those of --status.
    #[arg(long)]
    behind: bool,
    /// How many at most; 0 for all.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// A tenant to be made.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The customer's name.
    #[arg(long)]
    company: String,
    /// What people type for it; derived from the company where it is left out.
    #[arg(long)]
    slug: Option<Slug>,
    /// The owner's e-mail address.
    #[arg(long)]
    email: String,
    /// A name of `tenantctl tiers list`.
    #[arg(long)]
    tier: Option<String>,
    /// Where the data must stay.
    #[arg(long)]
    region: Option<String>,
    /// IANA name, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// A label that its cluster must have, name=value; several times for several.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    password: OwnerPassword,
}

/// What to change; what is left out stays.
#[derive(Debug, Args)]
pub(crate) struct Update {
    #[command(flatten)]
    tenant: Named,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// The customer's name.
    #[arg(long)]
    company: Option<String>,
    /// The address that the platform writes to.
    #[arg(long, value_name = "EMAIL")]
    contact: Option<String>,
    /// A name of `tenantctl tiers list`.
    #[arg(long)]
    tier: Option<String>,
    /// IANA name, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// What people type for it; the id stays.
    #[arg(long)]
    slug: Option<Slug>,
    /// A label that its cluster must have, name=value; several times for several. Replaces all labels.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// Takes all labels away.
    #[arg(long, conflicts_with = "labels")]
    no_labels: bool,
    /// Replaces all overrides: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    overrides: Option<Value>,
}

fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(Value::Object(fields)),
        _ => Err("is a JSON object, such as '{\"limits\": {\"users\": 75}}'".to_owned()),
    }
}

impl Command {
    /// Whether it changes what replicas know of tenants.
    pub(crate) fn is_heard_of(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Show(_) | Self::Certificate(_))
    }

    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(context).await,
            Self::Show(named) => show(context, &named).await,
            Self::Create(create) => create.run(context).await,
            Self::Adopt(adopt) => adopt.run(context).await,
            Self::Update(update) => update.run(context).await,
            Self::Suspend(suspend) => suspend.run(context).await,
            Self::Resume(named) => life::tell(context, &named, "resume").await,
            Self::Delete(delete) => delete.run(context).await,
            Self::Restore(named) => life::tell(context, &named, "restore").await,
            Self::Purge(purge) => purge.run(context).await,
            Self::Certificate(named) => life::certificate(context, &named).await,
            Self::Rotate(named) => life::tell(context, &named, "rotate").await,
            Self::Transfer(transfer) => transfer.run(context).await,
            Self::Move(moved) => moved.run(context).await,
            Self::Backup(backup) => backup.run(context).await,
            Self::RestoreBackup(restore) => restore.run(context).await,
            Self::Clone(clone) => clone.run(context).await,
            Self::Export(export) => export.run(context).await,
            Self::Import(import) => import.run(context).await,
            Self::Bulk(bulk) => bulk.run(context).await,
        }
    }
}

/// The path of a tenant.
pub(crate) fn path(id: &TenantId) -> String {
    format!("/v1/tenants/{id}")
}

async fn show(context: &Context, named: &Named) -> Result<(), Failure> {
    let id = context.tenant(named.id.as_ref())?;
    let tenant = context.api()?.get(&path(&id), &Query::new()).await?;
    context.out.item(FIELDS, &tenant)?;
    let failures = tenant["migration_failures"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    context.out.part("migrations that fail", FAILURES, failures)
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut query = Query::new();
        query.extend(
            self.status
                .map(|status| ("status", status.as_str().to_owned())),
        );
        query.extend(self.tier.map(|tier| ("tier", tier)));
        query.extend(self.cluster.map(|cluster| ("cluster", cluster.to_string())));
        query.extend(self.region.map(|region| ("region", region)));
        query.extend(self.text.map(|text| ("text", text)));
        let label = self.label.map(|(name, value)| format!("{name}={value}"));
        query.extend(label.map(|label| ("label", label)));
        let behind = self.behind.then_some(SchemaAge::Behind);
        query.extend(behind.map(|age| ("schema", age.as_str().to_owned())));
        context
            .list(COLUMNS, "/v1/tenants", &query, self.limit)
            .await
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let password = self.password.read()?;
        let mut body = json!({
            "company": self.company, "email": self.email, "password": password.expose(),
        });
        let optional = [
            ("slug", self.slug.map(String::from)),
            ("tier", self.tier),
            ("region", self.region),
            ("time_zone", self.time_zone),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        if !self.labels.is_empty() {
            let labels: Map<String, Value> = self
                .labels
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect();
            body["labels"] = Value::Object(labels);
        }
        let key = Uuid::now_v7();
        let mut unseen = password.unseen(context);
        let query: Query = vec![("wait", "none".to_owned())];
        let (_, mut made) = unseen.sent(api.post("/v1/tenants", &query, &body, key).await)?;
        if let Ok(operation) = text(&made, "/operation/id").parse() {
            let view = api.operation(operation).await?;
            if follow::is_over(&unseen.followed(follow::settled(context, view).await)?) {
                // The same request again: it makes nothing, and answers with the tenant as it is.
                (_, made) = api.post("/v1/tenants", &Query::new(), &body, key).await?;
            }
        }
        made = follow::heard(context, made, async |query| {
            api.post("/v1/tenants", &query, &body, key).await
        })
        .await?;
        // Whoever sees the answer may not need to read the operation by its token: keys can.
        if let Some(ticket) = made["operation"].as_object_mut() {
            ticket.remove("token");
        }
        unseen.show_in(&mut made);
        let mut fields = MADE.to_vec();
        fields.push(plain("operation", "/operation/id"));
        fields.push(plain("password", "/password"));
        context.out.item(&fields, &made)
    }
}

impl Update {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = context.tenant(self.tenant.id.as_ref())?;
        let body = self.change.body();
        let api = context.api()?;
        let (_, etag) = api.tagged(&path(&id)).await?;
        follow::patched(context, &path(&id), Some(&etag), &body, FIELDS).await
    }
}

impl Change {
    fn body(self) -> Value {
        let texts = [
            ("company", self.company),
            ("contact_email", self.contact),
            ("tier", self.tier),
            ("time_zone", self.time_zone),
            ("slug", self.slug.map(String::from)),
        ];
        let mut body: Map<String, Value> = texts
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
            .collect();
        body.extend(
            self.overrides
                .map(|overrides| ("overrides".to_owned(), overrides)),
        );
        if self.no_labels || !self.labels.is_empty() {
            let labels: Map<String, Value> = self
                .labels
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect();
            body.insert("labels".to_owned(), Value::Object(labels));
        }
        Value::Object(body)
    }
}

/// Adds to the refusal of an unknown tenant those whose ids come close.
pub(crate) async fn propose(context: &Context, failure: Failure) -> Failure {
    let Failure::Refused { route, refusal, .. } = &failure else {
        return failure;
    };
    // A detail says that something else of the tenant is missing.
    if !refusal.is(Code::NotFound) || refusal.detail.is_some() {
        return failure;
    }
    let (Some(wanted), Ok(api)) = (route.tenant(), context.api()) else {
        return failure;
    };
    let Ok(known) = api
        .items("/v1/tenants", &Query::new(), LOOKED_AT, "/id")
        .await
    else {
        return failure;
    };
    let mut close: Vec<(usize, String)> = known
        .iter()
        .map(|tenant| text(tenant, "/id"))
        .map(|id| (strsim::damerau_levenshtein(id, wanted), id.to_owned()))
        .filter(|(distance, id)| {
            *distance > 0 && (*distance <= FARTHEST.min(wanted.len() / 3) || id.starts_with(wanted))
        })
        .collect();
    close.sort_unstable();
    close.truncate(3);
    Failure::Refused {
        close: close.into_iter().map(|(_, id)| id).collect(),
        route: route.clone(),
        refusal: refusal.clone(),
    }
}

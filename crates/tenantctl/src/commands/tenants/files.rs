//! Tenants from files and to files: export, import, bulk.
//!
//! Deliberately reads what is sent as it is sent: an archive may be larger than memory. Invariant: an archive is
//! in its file only when all of it is.

use std::path::PathBuf;

use clap::Args;
use contract::operator::backup::NewImport;
use contract::{OperationId, Slug};
use hyper::body::{Bytes, Frame};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::data::given;
use super::{Named, path};
use crate::cli::Until;
use crate::commands::archive::{Existing, Target};
use crate::commands::operations;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::follow::{self, Bar};
use crate::values;

/// How much of a file is read at once.
const CHUNK: usize = 256 * 1024;

/// Writes an archive.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    tenant: Named,
    /// The file to write. Default: the tenant id with .tar.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Overwrite an existing file.
    #[arg(long)]
    force: bool,
    /// Fetch the archive of an earlier export instead of starting one.
    #[arg(long, value_name = "OPERATION")]
    operation: Option<OperationId>,
}

/// Makes a tenant of an archive.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The archive file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Slug of the tenant. Default: from the archive.
    #[arg(long)]
    slug: Option<Slug>,
    /// The customer's name. Default: from the archive.
    #[arg(long)]
    company: Option<String>,
    /// Tier, as in `tenantctl tiers list`. Default: from the archive.
    #[arg(long)]
    tier: Option<String>,
    /// Region that the data must stay in. Default: from the archive.
    #[arg(long)]
    region: Option<String>,
    /// A label that its cluster must have, name=value; repeatable. Default: from the archive.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
}

/// Makes many tenants.
#[derive(Debug, Args)]
pub(crate) struct Bulk {
    /// CSV file with a header line, or NDJSON file; - reads stdin. Columns: company, slug, email, password, tier, region, time_zone, labels.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = context.tenant(self.tenant.id.as_ref())?;
        let to = self.to.unwrap_or_else(|| format!("{id}.tar").into());
        let target = Target::of(&to, Existing::replaced_if(self.force))?;
        let view = match self.operation {
            Some(operation) => {
                let begun = context.api()?.operation(operation).await?;
                follow::settled(context, begun).await?
            }
            None => follow::begun(context, &format!("{}/export", path(&id)), &json!({})).await?,
        };
        if context.until() == Until::Begun {
            context.out.item(operations::FIELDS, &view)?;
            let operation = text(&view, "/id");
            context.out.note(&format!(
                "It is still running; fetch its archive with `tenantctl tenants export {id} --operation {operation}`."
            ));
            return Ok(());
        }
        let export = text(&view, "/result/export");
        if export.is_empty() {
            return Err(Failure::usage("that operation is not an export"));
        }
        target.fetch(context, export).await?;
        context.out.item(operations::FIELDS, &view)?;
        context
            .out
            .note(&format!("The archive is {}.", to.display()));
        Ok(())
    }
}

/// A file as the body of a request, read as it is sent.
fn body_of(file: std::fs::File, total: u64) -> reqwest::Body {
    let begin = (tokio::fs::File::from_std(file), Bar::new(), 0);
    let frames = futures::stream::unfold(begin, move |(mut file, bar, mut sent)| async move {
        let mut chunk = vec![0; CHUNK];
        match tokio::io::AsyncReadExt::read(&mut file, &mut chunk).await {
            Ok(0) => None,
            Ok(read) => {
                chunk.truncate(read);
                sent += read as u64;
                bar.counted(sent, total, "bytes", "sent");
                Some((Ok(Frame::data(Bytes::from(chunk))), (file, bar, sent)))
            }
            Err(error) => Some((Err(error), (file, bar, sent))),
        }
    });
    reqwest::Body::wrap(http_body_util::StreamBody::new(frames))
}

impl Import {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let failed = Failure::file("reading", &self.file);
        let file = std::fs::File::open(&self.file).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        let name = Uuid::now_v7().simple().to_string() + ".tar";
        let to = format!("/v1/imports/{name}");
        let (_, uploaded) = context
            .api()?
            .upload(
                Method::PUT,
                &to,
                Uuid::now_v7(),
                ("application/x-tar", body_of(file, metadata.len())),
            )
            .await?;
        let body = NewImport {
            archive: text(&uploaded, "/archive").to_owned(),
            slug: self.slug.map(String::from),
            company: self.company,
            tier: self.tier,
            region: self.region,
            labels: given(self.labels),
        };
        follow::begin(context, "/v1/imports", &body).await
    }
}

impl Bulk {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let failed = Failure::file("reading", &self.file);
        let text_of_file = if self.file.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin())
        } else {
            std::fs::read_to_string(&self.file)
        };
        let text_of_file = text_of_file.map_err(failed)?;
        let is_json = text_of_file.trim_start().starts_with('{');
        let kind = if is_json {
            "application/x-ndjson"
        } else {
            "text/csv"
        };
        let api = context.api()?;
        let key = Uuid::now_v7();
        let send = async |wait: &str| {
            let path = format!("/v1/tenants/bulk?wait={wait}");
            let body = (kind, text_of_file.clone().into());
            api.upload(Method::POST, &path, key, body).await
        };
        let look = "tenantctl operations list --kind bulk_create";
        let sent = send("none").await;
        let (_, view) = sent.map_err(|failure| failure.perhaps_begun(look))?;
        let view = follow::settled(context, view).await?;
        let view = follow::heard(context, view, async |_| send("replicas").await).await?;
        if !follow::is_over(&view) {
            return follow::shown(context, &view);
        }
        let id = text(&view, "/id").parse().map_err(|_| Failure::Strange {
            server: api.server().to_owned(),
            status: 200,
        })?;
        report(context, id).await
    }
}

/// Shows what became of each row of a file of tenants.
async fn report(context: &Context, id: OperationId) -> Result<(), Failure> {
    let rows = operations::rows(context, id).await?;
    context.out.list(operations::ROWS, &rows)?;
    let failed = rows.iter().filter(|row| is_failed(row)).count();
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::Found {
        what: format!("{failed} of {} rows failed", rows.len()),
        next: vec!["fix those rows and send them again in a file of their own".to_owned()],
    })
}

fn is_failed(row: &Value) -> bool {
    row["state"] == "failed"
}

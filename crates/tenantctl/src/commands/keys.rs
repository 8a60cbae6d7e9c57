//! Operator keys: list, create, revoke; and the platform's own keys.
//!
//! Deliberately no change of a key: make another one. Invariant: a new key's text is the only thing on
//! stdout, so that it can be piped to where it is kept.

use clap::{Args, Subcommand};
use contract::operator::oversight::SCOPES;
use contract::operator::upkeep::NewRotation;
use reqwest::Method;
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::selection::SelectionFlags;
use crate::api::Query;
use crate::confirm;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::follow;
use crate::output::{Format, columns, plain, state, time};
use crate::values;

columns! {
    const COLUMNS: "OperatorKeyView" = [
        plain("id", "/id"),
        plain("name", "/name"),
        plain("scopes", "/scopes"),
        time("created", "/created_at"),
        time("last used", "/last_used_at"),
        time("expires", "/expires_at"),
        time("revoked", "/revoked_at"),
    ];

    const SIGNING: "SigningKeyView" = [
        plain("signing key", "/kid"),
        state("state", "/state"),
        time("signs from", "/signs_from"),
        time("good until", "/verifies_until"),
    ];

    const SEALING: "SealingKeyView" = [
        plain("sealing key", "/id"),
        state("state", "/state"),
        plain("secrets", "/secrets"),
        time("known since", "/known_since"),
    ];
}

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List operator keys, the oldest first; never their text.
    #[command(after_help = "Example:
  tenantctl keys list

A use is noted to about a minute; `-` where none was seen.")]
    List,
    /// Make an operator key and print it, once.
    #[command(after_help = "Examples:
  tenantctl keys create 'on-call console' --scope tenants:read --scope operations:read
  tenantctl keys create ci --scope rollouts:write --expires-in 90d > ci.key
  tenantctl keys create audit --scope audit:read --expires-at 2027-01-31T00:00:00Z

Without an end a key is good until it is revoked. A key's end is never changed: make another key.
A key allows no more than the one that makes it.")]
    Create(Create),
    /// Revoke an operator key: the next request with it is refused.
    #[command(after_help = "Example:
  tenantctl keys revoke opr_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Revoke(Revoke),
    /// Show the platform's own keys, which sign tokens and seal secrets; never their text.
    #[command(after_help = "Example:
  tenantctl keys platform

A sealing key that only opens and has no secrets left can be dropped from the ring of every service.")]
    Platform,
    /// Publish a new key that signs access tokens; tokens of the old one stay good.
    #[command(after_help = "Example:
  tenantctl keys rotate-signing")]
    RotateSigning,
    /// Seal every secret anew with the first key of the ring.
    #[command(after_help = "Example:
  tenantctl keys reseal

Before: add the new key at the end of the ring of every service and restart them all, so that each can
open what it seals; then put it first and restart them all. Afterwards `tenantctl keys platform` says
which keys seal nothing any more.")]
    Reseal,
    /// Give the database roles of many tenants new passwords; no request fails.
    #[command(after_help = "Examples:
  tenantctl keys rotate-credentials
  tenantctl keys rotate-credentials --tier premium --at-once 8")]
    RotateCredentials(Box<RotateCredentials>),
}

/// Which tenants get new passwords.
#[derive(Debug, Args)]
pub(crate) struct RotateCredentials {
    /// Rotations at once: 1 to 16.
    #[arg(long, value_name = "COUNT")]
    at_once: Option<u32>,
    #[command(flatten)]
    selection: SelectionFlags,
}

/// A key to be made.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Who or what holds it.
    name: String,
    /// What it allows; several times for several.
    #[arg(long = "scope", required = true, value_parser = values::one_of::<String>(SCOPES))]
    scopes: Vec<String>,
    /// It ends by itself this long from now, such as 12h or 90d.
    #[arg(long, value_name = "DURATION", value_parser = values::from_now)]
    expires_in: Option<OffsetDateTime>,
    /// It ends by itself at this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = values::rfc3339, conflicts_with = "expires_in")]
    expires_at: Option<OffsetDateTime>,
}

/// A key to be revoked.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Its id: opr_ and 32 digits; not the key itself.
    #[arg(value_name = "KEY_ID")]
    id: String,
    /// Show what would happen.
    #[arg(long)]
    dry_run: bool,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List => {
                let api = context.api()?;
                let items = api
                    .items("/v1/operator-keys", &Query::new(), 0, "/id")
                    .await?;
                context.out.list(COLUMNS, &items)
            }
            Self::Create(create) => create.run(context).await,
            Self::Revoke(revoke) => revoke.run(context).await,
            Self::Platform => platform(context).await,
            Self::RotateSigning => {
                let api = context.api()?;
                let path = "/v1/keys/signing/rotate";
                let key = api.once(Method::POST, path, &json!({})).await?;
                context.out.item(SIGNING, &key)
            }
            Self::Reseal => follow::begin(context, "/v1/keys/reseal", &json!({})).await,
            Self::RotateCredentials(rotate) => rotate.run(context).await,
        }
    }
}

async fn platform(context: &Context) -> Result<(), Failure> {
    let keys = context.api()?.get("/v1/keys", &Query::new()).await?;
    if context.out.format() != Format::Table {
        return context.out.item(&[], &keys);
    }
    let part = |name: &str| keys[name].as_array().cloned().unwrap_or_default();
    context.out.list(SIGNING, &part("signing"))?;
    context.out.raw("\n")?;
    context.out.list(SEALING, &part("sealing"))
}

impl RotateCredentials {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let body = NewRotation {
            filter: self.selection.into(),
            at_once: self.at_once,
        };
        let view = follow::begun(context, "/v1/keys/credentials/rotate", &body).await?;
        follow::shown(context, &view)?;
        match view["result"]["failed"].as_u64() {
            Some(failed) if failed > 0 => Err(Failure::Found {
                what: format!("{failed} tenants kept their passwords"),
                next: vec![format!(
                    "see why: `tenantctl operations list --parent {}`",
                    text(&view, "/id")
                )],
            }),
            _ => Ok(()),
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut body = json!({ "name": self.name, "scopes": self.scopes });
        if let Some(end) = self.expires_in.or(self.expires_at) {
            body["expires_at"] = values::written(end).into();
        }
        let api = context.api()?;
        let made = api.once(Method::POST, "/v1/operator-keys", &body).await?;
        match context.out.format() {
            Format::Table => {
                let id = text(&made, "/id");
                context.out.note(&format!(
                    "The key {id}; keep it now, it is not shown again:"
                ));
                context.out.raw(&format!("{}\n", text(&made, "/key")))
            }
            Format::Json | Format::Ndjson => context.out.item(&[], &made),
        }
    }
}

impl Revoke {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let keys = api
            .items("/v1/operator-keys", &Query::new(), 0, "/id")
            .await?;
        // Whose id is wrong is told so before being asked to type it.
        let Some(key) = keys.iter().find(|key| text(key, "/id") == self.id) else {
            let path = format!("/v1/operator-keys/{}", self.id);
            return Err(Failure::missing(&path));
        };
        let name = text(key, "/name");
        let consequence = format!("revokes the key {} ({name}) for good", self.id);
        if self.dry_run {
            context
                .out
                .note(&format!("This {consequence}. Nothing was changed."));
            return Ok(());
        }
        confirm::destroy(context, &self.id, &consequence)?;
        let path = format!("/v1/operator-keys/{}", self.id);
        api.delete(&path, &Query::new(), Uuid::now_v7()).await?;
        context.out.note(&format!("{} is revoked.", self.id));
        Ok(())
    }
}

//! Operator keys: list, create, revoke; and the platform's own keys.
//!
//! Deliberately no change of a key: make another one. Invariant: a new key's text is the only thing on
//! stdout, so that it can be piped to where it is kept.

use clap::{Args, Subcommand};
use contract::operator::oversight::SCOPES;
use contract::operator::upkeep::NewRotation;
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::selection::SelectionFlags;
use crate::api::Query;
use crate::confirm;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::follow;
use crate::output::{Format, columns, counted, plain, state, time};
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
        time("valid until", "/verifies_until"),
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
    /// List operator keys, oldest first. The keys themselves are never shown.
    #[command(after_help = "Example:
  tenantctl keys list

The last use is accurate to about a minute; `-` means that no use was recorded.")]
    List,
    /// Create an operator key and print it once.
    #[command(after_help = "Examples:
  tenantctl keys create 'on-call console' --scope tenants:read --scope operations:read
  tenantctl keys create ci --scope rollouts:write --expires-in 90d > ci.key
  tenantctl keys create audit --scope audit:read --expires-at 2027-01-31T00:00:00Z

Without --expires-in or --expires-at, a key is valid until it is revoked. The expiry of a key cannot be
changed; create another key instead. A key cannot have scopes that the key creating it does not have.")]
    Create(Create),
    /// Revoke an operator key. Its next request is refused.
    #[command(after_help = "Example:
  tenantctl keys revoke opr_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Revoke(Revoke),
    /// List the platform's own keys, which sign tokens and seal (encrypt) secrets. The keys themselves are never shown.
    #[command(after_help = "Example:
  tenantctl keys platform

A sealing key in state `opens` with no secrets left can be removed from the key ring of every service.")]
    Platform,
    /// Rotate the key that signs access tokens. Tokens signed with the old key stay valid.
    #[command(after_help = "Example:
  tenantctl keys rotate-signing")]
    RotateSigning,
    /// Seal (encrypt) every secret again with the first key of the key ring.
    #[command(after_help = "Example:
  tenantctl keys reseal

To change the key: add the new key at the end of the ring of every service and restart them all, so that
each can open what the new key seals. Then put it first, restart them all, and run this command.
Afterwards, `tenantctl keys platform` shows which keys no secret needs any more.")]
    Reseal,
    /// Rotate the passwords of many tenants' database roles, without failed requests.
    #[command(after_help = "Examples:
  tenantctl keys rotate-credentials
  tenantctl keys rotate-credentials --tier premium --at-once 8")]
    RotateCredentials(Box<RotateCredentials>),
}

/// Which tenants get new passwords.
#[derive(Debug, Args)]
pub(crate) struct RotateCredentials {
    /// Number of rotations at the same time: 1 to 16.
    #[arg(long, value_name = "COUNT")]
    at_once: Option<u32>,
    #[command(flatten)]
    selection: SelectionFlags,
}

/// A key to be made.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Name of the person or program that will use it.
    name: String,
    /// A scope: what the key allows; repeatable.
    #[arg(long = "scope", required = true, value_parser = values::one_of::<String>(SCOPES))]
    scopes: Vec<String>,
    /// Expire after this time, such as 12h or 90d.
    #[arg(long, value_name = "DURATION", value_parser = values::from_now)]
    expires_in: Option<OffsetDateTime>,
    /// Expire at this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = values::rfc3339, conflicts_with = "expires_in")]
    expires_at: Option<OffsetDateTime>,
}

/// A key to be revoked.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The key id: opr_ followed by 32 hexadecimal digits. Not the key itself.
    #[arg(value_name = "KEY_ID")]
    id: String,
    /// Show what would happen, and change nothing.
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
        all_rotated(&view)
    }
}

/// Fails where a tenant has kept its password.
fn all_rotated(view: &Value) -> Result<(), Failure> {
    let result = &view["result"];
    let number = |field: &str| result[field].as_u64().unwrap_or(0);
    let (failed, left_out) = (number("failed"), number("left_out_count"));
    let mut next = Vec::new();
    if failed > 0 {
        next.push(format!(
            "see why with `tenantctl operations list --parent {}`",
            text(view, "/id")
        ));
    }
    if left_out > 0 {
        let named = result["left_out"].as_array().map_or(&[][..], Vec::as_slice);
        let names: Vec<&str> = named.iter().filter_map(Value::as_str).collect();
        next.push(format!(
            "left out, being stuck or not served: {}{}",
            names.join(", "),
            if left_out > names.len() as u64 {
                " and more"
            } else {
                ""
            }
        ));
        next.push(
            "settle their operations (`tenantctl operations list --state stuck`), then run the command again"
                .to_owned(),
        );
    }
    match failed + left_out {
        0 => Ok(()),
        kept => Err(Failure::Found {
            what: format!("no new password for {}", counted(kept, "tenant")),
            next,
        }),
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
                    "The key {id}; save it now, it is not shown again:"
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
        let consequence = format!("permanently revokes the key {} ({name})", self.id);
        if self.dry_run {
            context.out.note(&format!(
                "Without --dry-run, this {consequence}. Nothing was changed."
            ));
            return Ok(());
        }
        confirm::destroy(context, &self.id, &consequence)?;
        let path = format!("/v1/operator-keys/{}", self.id);
        api.delete(&path, &Query::new(), Uuid::now_v7()).await?;
        context.out.note(&format!("{} is revoked.", self.id));
        Ok(())
    }
}

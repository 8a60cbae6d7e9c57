//! Profiles: login, logout, use, profiles.
//!
//! Deliberately a login is checked before it is kept. Invariant: no command prints a key.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use contract::{Code, TenantId};
use serde_json::{Value, json};

use super::tenants;
use crate::api::{Api, Query};
use crate::confirm::{Source, Stdin, secret};
use crate::context::{Context, checked};
use crate::failure::Failure;
use crate::output::{Column, plain};
use crate::profile::{self, Profile, Profiles};

/// What is shown of a profile, which no server knows.
const COLUMNS: &[Column<'_>] = &[
    plain("name", "/name"),
    plain("current", "/current"),
    plain("server", "/url"),
    plain("key", "/key"),
    plain("tenant", "/tenant"),
];

/// Save a server address and an operator key in a profile.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tenantctl login --url http://127.0.0.1:8080
  tenantctl login --url https://platform.example.com --profile production --key-stdin < key

The key comes from a file, from stdin or from TENANTCTL_KEY, or is asked for. It is tested first, then saved
in ~/.config/tenantctl/config.toml (or TENANTCTL_CONFIG), which only you can read.")]
pub(crate) struct Login {
    /// Read the key from stdin.
    #[arg(long)]
    key_stdin: bool,
    /// Read the key from a file.
    #[arg(long, value_name = "FILE", conflicts_with = "key_stdin")]
    key_file: Option<PathBuf>,
}

/// Remove the key from a profile.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tenantctl logout
  tenantctl logout --profile production

The key itself stays valid; `tenantctl keys revoke` revokes it.")]
pub(crate) struct Logout {}

/// Choose the default tenant or the current profile.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tenantctl use t_acme
  tenantctl use production
  tenantctl use --no-tenant

Commands that destroy data always need the tenant id as an argument.")]
pub(crate) struct Use {
    /// A tenant's id, or the name of a profile.
    #[arg(value_name = "TENANT|PROFILE", required_unless_present = "no_tenant")]
    what: Option<String>,
    /// Remove the default tenant.
    #[arg(long, conflicts_with = "what")]
    no_tenant: bool,
}

/// List the profiles.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  tenantctl profiles")]
pub(crate) struct List {}

impl Login {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let path = profile::path()?;
        let mut profiles = Profiles::read(&path)?;
        let name = profiles.name(context.named_profile()).to_owned();
        let before = profiles.profiles.get(&name);
        let url = context
            .named_url()
            .or_else(|| before.map(|profile| profile.url.clone()))
            .ok_or_else(|| {
                Failure::usage(
                    "give the server address, such as --url https://platform.example.com",
                )
            })?;
        let tenant = before
            .filter(|before| before.url == url)
            .and_then(|before| before.tenant.clone());
        let piped = !std::io::stdin().is_terminal() && self.key_file.is_none();
        let key = secret(&Source {
            what: "operator key",
            variable: "TENANTCTL_KEY",
            file: self.key_file.as_deref(),
            stdin: if self.key_stdin && piped {
                Stdin::Asked
            } else {
                Stdin::NotAsked
            },
            flag: "tenantctl login --key-stdin",
        })?;
        let key = checked(key.expose().trim(), "the given text")?;
        works(&Api::new(&url, key.clone())?).await?;
        let profile = Profile {
            url: url.clone(),
            key: Some(key.expose().to_owned()),
            tenant,
        };
        profiles.profiles.insert(name.clone(), profile);
        profiles.current = Some(name.clone());
        profiles.write(&path)?;
        context.out.note(&format!(
            "Logged in to {url}; saved as profile {name} in {}.",
            path.display()
        ));
        Ok(())
    }
}

/// Whether a key is known: one that lacks a scope is.
async fn works(api: &Api) -> Result<(), Failure> {
    let query: Query = vec![("limit", "1".to_owned())];
    match api.get("/v1/tenants", &query).await {
        Err(failure) if failure.has_code(Code::PermissionMissing) => Ok(()),
        Err(failure) => Err(failure),
        Ok(_) => Ok(()),
    }
}

impl Logout {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let path = profile::path()?;
        let mut profiles = Profiles::read(&path)?;
        let name = profiles.name(context.named_profile()).to_owned();
        let Some(profile) = profiles.profiles.get_mut(&name) else {
            return Err(profiles.unknown(&name));
        };
        profile.key = None;
        profiles.write(&path)?;
        context
            .out
            .note(&format!("Removed the key from profile {name}."));
        Ok(())
    }
}

impl Use {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let path = profile::path()?;
        let mut profiles = Profiles::read(&path)?;
        let name = profiles.name(context.named_profile()).to_owned();
        let what = self.what.unwrap_or_default();
        if !self.no_tenant && profiles.profiles.contains_key(&what) {
            profiles.current = Some(what.clone());
            profiles.write(&path)?;
            context.out.note(&format!("The current profile is {what}."));
            return Ok(());
        }
        let tenant = if self.no_tenant {
            None
        } else {
            Some(known(context, &what).await?)
        };
        let Some(profile) = profiles.profiles.get_mut(&name) else {
            return Err(profiles.unknown(&name));
        };
        profile.tenant.clone_from(&tenant);
        let url = profile.url.clone();
        profiles.write(&path)?;
        context.out.note(&match tenant {
            Some(tenant) => format!("The default tenant is {tenant} at {url}."),
            None => "There is no default tenant any more.".to_owned(),
        });
        Ok(())
    }
}

/// A tenant that there is.
async fn known(context: &Context, text: &str) -> Result<TenantId, Failure> {
    let id = crate::values::tenant(text).map_err(|advice| Failure::Usage {
        what: format!("{text} is neither a tenant id nor a profile"),
        next: vec![
            advice,
            "list the profiles with `tenantctl profiles`".to_owned(),
        ],
    })?;
    context
        .api()?
        .get(&tenants::path(&id), &Query::new())
        .await?;
    Ok(id)
}

impl List {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let profiles = Profiles::read(&profile::path()?)?;
        let current = profiles.name(context.named_profile());
        let items: Vec<Value> = profiles
            .profiles
            .iter()
            .map(|(name, profile)| {
                json!({
                    "name": name, "current": name == current, "url": profile.url,
                    "key": if profile.key.is_some() { "kept" } else { "none" },
                    "tenant": profile.tenant,
                })
            })
            .collect();
        context.out.list(COLUMNS, &items)
    }
}

//! What every command needs: the flags that all have, the server, the way to show results.
//!
//! Deliberately opens nothing before it is needed: help and profiles work without a server.
//! Invariant: the key of a profile goes to the server of that profile alone.

use std::cell::{OnceCell, RefCell};
use std::time::Duration;

use contract::{Secret, TenantId};

use crate::KEY_PREFIX;
use crate::api::{Api, Query, Rest};
use crate::cli::{self, Globals, Until};
use crate::confirm::variable;
use crate::failure::{Failure, Going};
use crate::output::{Column, Reporter};
use crate::profile::{self, Profile, Profiles};

/// The surroundings of a command.
#[derive(Debug)]
pub(crate) struct Context {
    globals: Globals,
    pub(crate) out: Reporter,
    api: OnceCell<Api>,
    going: RefCell<Option<Going>>,
}

impl Context {
    pub(crate) fn new(globals: Globals) -> Self {
        Self {
            out: globals.reporter(),
            globals,
            api: OnceCell::new(),
            going: RefCell::default(),
        }
    }

    /// Says what goes on where this program ends now.
    pub(crate) fn follows(&self, going: Going) {
        self.going.replace(Some(going));
    }

    /// Says that nothing goes on any more where this program ends now.
    pub(crate) fn follows_nothing(&self) {
        self.going.replace(None);
    }

    /// Why a command ended that somebody interrupted.
    pub(crate) fn interrupted(&self) -> Failure {
        match self.going.take() {
            Some(going) => Failure::LeftRunning(going),
            None => Failure::Interrupted,
        }
    }

    /// The same, with the profile and the server that a line names.
    ///
    /// # Errors
    /// The server is no address.
    pub(crate) fn naming(&self, profile: Option<&str>, url: Option<&str>) -> Result<Self, Failure> {
        let mut globals = self.globals.clone();
        if let Some(profile) = profile {
            globals.profile = Some(profile.to_owned());
        }
        if let Some(url) = url {
            globals.url = Some(cli::url(url).map_err(|rule| Failure::usage(&rule))?);
        }
        Ok(Self::new(globals))
    }

    /// The API of the server that is meant.
    ///
    /// # Errors
    /// No server is named, or no key is known for it.
    pub(crate) fn api(&self) -> Result<&Api, Failure> {
        if let Some(api) = self.api.get() {
            return Ok(api);
        }
        let profile = self.profile()?;
        let url = self.url_beside(profile.as_ref())?;
        let key = key_for(&url, profile.as_ref())?;
        let api = Api::new(&url, key)?;
        Ok(self.api.get_or_init(|| api))
    }

    /// Shows at most `limit` of a list, all where it is 0, and says where there are more.
    pub(crate) async fn list(
        &self,
        columns: &[Column<'_>],
        path: &str,
        query: &Query,
        limit: usize,
    ) -> Result<(), Failure> {
        let listed = self.api()?.listed(path, query, limit, "/id").await?;
        self.out.list(columns, &listed.items)?;
        if listed.rest == Rest::More {
            self.out.note(&format!(
                "There are more than these {limit}; --limit 0 shows all."
            ));
        }
        Ok(())
    }

    /// The profile that is meant, where there is one.
    fn profile(&self) -> Result<Option<Profile>, Failure> {
        let profiles = Profiles::read(&profile::path()?)?;
        let found = profiles.get(self.globals.profile.as_deref())?;
        Ok(found.cloned())
    }

    fn url_beside(&self, profile: Option<&Profile>) -> Result<String, Failure> {
        self.named_url()
            .or_else(|| profile.map(|profile| profile.url.clone()))
            .ok_or_else(|| Failure::Usage {
                what: "no server is given".to_owned(),
                next: vec![
                    "save one with `tenantctl login --url http://127.0.0.1:8080`".to_owned(),
                    "or set TENANTCTL_URL and TENANTCTL_KEY".to_owned(),
                ],
            })
    }

    /// The server that the command or the environment names.
    pub(crate) fn named_url(&self) -> Option<String> {
        self.globals.url.clone()
    }

    /// The profile that the command names.
    pub(crate) fn named_profile(&self) -> Option<&str> {
        self.globals.profile.as_deref()
    }

    /// The server's address, for prompts.
    pub(crate) fn server(&self) -> Result<&str, Failure> {
        Ok(self.api()?.server())
    }

    /// The tenant that is meant: the named one, else that of the profile.
    pub(crate) fn tenant(&self, named: Option<&TenantId>) -> Result<TenantId, Failure> {
        if let Some(named) = named {
            return Ok(named.clone());
        }
        let profile = self.profile()?;
        profile
            .and_then(|profile| profile.tenant)
            .ok_or_else(|| Failure::Usage {
                what: "no tenant is given".to_owned(),
                next: vec![
                    "give a tenant id, such as t_acme".to_owned(),
                    "or choose one for all commands with `tenantctl use t_acme`".to_owned(),
                ],
            })
    }

    /// Whether what destroys was agreed to in the command itself.
    pub(crate) fn says_yes(&self) -> bool {
        self.globals.yes
    }

    /// What a command waits for.
    pub(crate) fn until(&self) -> Until {
        self.globals.until()
    }

    /// How long it waits.
    pub(crate) fn timeout(&self) -> Duration {
        self.globals.timeout
    }
}

/// The key for a server: of the environment, else of the profile that was kept for it.
fn key_for(url: &str, profile: Option<&Profile>) -> Result<Secret, Failure> {
    if let Some(key) = variable("TENANTCTL_KEY") {
        return checked(key.trim(), "TENANTCTL_KEY");
    }
    let kept = profile.filter(|profile| same_server(&profile.url, url));
    match (kept.and_then(|profile| profile.key.as_deref()), profile) {
        (Some(key), _) => checked(key, "the profile's key"),
        (None, Some(other)) if !same_server(&other.url, url) => Err(Failure::Profile {
            what: format!("the profile's key is for {}, not for {url}", other.url),
            next: vec!["set TENANTCTL_KEY, or log in there with another --profile".to_owned()],
        }),
        (None, _) => Err(Failure::Profile {
            what: format!("there is no operator key for {url}"),
            next: vec![
                format!("save one with `tenantctl login --url {url} --key-stdin < file`"),
                "or set TENANTCTL_KEY".to_owned(),
            ],
        }),
    }
}

fn same_server(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// A key that looks like one; anything else would only be refused by the server.
pub(crate) fn checked(key: &str, place: &str) -> Result<Secret, Failure> {
    let is_key = key.strip_prefix(KEY_PREFIX).is_some_and(|rest| {
        rest.len() == 43
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    });
    if is_key {
        Ok(Secret::new(key.to_owned()))
    } else {
        Err(Failure::Profile {
            what: format!("{place} is not an operator key"),
            next: vec!["an operator key is opk_ followed by 43 characters".to_owned()],
        })
    }
}

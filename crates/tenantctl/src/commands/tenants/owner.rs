//! The first password of a tenant's owner: given, or made here.
//!
//! Deliberately never an argument. Invariant: one that was made here and that the platform may have is shown
//! once, however the command ends.

use std::path::PathBuf;

use clap::Args;
use contract::{Code, Secret};
use serde_json::Value;

use crate::confirm::{Source, Stdin, secret};
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::output::{Column, plain};

/// Where a password is shown that was made here.
pub(super) const PASSWORD: Column<'_> = plain("password", "/password");

/// Where the owner's password comes from.
#[derive(Debug, Args)]
pub(crate) struct OwnerPassword {
    /// Generate a password and print it once.
    #[arg(long, conflicts_with_all = ["password_stdin", "password_file"])]
    generate_password: bool,
    /// Read the owner's password from stdin.
    #[arg(long)]
    password_stdin: bool,
    /// Read the owner's password from a file.
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    password_file: Option<PathBuf>,
}

/// A password that was read.
#[derive(Debug)]
pub(super) enum Chosen {
    /// Nobody knows it yet.
    Made(Secret),
    Given(Secret),
}

impl OwnerPassword {
    /// The password, where the command says that there is one.
    pub(super) fn read_if_named(&self) -> Result<Option<Chosen>, Failure> {
        let is_named =
            self.generate_password || self.password_stdin || self.password_file.is_some();
        is_named.then(|| self.read()).transpose()
    }

    pub(super) fn read(&self) -> Result<Chosen, Failure> {
        if self.generate_password {
            return Ok(Chosen::Made(Secret::random()));
        }
        secret(&Source {
            what: "owner's password",
            variable: "TENANTCTL_OWNER_PASSWORD",
            file: self.password_file.as_deref(),
            stdin: Stdin::asked_if(self.password_stdin),
            flag: "--password-stdin",
        })
        .map(Chosen::Given)
    }
}

impl Chosen {
    pub(super) fn expose(&self) -> &str {
        match self {
            Self::Made(password) | Self::Given(password) => password.expose(),
        }
    }

    /// What is to be shown of it, from before the platform may have it.
    pub(super) fn unseen<'c>(&self, context: &'c Context) -> Unseen<'c> {
        let password = match self {
            Self::Made(password) => Some(password.clone()),
            Self::Given(_) => None,
        };
        Unseen { context, password }
    }
}

/// A password that nobody has seen: shown at the latest when the command ends.
pub(super) struct Unseen<'c> {
    context: &'c Context,
    password: Option<Secret>,
}

impl Unseen<'_> {
    /// What came of sending it: one that was refused is nobody's.
    pub(super) fn sent<T>(&mut self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        if outcome.as_ref().is_err_and(is_refused) {
            self.password = None;
        }
        outcome
    }

    /// What came of following its operation: one whose operation was undone is nobody's.
    pub(super) fn followed<T>(&mut self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        if let Err(Failure::Operation(view)) = &outcome
            && text(view, "/state") == "undone"
        {
            self.password = None;
        }
        outcome
    }

    /// Puts it into what is shown.
    pub(super) fn show_in(mut self, view: &mut Value) {
        if let Some(password) = self.password.take() {
            view["password"] = password.expose().into();
        }
    }
}

/// Whether nothing has come of what was asked for, now or by a try before whose answer was lost.
fn is_refused(failure: &Failure) -> bool {
    let Failure::Refused { refusal, .. } = failure else {
        return false;
    };
    let is_about_now = refusal.status == 429 || refusal.is(Code::IdempotencyKeyInProgress);
    (400..500).contains(&refusal.status) && !is_about_now
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        if let Some(password) = &self.password {
            let password = password.expose();
            self.context.out.note(&format!(
                "The owner's password, which is not shown again: {password}"
            ));
        }
    }
}

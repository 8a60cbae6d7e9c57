//! Who runs the server: the caller, or an unprivileged user where the caller is root, whom PostgreSQL
//! refuses. Creates no users and never raises privileges.
//!
//! Invariant: every PostgreSQL program that this package runs is made by [`Account::command`].

use crate::ServerError;
use nix::unistd::{Uid, User};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Environment that PostgreSQL programs may see; everything else (secrets among it) stays with the caller.
const PASSED_ON: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];

/// The user that runs PostgreSQL programs.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// User name, for messages.
    pub(crate) name: String,
    uid: u32,
    /// Set when the caller is root and has to become this user.
    become_gid: Option<u32>,
}

impl Account {
    /// The caller; for root the user `postgres`, or `nobody` where that does not exist.
    pub(crate) fn of_server() -> Result<Self, ServerError> {
        if !Uid::effective().is_root() {
            return Ok(Self {
                name: std::env::var("USER").unwrap_or_else(|_| Uid::effective().to_string()),
                uid: Uid::effective().as_raw(),
                become_gid: None,
            });
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self::assumed(&user))
            .ok_or(ServerError::NoUser)
    }

    /// Like [`Account::of_server`], but whoever owns data that is already there keeps it.
    pub(crate) fn of_data(data: &Path) -> Result<Self, ServerError> {
        let account = Self::of_server()?;
        let Ok(meta) = std::fs::metadata(data) else {
            return Ok(account);
        };
        if meta.uid() == account.uid {
            return Ok(account);
        }
        let owner = User::from_uid(Uid::from_raw(meta.uid())).ok().flatten();
        match owner {
            Some(user) if account.become_gid.is_some() && !user.uid.is_root() => {
                Ok(Self::assumed(&user))
            }
            _ => Err(ServerError::ForeignFolder {
                path: data.to_owned(),
            }),
        }
    }

    fn assumed(user: &User) -> Self {
        Self {
            name: user.name.clone(),
            uid: user.uid.as_raw(),
            become_gid: Some(user.gid.as_raw()),
        }
    }

    /// A command that runs as this user, outside the terminal's process group (so Ctrl-C does not reach
    /// it), with no input and an environment of its own.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").current_dir("/");
        command.envs(
            PASSED_ON
                .iter()
                .filter_map(|key| Some((key, std::env::var_os(key)?))),
        );
        command.stdin(Stdio::null()).process_group(0);
        if let Some(gid) = self.become_gid {
            // The standard library drops root's supplementary groups together with the user id.
            command.uid(self.uid).gid(gid);
        }
        command
    }

    /// Whether this user can enter `folder`, tried rather than computed: modes, ACLs and mounts all count.
    pub(crate) fn can_enter(&self, folder: &Path) -> bool {
        let mut probe = self.command(Path::new("/bin/sh"));
        probe.arg("-c").arg("cd \"$0\"").arg(folder);
        let status = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    /// Makes this user the owner of `path`.
    pub(crate) fn own(&self, path: &Path) -> Result<(), ServerError> {
        let Some(gid) = self.become_gid else {
            return Ok(());
        };
        std::os::unix::fs::lchown(path, Some(self.uid), Some(gid))
            .map_err(ServerError::io("cannot change the owner of", path))
    }

    /// Whether `path` is a folder (not a link to one) of this user.
    pub(crate) fn owns_folder(&self, path: &Path) -> bool {
        path.symlink_metadata()
            .is_ok_and(|meta| meta.is_dir() && meta.uid() == self.uid)
    }
}

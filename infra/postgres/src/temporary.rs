//! A data folder that does not outlive its owner: a small shell waits on a pipe that closes when this
//! process ends, however it ends, then stops the server and removes the folder. What even that could not
//! remove (shell killed too, machine down) is swept at the next start.
//!
//! Invariant: a folder is swept only when the lock that its owner holds for life is free.

use crate::account::Account;
use crate::data::{Place, temporary_folder};
use crate::postmaster::{self, StopMode};
use crate::settings::Profile;
use crate::{ServerError, server};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};

const PREFIX: &str = "tenantry-run-";

/// Files in memory, on Linux: making and dropping databases by the hundred is mostly work for the
/// file system.
const MEMORY: &str = "/dev/shm";
/// With less than this free the disk it is, bytes. Some servers side by side take one or two GiB.
const ROOM_IN_MEMORY: u64 = 6 << 30;

/// Waits for the end of its input, then stops the server in the folder `$0` and removes the folder.
const WATCHDOG: &str = r#"
read -r _
pid=$(head -n 1 "$0/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
tries=0
while [ -e "$0/data/postmaster.pid" ] && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
rm -rf "$0"
"#;

/// A folder, its owner's lock and its watchdog. Stop the server before this is dropped.
#[derive(Debug)]
pub(crate) struct Temporary {
    pub(crate) place: Place,
    owner: File,
    watchdog: Child,
}

impl Temporary {
    /// Sweeps what dead owners left, then makes a new folder.
    pub(crate) async fn make(profile: Profile) -> Result<Self, ServerError> {
        let account = Account::of_server()?;
        let on_disk = temporary_folder(&account, &std::env::temp_dir())?;
        sweep(&on_disk, &account).await;
        sweep(Path::new(MEMORY), &account).await;
        let base = match profile {
            Profile::ThrowAway if has_room(Path::new(MEMORY), &account) => MEMORY.into(),
            Profile::ThrowAway | Profile::Durable => on_disk,
        };
        // Made under another name and renamed once the lock is held: the sweep never sees it unlocked.
        let made = tempfile::Builder::new()
            .prefix("tenantry-new-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&base);
        let made = made.map_err(ServerError::io("cannot make a folder in", &base))?;
        account.own(made.path())?;
        let mut place = Place {
            root: made.path().to_owned(),
            account,
            notice: None,
        };
        let owner = place.lock_file("owner")?;
        owner
            .lock()
            .map_err(ServerError::io("cannot lock", &place.root))?;
        let name = made
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .replace("tenantry-new-", PREFIX);
        place.root = base.join(name);
        std::fs::rename(made.keep(), &place.root)
            .map_err(ServerError::io("cannot rename a folder to", &place.root))?;
        let mut watchdog = place.account.command(Path::new("/bin/sh"));
        watchdog.args(["-c", WATCHDOG]).arg(&place.root);
        watchdog
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let watchdog = watchdog
            .spawn()
            .map_err(ServerError::io("cannot run", "/bin/sh"))?;
        Ok(Self {
            place,
            owner,
            watchdog,
        })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let waited = self.watchdog.wait();
        let removed = crate::data::remove(&self.place.root);
        tracing::debug!(?waited, ?removed, owner = ?self.owner, "temporary server removed");
    }
}

/// Whether servers may keep their files in memory.
fn has_room(memory: &Path, account: &Account) -> bool {
    let free = nix::sys::statvfs::statvfs(memory)
        .map(|stat| u128::from(stat.blocks_available()) * u128::from(stat.fragment_size()));
    account.can_enter(memory) && free.is_ok_and(|free| free >= u128::from(ROOM_IN_MEMORY))
}

/// Removes the folders whose owners are gone, with the servers that may still run there.
async fn sweep(base: &Path, account: &Account) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let root = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) || !account.owns_folder(&root) {
            continue;
        }
        let orphaned = File::open(root.join("owner")).is_ok_and(|owner| owner.try_lock().is_ok());
        if !orphaned {
            continue;
        }
        let data = root.join("data");
        if let Some(live) = postmaster::live(&data) {
            postmaster::signal(live.pid, StopMode::Immediate);
            let stopped = server::until_gone(live.pid, &data).await;
            tracing::debug!(?stopped, "orphaned server stopped");
        }
        // Its watchdog may be removing it at the same time; whatever is left is the next sweep's.
        let removed = std::fs::remove_dir_all(&root);
        tracing::debug!(?removed, root = %root.display(), "orphaned folder swept");
    }
}

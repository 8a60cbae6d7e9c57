//! A standby of a world's server, for what happens when that is lost.
//!
//! Deliberately made by PostgreSQL's own program. Invariant: it follows its server until it is promoted,
//! and takes no writes before.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Stdio;

use postgres_server::StopMode;
use secrecy::ExposeSecret;
use tokio::process::Command;

use crate::postgres::Postgres;

/// The superuser's password is another than that of the server that is followed.
const ACCESS: &str =
    "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

impl Postgres {
    /// A server that follows this one.
    pub async fn standby(&self) -> Self {
        let standby = Self::further(self.max_connections).await;
        standby.stop(StopMode::Immediate).await;
        let data = standby.folder.join("data");
        std::fs::remove_dir_all(&data).expect("its own data are of no use");
        let superuser = self.superuser();
        let copied = Command::new(self.programs.bin_dir.join("pg_basebackup"))
            .args([
                "--checkpoint=fast",
                "--wal-method=stream",
                "--write-recovery-conf",
            ])
            .args(["--host", &superuser.host.to_string()])
            .args(["--port", &superuser.port.to_string()])
            .args(["--username", superuser.user])
            .arg("--pgdata")
            .arg(&data)
            .env("PGPASSWORD", superuser.password.expose_secret())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("the program runs");
        assert!(copied.status.success(), "{copied:?}");
        std::fs::write(data.join("pg_hba.conf"), ACCESS).expect("it can be written");
        let owner = std::fs::metadata(&standby.folder).expect("it is there");
        own(&data, owner.uid(), owner.gid());
        standby.start_again().await;
        standby
    }

    /// Makes a standby a server that takes writes; answers when it does.
    pub async fn promote(&self) {
        self.run("postgres", "select pg_promote()").await;
    }
}

/// Gives a folder and all in it to the server's user.
fn own(path: &Path, user: u32, group: u32) {
    chown(path, Some(user), Some(group)).expect("it can be given away");
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).expect("it can be read") {
            own(&entry.expect("an entry").path(), user, group);
        }
    }
}

//! The data folder of which others are copies: made once in a process, because `initdb` takes longer than
//! everything else that a start does.
//!
//! Deliberately never started. Invariant: it ends with the process, as what was copied from it does.

use std::path::Path;

use secrecy::ExposeSecret;
use tokio::sync::OnceCell;

use crate::ServerError;
use crate::config::ServerConfig;
use crate::data::Place;
use crate::temporary::Temporary;

const CP: &str = "/bin/cp";

static ORIGINAL: OnceCell<Temporary> = OnceCell::const_new();

/// Fills an empty place with password and data of the original.
pub(crate) async fn copy_into(place: &Place, config: &ServerConfig) -> Result<(), ServerError> {
    let original = &ORIGINAL
        .get_or_try_init(|| async {
            let made = Temporary::make(config.profile).await?;
            let password = made.place.password()?;
            made.place
                .ensure_cluster(&config.binaries, &password, config.profile)
                .await?;
            Ok::<_, ServerError>(made)
        })
        .await?
        .place;
    let password = original.password()?;
    place.write(&place.password_file(), password.expose_secret())?;
    let mut copy = tokio::process::Command::from(place.account.command(Path::new(CP)));
    // Renamed when it is complete, as after `initdb`.
    let unfinished = place.unfinished();
    copy.arg("-Rp").arg(original.data()).arg(&unfinished);
    let output = copy
        .kill_on_drop(true)
        .output()
        .await
        .map_err(ServerError::io("cannot run", CP))?;
    if output.status.success() {
        return std::fs::rename(&unfinished, place.data())
            .map_err(ServerError::io("cannot rename", unfinished));
    }
    Err(ServerError::InitDb {
        reason: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

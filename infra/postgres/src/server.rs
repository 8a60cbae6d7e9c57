//! Starts, adopts, restarts, stops and wipes a server. Creates no database and no role.
//!
//! Invariant: a start returns only once the server is ready (see [`crate::ready`]).

use crate::config::{Outcome, Port, ServerConfig, StartReport, Superuser};
use crate::data::{DataFolder, Notice, Place};
use crate::postmaster::{self, StopMode};
use crate::ready::{Refusal, last_words, until_ready};
use crate::temporary::Temporary;
use crate::{ServerError, original, settings};
use std::fs::{File, OpenOptions, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Child;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Recovery of a big cluster after a crash is the slowest start there is.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(180);
/// A fast stop writes a checkpoint.
const STOP_DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two looks at something that is waited for.
pub(crate) const POLL: Duration = Duration::from_millis(20);
/// A free port can be taken by another program before the server has it.
const PORT_TRIES: u32 = 5;

/// A running server. Dropping it leaves a server on a kept folder running (the next start adopts it) and
/// stops and removes a temporary one, which blocks for some milliseconds.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    place: Place,
    superuser: Superuser,
    pid: Option<i32>,
    child: Option<Child>,
    temporary: Option<Temporary>,
}

impl Server {
    /// Starts a server on the folder of `config`, or adopts the one that runs there. Two starts at once
    /// take turns.
    ///
    /// # Errors
    /// Any [`ServerError`]; after three minutes at most.
    pub async fn start(config: ServerConfig) -> Result<(Self, StartReport), ServerError> {
        let (place, temporary) = match &config.data {
            DataFolder::Kept(folder) => (Place::of_kept(folder)?, None),
            DataFolder::Temporary | DataFolder::Copied => {
                let temporary = Temporary::make(config.profile).await?;
                (temporary.place.clone(), Some(temporary))
            }
        };
        if config.data == DataFolder::Copied {
            original::copy_into(&place, &config).await?;
        }
        let _turn = take_turn(&place).await?;
        let superuser = Superuser {
            host: Ipv4Addr::LOCALHOST,
            port: 0,
            user: "postgres",
            password: place.password()?,
        };
        let mut report = StartReport {
            outcome: Outcome::Started,
            folder: place.root.clone(),
            notices: place.notice.iter().cloned().collect(),
        };
        let port = config.port;
        let mut server = Self {
            config,
            place,
            superuser,
            pid: None,
            child: None,
            temporary,
        };
        if server.adopt().await? {
            report.outcome = Outcome::Adopted;
            let used = server.port();
            if let Port::Exact(wanted) = port
                && wanted != used
            {
                report.notices.push(Notice::OtherPort { wanted, used });
            }
        } else {
            let Self {
                place,
                superuser,
                config,
                ..
            } = &server;
            place
                .ensure_cluster(&config.binaries, &superuser.password, config.profile)
                .await?;
            server.launch(port).await?;
        }
        Ok((server, report))
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.superuser.port
    }

    /// How to log in as the superuser.
    #[must_use]
    pub fn superuser(&self) -> &Superuser {
        &self.superuser
    }

    /// Process id of the postmaster; none while stopped.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Stops the server and waits until it is gone, a minute at most. Stopping twice is fine.
    ///
    /// # Errors
    /// [`ServerError::Stop`]; the server may still be on its way down.
    pub async fn stop(&mut self, mode: StopMode) -> Result<(), ServerError> {
        let Some(pid) = self.pid else { return Ok(()) };
        match &mut self.child {
            Some(child) => {
                // Not yet waited for, so the number cannot belong to another process.
                postmaster::signal(pid, mode);
                within(pid, || {
                    child.try_wait().is_ok_and(|status| status.is_some())
                })
                .await?;
            }
            None if postmaster::live(&self.place.data()).is_some_and(|live| live.pid == pid) => {
                postmaster::signal(pid, mode);
                until_gone(pid, &self.place.data()).await?;
            }
            None => {}
        }
        self.pid = None;
        self.child = None;
        Ok(())
    }

    /// Starts a server that was stopped or has crashed again, on the same port; a live one is left alone.
    ///
    /// # Errors
    /// Like [`Server::start`].
    pub async fn start_again(&mut self) -> Result<(), ServerError> {
        let _turn = take_turn(&self.place).await?;
        if let Some(child) = &mut self.child {
            let ended = child.try_wait();
            tracing::debug!(?ended, "server before its next start");
        }
        if self.adopt().await? {
            return Ok(());
        }
        self.launch(Port::Exact(self.superuser.port)).await
    }

    /// [`Server::stop`], then [`Server::start_again`].
    ///
    /// # Errors
    /// Those of both.
    pub async fn restart(&mut self, mode: StopMode) -> Result<(), ServerError> {
        self.stop(mode).await?;
        self.start_again().await
    }

    /// Takes over the folder's live server, if there is one; false if it ends while we wait for it.
    async fn adopt(&mut self) -> Result<bool, ServerError> {
        let Some(live) = postmaster::live(&self.place.data()) else {
            return Ok(false);
        };
        self.superuser.port = live.port;
        self.pid = Some(live.pid);
        let data = self.place.data();
        let ended = || postmaster::live(&data).is_none_or(|now| now.pid != live.pid);
        let ready = until_ready(&self.superuser, &self.place, ended).await?;
        if !ready {
            self.pid = None;
        }
        Ok(ready)
    }

    async fn launch(&mut self, port: Port) -> Result<(), ServerError> {
        postmaster::clear_reused(&self.place.data());
        let started = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            self.superuser.port = choose(port)?;
            let child = self.child.insert(self.spawn()?);
            self.pid = i32::try_from(child.id()).ok();
            let ended = || child.try_wait().is_ok_and(|status| status.is_some());
            if until_ready(&self.superuser, &self.place, ended).await? {
                return Ok(());
            }
            self.pid = None;
            self.child = None;
            let log = self.place.log();
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            match (Refusal::read(&text), port) {
                (Refusal::PortTaken, Port::Exact(port)) => {
                    return Err(ServerError::PortTaken { port });
                }
                (Refusal::PortTaken, Port::Free) if tries < PORT_TRIES => {}
                (Refusal::Orphans, _) if started.elapsed() < START_DEADLINE => sleep(POLL).await,
                (Refusal::PortTaken | Refusal::Orphans | Refusal::Other, _) => {
                    return Err(ServerError::Start {
                        reason: last_words(&text),
                        log,
                    });
                }
            }
        }
    }

    /// Writes the configuration and runs `postgres`, its output in a new log.
    fn spawn(&self) -> Result<Child, ServerError> {
        let Self {
            place,
            config,
            superuser,
            ..
        } = self;
        let text = settings::file(
            superuser.port,
            config.max_connections,
            config.profile,
            &config.extra,
        );
        place.write(&place.data().join("postgresql.conf"), &text)?;
        let log = place.log();
        if log.exists() {
            let old = log.with_extension("log.old");
            std::fs::rename(&log, old).map_err(ServerError::io("cannot rename", &log))?;
        }
        place.write(&log, "")?;
        let refused = || ServerError::io("cannot open", &log);
        let output = OpenOptions::new()
            .append(true)
            .open(&log)
            .map_err(refused())?;
        let errors = output.try_clone().map_err(refused())?;
        let program = config.binaries.program("postgres");
        let mut command = place.account.command(&program);
        command
            .arg("-D")
            .arg(place.data())
            .stdout(output)
            .stderr(errors);
        command
            .spawn()
            .map_err(ServerError::io("cannot run", program))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.temporary.is_none() {
            return;
        }
        if let (Some(pid), Some(child)) = (self.pid, &mut self.child) {
            postmaster::signal(pid, StopMode::Immediate);
            // An immediate stop is bounded by the postmaster itself: it kills what is left after 5 s.
            let waited = child.wait();
            tracing::debug!(?waited, "temporary server stopped");
        }
    }
}

/// Stops the server of a kept folder, if one runs there, and removes data and password.
///
/// # Errors
/// [`ServerError::Stop`], or what the operating system refused.
pub async fn wipe(folder: &Path) -> Result<(), ServerError> {
    let place = Place::of_kept(folder)?;
    let _turn = take_turn(&place).await?;
    if let Some(live) = postmaster::live(&place.data()) {
        postmaster::signal(live.pid, StopMode::Immediate);
        until_gone(live.pid, &place.data()).await?;
    }
    place.clear()
}

/// Waits until no postmaster `pid` serves `data`.
pub(crate) async fn until_gone(pid: i32, data: &Path) -> Result<(), ServerError> {
    within(pid, || {
        postmaster::live(data).is_none_or(|live| live.pid != pid)
    })
    .await
}

async fn within(pid: i32, mut gone: impl FnMut() -> bool) -> Result<(), ServerError> {
    let asked = Instant::now();
    while !gone() {
        if asked.elapsed() > STOP_DEADLINE {
            return Err(ServerError::Stop {
                pid,
                seconds: STOP_DEADLINE.as_secs(),
            });
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// Waits for the folder's lock. The system frees it when the holder ends, however it ends.
async fn take_turn(place: &Place) -> Result<File, ServerError> {
    let lock = place.lock_file("lock")?;
    let asked = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if asked.elapsed() < START_DEADLINE => sleep(POLL).await,
            Err(TryLockError::WouldBlock) => {
                let reason = "another start of it is still under way".to_owned();
                return Err(ServerError::Deadline {
                    seconds: START_DEADLINE.as_secs(),
                    reason,
                    log: place.log(),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(ServerError::io("cannot lock", &place.root)(error));
            }
        }
    }
}

/// A port that can be bound at this moment.
fn choose(port: Port) -> Result<u16, ServerError> {
    let wanted = match port {
        Port::Free => 0,
        Port::Exact(port) => port,
    };
    match TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
        .and_then(|listener| listener.local_addr())
    {
        Ok(address) => Ok(address.port()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(ServerError::PortTaken { port: wanted })
        }
        Err(error) => Err(ServerError::io(
            "cannot listen on",
            format!("127.0.0.1:{wanted}"),
        )(error)),
    }
}

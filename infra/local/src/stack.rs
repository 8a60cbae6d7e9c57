//! Starting and stopping everything, in order.
//!
//! Deliberately no supervision: what ends by itself ends the whole. Invariants: whatever happens
//! after the server was started, it is stopped before the program ends, unless the program is
//! killed, and then the next start adopts it; data survives both.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use kit::serve::{Drain, DrainEnd, Listener, ServeLimits};
use kit::telemetry::{LogFormat, LogSettings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::announce::{self, say, step};
use crate::api::Api;
use crate::arguments::Arguments;
use crate::credentials::{Age, Credentials};
use crate::database::{self, Database};
use crate::demo::Seeder;
use crate::folder::{Claimed, Folder};
use crate::front;
use crate::gates::Gates;
use crate::reach::Reach;
use crate::services::{Replica, Wiring};

/// How long open requests are waited for.
const DRAIN: Duration = Duration::from_secs(10);
const LOG_FILTER: &str = "info";

/// Starts everything, announces it and runs until a signal.
pub(crate) async fn up(arguments: &Arguments) -> anyhow::Result<()> {
    let server = arguments
        .database_url
        .as_deref()
        .map(database::folder_name)
        .transpose()?;
    let folder = Folder::open(arguments, server.as_deref())?;
    let _claim = match folder.claim()? {
        Claimed::Ours(claim) => claim,
        Claimed::Others(process) => return runs_already(arguments, &folder, &process),
    };
    let signal = tokio::spawn(kit::serve::shutdown_signal());
    let front = listen(arguments.port).await?;
    if arguments.fresh {
        step("Removing all data", async {
            postgres_server::wipe(&folder.postgres()).await?;
            folder.clear()
        })
        .await?;
    }
    let log = LogSettings {
        format: LogFormat::Pretty,
        filter: LOG_FILTER.to_owned(),
    };
    let _telemetry = kit::telemetry::init_with_writer(&log, folder.new_log()?)?;
    let (mut credentials, age) = Credentials::load(&folder.credentials())?;
    let database = open_database(arguments, &folder, &mut credentials).await?;
    let outcome = serve(front, &folder, &credentials, age, &database, signal).await;
    folder.retract()?;
    let stopped = match arguments.database_url {
        Some(_) => Ok(()),
        None => step("Stopping PostgreSQL", database.stop()).await,
    };
    outcome.and(stopped)
}

/// Another process has the folder: says so, and what that one announced.
fn runs_already(arguments: &Arguments, folder: &Folder, process: &str) -> anyhow::Result<()> {
    if arguments.fresh {
        bail!("it is running (process {process}); stop that one first, then start with --fresh");
    }
    match folder.published()? {
        Some(info) => say(&format!(
            "It is running already (process {process}):\n\n{info}"
        )),
        None => say(&format!("It is being started already (process {process}).")),
    }
    Ok(())
}

async fn listen(port: u16) -> anyhow::Result<Listener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Listener::bind(address).await.map_err(|error| {
        anyhow::anyhow!("{error}; choose another with `cargo up -- --port N` (0 takes a free one)")
    })
}

async fn open_database(
    arguments: &Arguments,
    folder: &Folder,
    credentials: &mut Credentials,
) -> anyhow::Result<Database> {
    if let Some(url) = &arguments.database_url {
        let existing = Database::existing(url, arguments.take_over_from.as_deref());
        return step("PostgreSQL", existing).await;
    }
    let own = Database::own(arguments, folder, credentials.postgres_port);
    let database = step("PostgreSQL", own).await?;
    credentials.postgres_port = database.admin.port;
    Ok(database)
}

type Signal = JoinHandle<std::io::Result<()>>;

/// Runs the services from their start to their drain.
async fn serve(
    front: Listener,
    folder: &Folder,
    credentials: &Credentials,
    age: Age,
    database: &Database,
    mut signal: Signal,
) -> anyhow::Result<()> {
    let url = format!("http://{}", front.local_addr());
    let objects = folder.objects();
    let wiring = Wiring {
        admin: &database.admin,
        credentials,
        api_url: Some(&url),
        objects: objects.to_str(),
        programs: database.programs.as_deref().and_then(Path::to_str),
        takes_over_from: database.takes_over_from.as_deref(),
    };
    let started = tokio::select! {
        started = Running::start(&wiring, age, front, folder) => started,
        told = &mut signal => {
            say("\n");
            return Ok(told??);
        }
    };
    let mut running = started?;
    let info = announce::ready(&url, &database.notes, folder, credentials);
    folder.publish(&info)?;
    say(&format!(
        "\nTenantry is up.\n\n{info}\nCtrl-C stops it; the data stays. \
         `cargo up -- --fresh` starts anew, `cargo up -- tour` shows what it does."
    ));
    let outcome = tokio::select! {
        told = &mut signal => told?.map_err(Into::into),
        error = running.platform.ended() => Err(error.context("platform-service")),
        error = running.app.ended() => Err(error.context("app-service")),
    };
    say("");
    match outcome {
        Ok(()) => step("Finishing open requests", running.stop()).await,
        Err(error) => Err(error),
    }
}

/// Both services, and the port that serves them together.
struct Running {
    platform: Replica,
    app: Replica,
    front: JoinHandle<kit::serve::DrainReport>,
    stop_front: CancellationToken,
    gates: JoinHandle<()>,
}

impl Running {
    async fn start(
        wiring: &Wiring<'_>,
        age: Age,
        front: Listener,
        folder: &Folder,
    ) -> anyhow::Result<Self> {
        step("Registry", async {
            wiring.check_registry(age).await?;
            wiring.credentials.keep(&folder.credentials())?;
            wiring.ensure_registry().await
        })
        .await?;
        let platform = step("platform-service", async {
            let platform = wiring.start_platform(None).await?;
            wiring.ensure_cluster(&platform).await?;
            Ok(platform)
        })
        .await?;
        let app = step("app-service", async {
            let app = wiring.start_app(&platform).await?;
            app.ready().await?;
            Ok(app)
        })
        .await?;
        step("Template and ready databases", wiring.stocked(&platform)).await?;
        let url = format!("http://{}", front.local_addr());
        let router = front::front(platform.api.clone(), app.api.clone())?;
        let stop_front = CancellationToken::new();
        let drain = Drain {
            token: stop_front.clone(),
            notice: Duration::ZERO,
            end: DrainEnd::new(DRAIN),
        };
        let limits = ServeLimits::default();
        let front = tokio::spawn(kit::serve::serve(front, router, limits, drain));
        let gates = seed(wiring, &platform, &url, folder).await?;
        Ok(Self {
            front,
            stop_front,
            platform,
            app,
            gates: tokio::spawn(gates.keep_fresh()),
        })
    }

    /// Finishes open requests, from the outside in.
    async fn stop(self) -> anyhow::Result<()> {
        self.gates.abort();
        self.stop_front.cancel();
        self.front.await?;
        self.app.stop().await?;
        self.platform.stop().await
    }
}

/// Makes the demo tenants, and the tokens that show their gates.
async fn seed(
    wiring: &Wiring<'_>,
    platform: &Replica,
    url: &str,
    folder: &Folder,
) -> anyhow::Result<Gates> {
    let internal_url = platform.internal_url();
    let reach = Reach::new(&internal_url, wiring.credentials)?;
    let seeder = Seeder {
        visitor: Api::new(url)?,
        operator_key: &wiring.credentials.operator_key,
        password: &wiring.credentials.demo_password,
        reach: &reach,
    };
    let seeded = folder.seeded();
    step("Demo tenants", async {
        if !(seeded.exists() && seeder.is_seeded().await?) {
            seeder.seed().await?;
            std::fs::write(&seeded, "")?;
        }
        let auth = wiring.app_settings(&internal_url)?.auth;
        let reach = Reach::new(&internal_url, wiring.credentials)?;
        Gates::open(reach, auth, folder).await
    })
    .await
}

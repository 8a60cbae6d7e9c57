//! Running replicas, each on a runtime of its own, so that one can be killed like a process.
//!
//! Deliberately the services' own `Service`; nothing is replaced. Invariant: a killed replica runs
//! not one instruction more of its tasks.

use std::net::SocketAddr;

use app_service::App;
use platform_service::Faults;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// A runtime that can end inside another one.
#[derive(Debug)]
pub(crate) struct Process(Option<Runtime>);

impl Process {
    pub(crate) fn new(name: &str) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(name)
            .enable_all()
            .build()
            .expect("a runtime");
        Self(Some(runtime))
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("it runs until it is dropped")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A replica of platform-service.
#[derive(Debug)]
pub struct PlatformReplica {
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
    stopper: platform_service::Stopper,
    running: Option<JoinHandle<anyhow::Result<()>>>,
    _process: Process,
}

impl PlatformReplica {
    pub(crate) async fn start(
        settings: platform_service::config::Settings,
        faults: Faults,
    ) -> anyhow::Result<Self> {
        let process = Process::new("platform");
        let service = process
            .runtime()
            .spawn(platform_service::Service::build_with(settings, faults))
            .await
            .expect("building does not panic")?;
        Ok(Self {
            public: service.public_address(),
            internal: service.internal_address(),
            stopper: service.stopper(),
            running: Some(process.runtime().spawn(service.run())),
            _process: process,
        })
    }

    /// Base URL of sign-up and operators' API.
    pub fn url(&self) -> String {
        format!("http://{}", self.public)
    }

    /// Base URL of its internal listener.
    pub fn internal_url(&self) -> String {
        format!("http://{}", self.internal)
    }

    /// Stops it as a signal would, and waits for its end.
    pub async fn stop(mut self) {
        self.stopper.stop();
        if let Some(running) = self.running.take() {
            running
                .await
                .expect("running does not panic")
                .expect("it ends well");
        }
    }
}

/// A replica of app-service.
#[derive(Debug)]
pub struct AppReplica {
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
    stopper: app_service::Stopper,
    running: Option<JoinHandle<anyhow::Result<()>>>,
    _process: Process,
}

impl AppReplica {
    pub(crate) async fn start(
        app: App,
        settings: app_service::config::Settings,
    ) -> anyhow::Result<Self> {
        let process = Process::new("app");
        let service = process
            .runtime()
            .spawn(app.build(settings))
            .await
            .expect("building does not panic")?;
        Ok(Self {
            public: service.public_address(),
            internal: service.internal_address(),
            stopper: service.stopper(),
            running: Some(process.runtime().spawn(service.run())),
            _process: process,
        })
    }

    /// Base URL of the tenants' API.
    pub fn url(&self) -> String {
        format!("http://{}", self.public)
    }

    /// Base URL of its internal listener.
    pub fn internal_url(&self) -> String {
        format!("http://{}", self.internal)
    }

    /// Stops it as a signal would, and waits for its end.
    pub async fn stop(mut self) {
        self.stopper.stop();
        if let Some(running) = self.running.take() {
            running
                .await
                .expect("running does not panic")
                .expect("it ends well");
        }
    }
}

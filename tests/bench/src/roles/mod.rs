//! What the child processes do: the services as their own programs run them, and the baseline.
//!
//! Deliberately nothing of a service is replaced. Invariant: a service here differs from its program
//! in two things only: app-service has the module of the reference schema besides its own, and
//! hashing a password costs next to nothing, because the rows leave that out, but for the one that is about it.

pub(crate) mod baseline;

use kit::passwords::PasswordCost;

use crate::process::{tell, until_told_to_stop};
use crate::reference;
use crate::stage::{PASSWORDS, PasswordCosts, RELEASES};

/// platform-service, with settings from the environment.
pub(crate) async fn platform() -> anyhow::Result<()> {
    let mut settings = platform_service::config::Settings::load(None)?;
    settings.passwords = PasswordCost::weak_for_tests();
    let _telemetry = kit::telemetry::init(&settings.log)?;
    let service = platform_service::Service::build(settings).await?;
    tell(&[service.public_address(), service.internal_address()]);
    let stopper = service.stopper();
    tokio::spawn(async move {
        until_told_to_stop().await;
        stopper.stop();
    });
    service.run().await
}

/// app-service with the reference schema, with settings from the environment.
pub(crate) async fn app() -> anyhow::Result<()> {
    let mut settings = app_service::config::Settings::load(None)?;
    if std::env::var(PASSWORDS).as_deref() != Ok(PasswordCosts::AsDelivered.name()) {
        settings.auth.passwords = PasswordCost::weak_for_tests();
    }
    let _telemetry = kit::telemetry::init(&settings.log)?;
    let releases = std::env::var(RELEASES).map_or(Ok(0), |text| text.parse())?;
    let service = reference::app(releases)?.build(settings).await?;
    tell(&[service.public_address(), service.internal_address()]);
    let stopper = service.stopper();
    tokio::spawn(async move {
        until_told_to_stop().await;
        stopper.stop();
    });
    service.run().await
}

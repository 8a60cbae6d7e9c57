//! The change feed: which tenants changed, in the order in which the changes became visible.
//!
//! Deliberately carries no content: a replica asks for the route of what it knows. Invariants: the
//! number of a change is taken last in its transaction, so no reader passes a number that appears
//! later; and a reader whose cursor is of another epoch or too old is told to forget everything.

mod news;
pub(crate) mod store;

use std::time::{Duration, Instant};

use axum::extract::State;
use contract::ReplicaId;
use contract::internal::Changes;
use kit::auth::service::ServiceCaller;
use kit::error::Result;
use kit::extract::{Json, Query};
use serde::Deserialize;
use sqlx::Executor as _;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use crate::platform::Platform;

pub(crate) use news::{Announced, Unannounced};

/// The longest that a poll waits.
const MAX_WAIT: Duration = Duration::from_secs(25);
/// The channel on which replicas of this service tell each other of changes.
pub(crate) const CHANNEL: &str = "registry_change";
/// How often replicas are looked at that have not heard of a change yet.
const HEARD_PAUSE: Duration = Duration::from_millis(10);
/// Pause before listening again after the registry was away.
const LISTEN_PAUSE: Duration = Duration::from_millis(500);
/// After so long without news it is asked whether the connection still carries any: one that was lost without
/// a word is silent, too.
const QUIET: Duration = Duration::from_secs(2);
/// How long the answer may take. With [`QUIET`] the longest for which this replica hears nothing of the others.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The name of the listener's session: each replica of this service has one.
pub(crate) const LISTENER: &str = "platform-service news";

/// Rings when something changed.
#[derive(Debug, Clone)]
pub(crate) struct Bell(watch::Sender<()>);

impl Bell {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// Wakes everybody who waits.
    pub(crate) fn ring(&self) {
        self.0.send_replace(());
    }

    fn listen(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

/// Whether the replicas know what was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Every living replica has acted on it.
    ByAll,
    /// Some had not when it was waited for no longer.
    NotYet,
}

/// Waits until every living replica has acted on what the feed says now, but not for longer than this.
pub(crate) async fn wait_until_heard(
    platform: &Platform,
    patience: Duration,
) -> Result<Heard, sqlx::Error> {
    let newest = store::last_number(&mut *platform.registry.acquire().await?).await?;
    wait_until_change_is_heard(platform, newest, patience).await
}

/// As [`wait_until_heard`], for what was announced before.
pub(crate) async fn wait_until_change_is_heard(
    platform: &Platform,
    announced: Announced,
    patience: Duration,
) -> Result<Heard, sqlx::Error> {
    let deadline = Instant::now() + patience;
    loop {
        // Given back between two looks.
        let is_heard = {
            let mut registry = platform.registry.acquire().await?;
            store::heard_by_all(&mut registry, announced).await?
        };
        if is_heard {
            return Ok(Heard::ByAll);
        }
        if Instant::now() >= deadline {
            return Ok(Heard::NotYet);
        }
        tokio::time::sleep(HEARD_PAUSE).await;
    }
}

/// Where a reader stands and how long it waits.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChangesQuery {
    /// The epoch that the cursor is of; a reader that knows nothing yet sends none.
    epoch: Option<Uuid>,
    /// The cursor.
    #[serde(default)]
    after: u64,
    /// Who asks: it has acted on everything up to the cursor.
    replica: Option<ReplicaId>,
    /// How long to wait for news, at most 25,000.
    #[serde(default)]
    wait_ms: u64,
}

/// Changes of tenants after a cursor.
///
/// Answers at once where there are some, else when one comes or the wait is over.
#[utoipa::path(
    get,
    path = "/internal/changes",
    operation_id = "internal.changes",
    tag = "feed",
    params(ChangesQuery),
    responses((status = 200, description = "News, or the order to start anew.", body = Changes))
)]
pub(crate) async fn changes(
    _caller: ServiceCaller,
    State(platform): State<Platform>,
    Query(query): Query<ChangesQuery>,
) -> Result<Json<Changes>> {
    let wait = Duration::from_millis(query.wait_ms).min(MAX_WAIT);
    let deadline = tokio::time::Instant::now() + wait;
    // Before the first look, so that a change between the look and the wait rings.
    let mut bell = platform.feed.listen();
    if let (Some(replica), Some(epoch)) = (query.replica, query.epoch) {
        let mut connection = platform.registry.acquire().await?;
        store::acknowledge(&mut connection, replica, epoch, query.after).await?;
    }
    loop {
        let window = {
            let mut connection = platform.registry.acquire().await?;
            store::window(&mut connection, query.after).await?
        };
        let changes = window.answer(query.epoch, query.after);
        if !matches!(&changes, Changes::News { changes, .. } if changes.is_empty()) {
            return Ok(Json(changes));
        }
        tokio::select! {
            _ = bell.changed() => {}
            () = tokio::time::sleep_until(deadline) => return Ok(Json(changes)),
            () = platform.stopping.cancelled() => return Ok(Json(changes)),
        }
    }
}

pub(crate) fn internal_router() -> OpenApiRouter<Platform> {
    kit::operations!(changes)
}

/// Rings the bell for changes that other replicas of this service made, until the service stops.
pub(crate) async fn listen(platform: Platform) {
    let heard = async {
        loop {
            if let Err(error) = hear(&platform).await {
                tracing::warn!(cause = %error, "the registry's news cannot be heard");
            }
            // What was said while nobody listened is found by looking.
            platform.feed.ring();
            tokio::time::sleep(LISTEN_PAUSE).await;
        }
    };
    tokio::select! {
        () = heard => {}
        () = platform.stopping.cancelled() => {}
    }
}

async fn hear(platform: &Platform) -> Result<(), sqlx::Error> {
    // A connection of its own: one that is lost without a word is held until TCP gives it up, and those
    // who work must not miss it meanwhile.
    let options = platform.registry.connect_options();
    let options = options.as_ref().clone().application_name(LISTENER);
    let mut listener = kit::db::listener(options).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    platform.feed.ring();
    loop {
        // Waiting for news may be given up at any point without losing any.
        match tokio::time::timeout(QUIET, listener.try_recv()).await {
            Ok(Ok(Some(_))) => platform.feed.ring(),
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => answers(&mut listener).await?,
        }
    }
}

/// Whether the server still answers on the connection that news would come over. News that comes meanwhile is
/// kept for the next wait.
async fn answers(listener: &mut PgListener) -> Result<(), sqlx::Error> {
    let asked = listener.execute("select 1");
    let answered = tokio::time::timeout(ANSWER_TIMEOUT, asked).await;
    let silent = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    answered.map_err(|_| silent())?.map(|_| ())
}

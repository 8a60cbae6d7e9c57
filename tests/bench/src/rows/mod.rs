//! The rows of the table, one by one.
//!
//! Deliberately each for itself: a row prepares what it needs, so that it can run alone. Invariant:
//! within a round the sides take turns, and which one comes first changes from round to round.

mod big_restore;
mod crash;
mod first_request;
mod idle_memory;
mod known_tenants;
mod log_ins;
mod many_tenants;
mod moves;
mod neighbours;
mod news;
mod onboarding;
mod reads;
mod restart;
mod rollouts;
mod signups;
mod suspend;

use clap::ValueEnum;

use crate::report::Figure;
use crate::stage::Stage;

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    /// Reads of 50 known tenants.
    RoutedRead,
    /// The same with 1,000 open requests.
    OpenRequests,
    /// Sign-up with ready databases.
    FromStock,
    /// Sign-up without.
    FromTemplate,
    /// A tenant that the replica does not know.
    FirstRequest,
    /// Many more tenants than connections.
    ManyTenants,
    /// What an idle tenant costs.
    IdleMemory,
    /// A tenant that asks for too much.
    NoisyNeighbour,
    /// Connections on which no request ends.
    HalfOpen,
    /// Log-ins for tenants that are not there.
    LogInFlood,
    /// What the time of a refusal tells.
    LogInTiming,
    /// Many sign-ups at once.
    Burst,
    /// Ready databases that are taken at once.
    Claims,
    /// From sign-up to the first answer of app-service.
    Onboarding,
    /// PostgreSQL goes and comes back.
    Restart,
    /// PostgreSQL recovers from a crash with many databases.
    Crash,
    /// A registry with many tenants.
    KnownTenants,
    /// A new column for every tenant.
    RollOut,
    /// No new column.
    RollOutNothing,
    /// A change reaches all replicas.
    News,
    /// The end of a suspended tenant's requests.
    Suspend,
    /// A big tenant goes to another cluster.
    Move,
    /// A tenant goes back to a backup.
    Restore,
    /// A big tenant goes back to a backup.
    BigRestore,
    /// All tenants leave a cluster.
    Drain,
    /// Tenants whose databases do not answer.
    SickNeighbours,
}

impl Row {
    /// Those that were asked for, or all, in the order of the table.
    pub(crate) fn chosen(only: &[Self]) -> Vec<Self> {
        Self::value_variants()
            .iter()
            .copied()
            .filter(|row| only.is_empty() || only.contains(row))
            .collect()
    }

    /// As on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RoutedRead => "routed-read",
            Self::OpenRequests => "open-requests",
            Self::FromStock => "from-stock",
            Self::FromTemplate => "from-template",
            Self::FirstRequest => "first-request",
            Self::ManyTenants => "many-tenants",
            Self::IdleMemory => "idle-memory",
            Self::NoisyNeighbour => "noisy-neighbour",
            Self::SickNeighbours => "sick-neighbours",
            Self::HalfOpen => "half-open",
            Self::LogInFlood => "log-in-flood",
            Self::LogInTiming => "log-in-timing",
            Self::Burst => "burst",
            Self::Claims => "claims",
            Self::Onboarding => "onboarding",
            Self::Restart => "restart",
            Self::Crash => "crash",
            Self::KnownTenants => "known-tenants",
            Self::RollOut => "roll-out",
            Self::RollOutNothing => "roll-out-nothing",
            Self::News => "news",
            Self::Suspend => "suspend",
            Self::Move => "move",
            Self::Restore => "restore",
            Self::BigRestore => "big-restore",
            Self::Drain => "drain",
        }
    }
}

/// Measures a row.
pub(crate) async fn measure(row: Row, stage: &mut Stage) -> anyhow::Result<Figure> {
    match row {
        Row::RoutedRead => reads::against_pool(stage).await,
        Row::OpenRequests => reads::many_open(stage).await,
        Row::FromStock => signups::from_stock(stage).await,
        Row::FromTemplate => signups::from_template(stage).await,
        Row::FirstRequest => first_request::measure(stage).await,
        Row::ManyTenants => many_tenants::measure(stage).await,
        Row::IdleMemory => idle_memory::measure(stage).await,
        Row::NoisyNeighbour => neighbours::noisy(stage).await,
        Row::SickNeighbours => neighbours::sick(stage).await,
        Row::HalfOpen => neighbours::half_open(stage).await,
        Row::LogInFlood => log_ins::flood(stage).await,
        Row::LogInTiming => log_ins::timing(stage).await,
        Row::Burst => signups::burst(stage).await,
        Row::Claims => signups::claims(stage).await,
        Row::Onboarding => onboarding::measure(stage).await,
        Row::Restart => restart::measure(stage).await,
        Row::Crash => crash::measure(stage).await,
        Row::KnownTenants => known_tenants::measure(stage).await,
        Row::RollOut => rollouts::one_column(stage).await,
        Row::RollOutNothing => rollouts::nothing_to_do(stage).await,
        Row::News => news::measure(stage).await,
        Row::Suspend => suspend::measure(stage).await,
        Row::Move => moves::one_big(stage).await,
        Row::Restore => moves::restore(stage).await,
        Row::BigRestore => big_restore::measure(stage).await,
        Row::Drain => moves::drain(stage).await,
    }
}

/// Which side begins a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    Ours,
    Baseline,
}

impl First {
    /// Of a round, or of a sample within it.
    pub(crate) const fn of(number: u32) -> Self {
        if number.is_multiple_of(2) {
            Self::Ours
        } else {
            Self::Baseline
        }
    }
}

/// Both sides, the one that begins first.
const fn sides(number: u32) -> [First; 2] {
    match First::of(number) {
        First::Ours => [First::Ours, First::Baseline],
        First::Baseline => [First::Baseline, First::Ours],
    }
}

//! Many customers who sign up and log in: from the request to the first answer of app-service.
//!
//! Deliberately with the stock of a small installation, which eight at once use up. Invariant: a time counts
//! from the sign-up of that customer, not from the beginning of the round.

use futures::{StreamExt, TryStreamExt, stream};

use super::Row;
use crate::report::{Figure, Goal, Title};
use crate::stage::{BUDGET, Stage};
use crate::stats::{median, percentile};

const STOCK: u32 = 2;
const AT_ONCE: usize = 8;
/// What half of them may take, in milliseconds.
const MEDIAN: f64 = 300.0;
/// Of all rounds together.
const TENANTS: (usize, usize) = (100, 1000);

pub(super) async fn measure(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    stage.platform(STOCK).await?;
    stage.tenants(1).await?;
    let rounds = usize::try_from(stage.options.rounds)?.max(1);
    let each = stage.options.sized(TENANTS.0, TENANTS.1).div_ceil(rounds);
    let (mut halves, mut slow) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        stage.stocked(STOCK).await?;
        let (platform, app) = (stage.platform_address()?, stage.app_address()?);
        let signups = (0..each)
            .map(|_| stage.signup())
            .collect::<anyhow::Result<Vec<_>>>()?;
        let times: Vec<f64> = stream::iter(signups)
            .map(|signup| async move { signup.arrive(platform, app).await })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        halves.push(percentile(&times, 50));
        slow.push(percentile(&times, 99));
    }
    let title = Title {
        row: Row::Onboarding.name(),
        measure: "sign-up to the first answer of app-service, p99",
        compared_with: "",
        unit: "ms",
        goal: Goal::OursAtMost(1000.0),
    };
    let half = median(&halves);
    let notes = vec![format!(
        "{} tenants, {AT_ONCE} at once; p50 {half:.0} ms, which is a failure above {MEDIAN:.0}",
        each * rounds
    )];
    Ok(Figure::alone(title, &slow, u64::from(half > MEDIAN), notes))
}

//! Log-ins that lead nowhere: a flood of unknown tenants, and what times tell of who is known.
//!
//! Deliberately with the limits as they are delivered where a row is about them, and with the real cost of a
//! password where it is about times. Invariant: addresses and tenants of the flood are picked from many more than it
//! sends.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::Row;
use crate::client::{Client, Prepared};
use crate::link;
use crate::load::Load;
use crate::report::{Figure, Goal, Round, Title};
use crate::stage::{BUDGET, PasswordCosts, Stage, log_in_as};
use crate::stats::median;

const FLOOD_CLIENTS: usize = 64;
const FLOOD_LASTS: Duration = Duration::from_secs(5);
/// Far more than are sent in that time.
const UNKNOWN: u32 = 200_000;
/// The flood is to have at least this many a second.
const FLOOD: f64 = 2000.0;
/// The default of `auth.unknown_look_ups`; its first second may have as many more.
const LOOK_UPS: &str = "100/1s";
const LOOK_UPS_A_SECOND: f64 = 100.0;
/// Of each kind, per round.
const SAMPLES: (u32, u32) = (20, 170);

/// At least 2,000 log-ins a second for tenants that nobody knows.
pub(super) async fn flood(stage: &mut Stage) -> anyhow::Result<Figure> {
    let link = link::counting(stage.platform_internal()?).await?;
    let settings = [
        ("auth.unknown_look_ups", LOOK_UPS),
        ("public.trusted_proxies", "127.0.0.1/32"),
    ];
    let (mut rates, mut failures, mut notes) = (Vec::new(), 0, Vec::new());
    for _ in 0..stage.options.rounds {
        stage.app_behind(link.address, BUDGET, &settings).await?;
        let before = stage.app_memory_kib()?;
        let load = Load {
            address: stage.app_address()?,
            clients: FLOOD_CLIENTS,
            pause: Duration::ZERO,
            lasts: FLOOD_LASTS,
            requests: (0..UNKNOWN).map(unknown).collect::<anyhow::Result<_>>()?,
        };
        let asked = link.looked_up();
        let began = Instant::now();
        let measured = load.run().await?;
        // With the answers that came when the time was over: they were looked up as well.
        let seconds = began.elapsed().as_secs_f64();
        let looked_up = (link.looked_up() - asked) as f64;
        let sent = measured.errors as f64 / seconds;
        failures += measured.answered + u64::from(sent < FLOOD);
        // What the first second may have at once is no rate.
        rates.push((looked_up - LOOK_UPS_A_SECOND).max(0.0) / seconds);
        notes.push(format!(
            "{sent:.0} log-ins/s, {looked_up} look-ups in {seconds:.1} s; memory {} MiB before and {} MiB after; first answer: {}",
            before / 1024,
            stage.app_memory_kib()? / 1024,
            measured.first_error.unwrap_or_default().chars().take(20).collect::<String>()
        ));
    }
    stage.app(BUDGET, &[]).await?;
    let title = Title {
        row: Row::LogInFlood.name(),
        measure: "log-ins for unknown tenants: look-ups at the platform",
        compared_with: "",
        unit: "/s",
        goal: Goal::EachAtMost(LOOK_UPS_A_SECOND),
    };
    Ok(Figure::alone(title, &rates, failures, notes))
}

fn unknown(number: u32) -> anyhow::Result<Prepared> {
    let body =
        json!({ "email": "somebody@example.com", "password": "seven wandering lighthouses" });
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(100, 64, 0, 0).to_bits() + number);
    Prepared::post("/v1/auth/login", &body)?
        .tenant(&format!("t_nobody_{number}"))?
        .forwarded_for(&address.to_string())
}

/// A wrong password, somebody who is not there, a tenant that is not there.
pub(super) async fn timing(stage: &mut Stage) -> anyhow::Result<Figure> {
    let tenant = stage.tenants(1).await?.remove(0);
    stage.password_costs = PasswordCosts::AsDelivered;
    let compared = compare(stage, &tenant.id).await;
    stage.password_costs = PasswordCosts::Nothing;
    stage.app(BUDGET, &[]).await?;
    let (rounds, notes) = compared?;
    let title = Title {
        row: Row::LogInTiming.name(),
        measure: "refused log-in of nobody or nowhere, median",
        compared_with: "a wrong password",
        unit: "ms",
        goal: Goal::RatioAtMost(1.05),
    };
    Ok(Figure::compared(title, rounds, 0, notes))
}

async fn compare(stage: &mut Stage, tenant: &str) -> anyhow::Result<(Vec<Round>, Vec<String>)> {
    stage.app(BUDGET, &[]).await?;
    let known = stage.owner_of(tenant).await?;
    let address = stage.app_address()?;
    // The first log-in hashes the password anew, at the cost of today.
    log_in_as(&mut Client::new(address), tenant, &known).await?;
    let mut clients = [(); 3].map(|()| Client::new(address));
    let (mut rounds, mut notes) = (Vec::new(), Vec::new());
    for number in 0..stage.options.rounds {
        let (mut wrong, mut nobody, mut nowhere) = (Vec::new(), Vec::new(), Vec::new());
        for sample in 0..stage.options.sized(SAMPLES.0, SAMPLES.1) {
            let unknown = format!("t_nobody_{number}_{sample}");
            let stranger = format!("somebody-{number}-{sample}@example.com");
            let [first, second, third] = &mut clients;
            let times = tokio::try_join!(
                refused(first, tenant, &known),
                refused(second, tenant, &stranger),
                refused(third, &unknown, &known),
            )?;
            wrong.push(times.0);
            nobody.push(times.1);
            nowhere.push(times.2);
        }
        let (wrong, nobody, nowhere) = (median(&wrong), median(&nobody), median(&nowhere));
        notes.push(format!(
            "wrong password {wrong:.2} ms, nobody of this name {nobody:.2} ms, no such tenant {nowhere:.2} ms"
        ));
        // The one that is farther from a wrong password.
        let ratio = |time: f64| {
            if time > wrong {
                time / wrong
            } else {
                wrong / time
            }
        };
        let far = if ratio(nobody) > ratio(nowhere) {
            nobody
        } else {
            nowhere
        };
        rounds.push(Round {
            ours: far.max(wrong),
            baseline: far.min(wrong),
        });
    }
    Ok((rounds, notes))
}

/// How long a refusal takes, in milliseconds.
async fn refused(client: &mut Client, tenant: &str, email: &str) -> anyhow::Result<f64> {
    let body = json!({ "email": email, "password": "eight wandering lighthouses" });
    let request = Prepared::post("/v1/auth/login", &body)?.tenant(tenant)?;
    let sent = Instant::now();
    let answer = client.send(&request).await.context("a log-in")?;
    ensure!(
        answer.status == http::StatusCode::UNAUTHORIZED,
        "a wrong log-in: {}",
        answer.words()
    );
    Ok(sent.elapsed().as_secs_f64() * 1e3)
}

//! What the figures were measured on.
//!
//! Deliberately little: what changes figures. Invariant: what cannot be found out is empty.

use anyhow::Context as _;
use serde::Serialize;

use crate::stage::Stage;

/// The machine and its software.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    system: String,
    processor: String,
    cores: usize,
    memory_gib: u64,
    postgresql: String,
}

impl Machine {
    pub(crate) async fn look(stage: &Stage) -> anyhow::Result<Self> {
        Ok(Self {
            system: format!(
                "{} {}",
                std::env::consts::OS,
                read("/proc/sys/kernel/osrelease").trim()
            ),
            processor: value(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: memory_mib().map_or(0, |mib| mib.div_ceil(1024)),
            postgresql: stage.server_version().await?,
        })
    }

    /// One line.
    pub(crate) fn words(&self) -> String {
        format!(
            "{} cores ({}), {} GiB, {}, PostgreSQL {} with fsync; server, services, baseline and client share the cores",
            self.cores, self.processor, self.memory_gib, self.system, self.postgresql
        )
    }
}

/// The memory of the machine.
pub(crate) fn memory_mib() -> Option<u64> {
    let total = value(&read("/proc/meminfo"), "MemTotal");
    let kib: u64 = total.split(' ').next()?.parse().ok()?;
    Some(kib / 1024)
}

/// The resident memory of a process.
pub(crate) fn resident_kib(process: u32) -> anyhow::Result<u64> {
    let size = value(&read(&format!("/proc/{process}/status")), "VmRSS");
    let kib = size.split(' ').next().unwrap_or_default();
    kib.parse()
        .context("a resident size, for which this row needs Linux")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Of a file of lines like `name : value`.
fn value(text: &str, name: &str) -> String {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

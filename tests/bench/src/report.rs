//! The table that is printed and the JSON that is written.
//!
//! Deliberately without judgement beyond "reached": why a figure is what it is stands in
//! `docs/BENCHMARKS.md`. Invariant: every figure carries the values of its rounds.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::cli::Options;
use crate::machine::Machine;
use crate::stats::median;

/// What a figure has to reach.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// Of the ratio.
    RatioAtLeast(f64),
    /// Of the ratio.
    RatioAtMost(f64),
    /// Of our own value.
    OursAtMost(f64),
    /// Of every value of ours.
    EachAtMost(f64),
    /// No failure.
    NoFailure,
}

impl Goal {
    fn words(self) -> String {
        match self {
            Self::RatioAtLeast(goal) => format!(">= {goal:.2}"),
            Self::RatioAtMost(goal) | Self::OursAtMost(goal) | Self::EachAtMost(goal) => {
                format!("<= {goal:.2}")
            }
            Self::NoFailure => "0 failures".to_owned(),
        }
    }
}

/// Both sides once.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Round {
    pub(crate) ours: f64,
    pub(crate) baseline: f64,
}

/// A row of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) row: &'static str,
    pub(crate) measure: &'static str,
    pub(crate) compared_with: &'static str,
    pub(crate) unit: &'static str,
    /// Median over the rounds.
    pub(crate) ours: f64,
    /// Median over the rounds; of a row that is compared with something.
    pub(crate) baseline: Option<f64>,
    /// Median of the rounds' ratios of ours to the baseline.
    pub(crate) ratio: Option<f64>,
    pub(crate) goal: Goal,
    /// Requests or sign-ups that failed, and broken conditions.
    pub(crate) failures: u64,
    pub(crate) reached: bool,
    pub(crate) rounds: Vec<Round>,
    pub(crate) notes: Vec<String>,
}

/// What a row says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Title {
    pub(crate) row: &'static str,
    pub(crate) measure: &'static str,
    pub(crate) compared_with: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
}

impl Figure {
    /// A figure with a baseline.
    pub(crate) fn compared(
        title: Title,
        rounds: Vec<Round>,
        failures: u64,
        notes: Vec<String>,
    ) -> Self {
        let side = |side: fn(&Round) -> f64| median(&rounds.iter().map(side).collect::<Vec<_>>());
        let ratio = side(|round| round.ours / round.baseline);
        let kept = match title.goal {
            Goal::RatioAtLeast(goal) => ratio >= goal,
            Goal::RatioAtMost(goal) => ratio <= goal,
            Goal::OursAtMost(_) | Goal::EachAtMost(_) | Goal::NoFailure => true,
        };
        let (ours, baseline) = (side(|round| round.ours), side(|round| round.baseline));
        Self::new(
            title,
            (ours, Some(baseline), Some(ratio)),
            kept,
            failures,
            rounds,
            notes,
        )
    }

    /// A figure that stands for itself.
    pub(crate) fn alone(title: Title, values: &[f64], failures: u64, notes: Vec<String>) -> Self {
        let ours = median(values);
        let kept = match title.goal {
            Goal::OursAtMost(goal) => ours <= goal,
            Goal::EachAtMost(goal) => values.iter().all(|&value| value <= goal),
            _ => true,
        };
        let rounds = values
            .iter()
            .map(|&ours| Round {
                ours,
                baseline: 0.0,
            })
            .collect();
        Self::new(title, (ours, None, None), kept, failures, rounds, notes)
    }

    fn new(
        title: Title,
        (ours, baseline, ratio): (f64, Option<f64>, Option<f64>),
        kept: bool,
        failures: u64,
        rounds: Vec<Round>,
        notes: Vec<String>,
    ) -> Self {
        Self {
            row: title.row,
            measure: title.measure,
            compared_with: title.compared_with,
            unit: title.unit,
            ours,
            baseline,
            ratio,
            goal: title.goal,
            failures,
            reached: kept && failures == 0,
            rounds,
            notes,
        }
    }
}

/// All rows of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    size: &'static str,
    rounds: u32,
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn new(options: &Options, machine: Machine) -> Self {
        Self {
            machine,
            size: options.sized("small", "full"),
            rounds: options.rounds,
            figures: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// The table, on standard output.
    pub(crate) fn print(&self) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{}", self.machine.words())?;
        writeln!(
            out,
            "size: {}, rounds: {}, medians\n",
            self.size, self.rounds
        )?;
        let cells = |figure: &Figure| {
            let number =
                |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
            [
                figure.measure.to_owned(),
                format!("{:.2} {}", figure.ours, figure.unit),
                number(figure.baseline),
                number(figure.ratio),
                figure.goal.words(),
                figure.failures.to_string(),
                if figure.reached { "yes" } else { "NO" }.to_owned(),
            ]
        };
        let head = [
            "measure", "ours", "baseline", "ratio", "goal", "failures", "reached",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.figures.iter().map(cells));
        let mut widths = [0; 7];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &rows {
            let line: Vec<String> = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            writeln!(out, "{}", line.join(" | ").trim_end())?;
        }
        for figure in &self.figures {
            for note in &figure.notes {
                writeln!(out, "  {}: {note}", figure.row)?;
            }
        }
        Ok(())
    }

    /// The JSON document.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, serde_json::to_vec_pretty(self)?)?;
        crate::process::say(&format!("results: {}", path.display()));
        Ok(())
    }
}

//! What was measured, beside what DESIGN §9 asks for.

use std::fmt;

use serde::Serialize;

use super::cpu::Cpu;

/// One side of a round.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Side {
    pub(super) events: u64,
    pub(super) seconds: f64,
    pub(super) events_per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) cpu_seconds: Cpu,
}

impl Side {
    pub(super) fn new(events_each: u64, seconds: f64, mut latencies_us: Vec<u64>, cpu_seconds: Cpu) -> Self {
        latencies_us.sort_unstable();
        let events = latencies_us.len() as u64 * events_each;
        Self {
            events,
            seconds,
            events_per_second: events as f64 / seconds,
            p50_ms: quantile(&latencies_us, 50) as f64 / 1e3,
            p99_ms: quantile(&latencies_us, 99) as f64 / 1e3,
            cpu_seconds,
        }
    }
}

/// The smallest value that is not exceeded by `percent` of the values.
fn quantile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// A round: both sides, one after the other.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Round {
    pub(super) service: Side,
    pub(super) postgres: Side,
}

/// What is compared, in all rounds.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    pub(super) workload: String,
    /// What PostgreSQL ran.
    pub(super) against: &'static str,
    pub(super) rounds: Vec<Round>,
    pub(super) figures: Vec<Figure>,
}

impl Comparison {
    pub(super) fn new(
        workload: String,
        against: &'static str,
        rounds: Vec<Round>,
        wanted: &[(&'static str, Measure, Bound)],
    ) -> Self {
        let figures = wanted.iter().map(|&(name, measure, bound)| {
            Figure::new(name, "×", median(rounds.iter().map(measure).collect()), bound)
        });
        Self { workload, against, figures: figures.collect(), rounds }
    }

    fn median_of(&self, value: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(value).collect())
    }
}

/// A ratio of the two sides of a round.
pub(super) type Measure = fn(&Round) -> f64;

pub(super) fn throughput(round: &Round) -> f64 {
    round.service.events_per_second / round.postgres.events_per_second
}

pub(super) fn p50(round: &Round) -> f64 {
    round.service.p50_ms / round.postgres.p50_ms
}

pub(super) fn p99(round: &Round) -> f64 {
    round.service.p99_ms / round.postgres.p99_ms
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}

/// A measured value and its target.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) value: f64,
    pub(super) target: Bound,
    pub(super) met: bool,
}

impl Figure {
    pub(super) fn new(name: &'static str, unit: &'static str, value: f64, target: Bound) -> Self {
        let met = match target {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        };
        Self { name, unit, value, target, met }
    }
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub(super) postgres: String,
    pub(super) cores: usize,
    /// Rows in each of the two tables before the first round.
    pub(super) rows: u64,
    pub(super) preload_events_per_second: f64,
    pub(super) seconds_per_side: u64,
    pub(super) receipts_checked: u64,
    pub(super) events_acknowledged: u64,
    pub(super) comparisons: Vec<Comparison>,
    /// Start and memory.
    pub(super) service: Vec<Figure>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "PostgreSQL {}, {} cores shared by all processes (nothing is pinned), {} rows in each table, {} s a side.",
            self.postgres, self.cores, self.rows, self.seconds_per_side
        )?;
        writeln!(f, "Preloaded through the service at {:.0} events/s.", self.preload_events_per_second)?;
        for comparison in &self.comparisons {
            write!(f, "\n{comparison}")?;
        }
        writeln!(f, "\nThe service alone")?;
        self.service.iter().try_for_each(|figure| writeln!(f, "{figure}"))?;
        writeln!(
            f,
            "\n{} receipts returned under load were opened and found in the log; all {} acknowledged events are \
             there, without gaps.",
            self.receipts_checked, self.events_acknowledged
        )
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.rounds.len();
        writeln!(f, "{} against {} (medians of {rounds} rounds)", self.workload, self.against)?;
        let header = ["", "events/s", "p50 ms", "p99 ms", "CPU µs/event: server", "postgres", "generator"];
        let [side, rate, p50, p99, server, postgres, generator] = header;
        writeln!(f, "  {side:9}{rate:>10}{p50:>10}{p99:>10}{server:>23}{postgres:>10}{generator:>11}")?;
        self.write_side(f, "service", |round| &round.service)?;
        self.write_side(f, "postgres", |round| &round.postgres)?;
        self.figures.iter().try_for_each(|figure| writeln!(f, "{figure}"))
    }
}

impl Comparison {
    fn write_side(&self, f: &mut fmt::Formatter<'_>, name: &str, side: fn(&Round) -> &Side) -> fmt::Result {
        let value = |value: fn(&Side) -> f64| self.median_of(|round| value(side(round)));
        let cpu = |part: fn(&Cpu) -> f64| {
            self.median_of(|round| part(&side(round).cpu_seconds) * 1e6 / side(round).events as f64)
        };
        writeln!(
            f,
            "  {name:9}{:>10.0}{:>10.2}{:>10.2}{:>23.1}{:>10.1}{:>11.1}",
            value(|side| side.events_per_second),
            value(|side| side.p50_ms),
            value(|side| side.p99_ms),
            cpu(|cpu| cpu.server),
            cpu(|cpu| cpu.postgres),
            cpu(|cpu| cpu.generator),
        )
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.met { "ok" } else { "missed" };
        let value = format!("{:.2} {}", self.value, self.unit);
        write!(f, "  {:32}{value:>12}  {:12}{verdict}", self.name, self.target.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((quantile(&hundred, 50), quantile(&hundred, 99)), (50, 99));
        assert_eq!((quantile(&[7], 50), quantile(&[7], 99), quantile(&[], 99)), (7, 7, 0));
    }

    #[test]
    fn one_odd_round_does_not_move_the_median() {
        assert_eq!(median(vec![2.0, 100.0, 2.1]), 2.1);
        assert_eq!(median(vec![1.0, 2.0]), 1.5);
    }

    #[test]
    fn a_target_is_met_on_its_side_of_the_bound() {
        let met = |value, bound| Figure::new("", "×", value, bound).met;
        assert!(met(2.0, Bound::AtLeast(2.0)) && !met(1.9, Bound::AtLeast(2.0)));
        assert!(met(1.9, Bound::AtMost(2.0)) && !met(f64::NAN, Bound::AtMost(2.0)));
    }
}

//! What a burst found, as a table for people and as JSON. Nothing is measured here.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::tally::Tally;
use crate::cli::BurstArgs;
use crate::clock::{self, Micros};

/// The results of a run; times in milliseconds, counts over the measured time alone. Latencies are those of all bids
/// sent or due in it; what was never answered counts with its age.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    scenario: &'static str,
    bidders: u32,
    /// Per bidder; without proxy bidding no more than one a lot.
    in_flight: u32,
    watchers: u32,
    lots: u32,
    proxy: bool,
    /// Accepted bids a second aimed at; null where as many as possible were made.
    target_rate: Option<f64>,
    seconds: f64,
    accepted: u64,
    accepted_per_second: f64,
    refused: u64,
    refused_per_second: f64,
    refused_share: f64,
    errors: BTreeMap<String, u64>,
    receipt_ms: Spread,
    deliveries: u64,
    deliveries_per_second: f64,
    delivery_ms: Spread,
    conflations: u64,
    conflated_events: u64,
    /// Bids due by the end of the measured time that were never sent, or refused and not made again.
    pub(super) overdue: u64,
    /// Bids without an answer when the run ended.
    pub(super) unanswered: u64,
    /// The client's own processor time by wall time; near 1, the client was the limit.
    client_cpu_share: f64,
    /// Messages the fast reader left to the full parser.
    pub(super) slow_messages: u64,
    /// Receipts of the whole run, warm-up and end included, that were checked.
    pub(super) checked: u64,
    pub(super) history_checked: Option<u64>,
    /// Wallets whose held sums were compared with the lots.
    pub(super) wallets_checked: Option<u64>,
    /// The broken promise, if one was seen.
    pub(super) violation: Option<String>,
    /// What else ended the run before its time.
    pub(super) error: Option<String>,
    /// When the measured time ended.
    #[serde(skip)]
    pub(super) end: Micros,
}

/// A latency's distribution.
#[derive(Debug, Default, Serialize)]
struct Spread {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Spread {
    fn of(micros: &Histogram<u64>) -> Self {
        let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1000.0;
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: micros.max() as f64 / 1000.0 }
    }
}

impl Report {
    /// Takes the counts as they are at `end`; the rest comes when the run is over.
    pub(super) fn new(args: &BurstArgs, tally: &Tally, end: Micros) -> Self {
        let seconds = (end - tally.start) as f64 / 1e6;
        let per_second = |count: u64| count as f64 / seconds.max(1e-6);
        Self {
            scenario: "burst",
            bidders: args.bidders,
            in_flight: if args.proxy { args.in_flight } else { args.in_flight.min(args.lots) },
            watchers: args.watchers,
            lots: args.lots,
            proxy: args.proxy,
            target_rate: args.rate,
            seconds,
            accepted: tally.accepted,
            accepted_per_second: per_second(tally.accepted),
            refused: tally.refused,
            refused_per_second: per_second(tally.refused),
            refused_share: tally.refused as f64 / (tally.refused + tally.accepted).max(1) as f64,
            errors: tally.errors.clone(),
            receipt_ms: Spread::default(),
            deliveries: tally.pushed,
            deliveries_per_second: per_second(tally.pushed),
            delivery_ms: Spread::default(),
            conflations: tally.conflations,
            conflated_events: tally.conflated,
            overdue: 0,
            unanswered: 0,
            client_cpu_share: (clock::cpu_seconds() - tally.cpu_start) / seconds.max(1e-6),
            slow_messages: 0,
            checked: 0,
            history_checked: None,
            wallets_checked: None,
            violation: None,
            error: None,
            end,
        }
    }

    pub(super) fn take_latencies(&mut self, tally: &Tally) {
        self.receipt_ms = Spread::of(&tally.receipts);
        self.delivery_ms = Spread::of(&tally.deliveries);
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { p50, p90, p99, p999, max } = self;
        write!(f, "p50 {p50:.2}  p90 {p90:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.2}")
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let pace = self.target_rate.map_or("closed loop".to_owned(), |rate| format!("{rate} bids/s wanted"));
        let proxy = if self.proxy { "proxy" } else { "no proxy" };
        writeln!(
            f,
            "burst: {} bidders x {} in flight, lots {} ({proxy}), watchers {}, {:.1} s, {pace}",
            self.bidders, self.in_flight, self.lots, self.watchers, self.seconds
        )?;
        let mut row = |name: &str, value: String| writeln!(f, "  {name:<16} {value}");
        row("accepted", format!("{}/s", grouped(self.accepted_per_second)))?;
        let share = self.refused_share * 100.0;
        row("refused", format!("{}/s  ({share:.2} % of all)", grouped(self.refused_per_second)))?;
        row("receipt ms", self.receipt_ms.to_string())?;
        if self.watchers > 0 {
            row("deliveries", format!("{}/s", grouped(self.deliveries_per_second)))?;
            row("delivery ms", self.delivery_ms.to_string())?;
            row("conflations", format!("{} for {} events", self.conflations, self.conflated_events))?;
        }
        let errors: Vec<_> = self.errors.iter().map(|(code, count)| format!("{code} {count}")).collect();
        row("errors", if errors.is_empty() { "none".into() } else { errors.join(", ") })?;
        if self.target_rate.is_some() {
            row("overdue", self.overdue.to_string())?;
        }
        if self.unanswered > 0 {
            row("unanswered", self.unanswered.to_string())?;
        }
        row("client CPU", format!("{:.0} % of a core", self.client_cpu_share * 100.0))?;
        if self.slow_messages > 0 {
            row("slow messages", self.slow_messages.to_string())?;
        }
        let history = self.history_checked.map_or(String::new(), |bids| format!(", {bids} in the history"));
        let wallets = self.wallets_checked.map_or(String::new(), |wallets| format!(", {wallets} wallets"));
        let end = match (&self.violation, &self.error) {
            (Some(why), _) => format!("VIOLATED: {why}"),
            (None, Some(why)) => format!("FAILED: {why}"),
            (None, None) => "all as promised".into(),
        };
        row("checked", format!("{} receipts{history}{wallets}: {end}", self.checked))
    }
}

/// A rate with its thousands apart.
fn grouped(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_apart() {
        let all = [0.4, 999.0, 1000.0, 1_234_567.0].map(super::grouped);
        assert_eq!(all, ["0", "999", "1,000", "1,234,567"]);
    }
}

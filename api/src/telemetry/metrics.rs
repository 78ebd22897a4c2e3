//! Names, units and buckets of what is measured, and the recorder that renders it for Prometheus.
//!
//! Where a number is measured, the `metrics` macros are used with the names here. There is no listener of its own: the page
//! `/metrics` renders.

use gavel_persistence::postgres::SERIALIZATION_FAILURES;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::time::Duration;

pub use gavel_engine::meters::{
    ACTOR_REBUILDS, BID_RECEIPT_SECONDS as BID_RECEIPT, BIDS, CAPTURES_REFUSED, COMMIT_BATCH_EVENTS, COMMIT_SECONDS as COMMIT,
    JOURNAL_BYTES, LOTS_LIVE, PROJECTED_EVENTS, PROJECTOR_LAG_BATCHES, PROJECTOR_LAG_SECONDS as PROJECTOR_LAG,
    RECOVERY_SECONDS as RECOVERY, SHARD_RECOVERIES,
};

/// Gauge: WebSockets open.
pub const SOCKETS: &str = "gavel_sockets";
/// Gauge, bytes: waiting for all sockets together.
pub const OUTBOUND_QUEUE_BYTES: &str = "gavel_outbound_queue_bytes";
/// Counter: times a slow reader's pushes were replaced by a resync.
pub const CONFLATIONS: &str = "gavel_conflations_total";
/// Counter, by outcome: logins with a password.
pub const LOGINS: &str = "gavel_logins_total";
/// Gauge: sessions that can be refreshed.
pub const SESSIONS: &str = "gavel_sessions";

/// From 50 µs, a commit without an fsync, to 10 s, where clients have given up; finest below 5 ms.
const LATENCY_SECONDS: [f64; 20] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_3, 0.000_5, 0.000_75, 0.001, 0.001_5, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.5, 10.0,
];
const BATCH_EVENTS: [f64; 13] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];
const RECOVERY_SECONDS: [f64; 12] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// How often histograms are folded: their samples wait in memory until then.
const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder could not be started.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The process has a recorder already, or the buckets are not ones.
    #[error("metrics: {0}")]
    Build(#[from] BuildError),
    /// The process has a recorder already.
    #[error("metrics: a recorder is installed already")]
    Twice,
}

/// What was measured so far. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Makes the recorder the process' own, with every metric described. Once, at the start.
    ///
    /// # Errors
    /// It was installed before.
    pub fn install() -> Result<Self, MetricsError> {
        let recorder = recorder()?;
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| MetricsError::Twice)?;
        describe();
        Ok(Self { handle })
    }

    /// The Prometheus text exposition (content type `text/plain; version=0.0.4`).
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds samples every few seconds, for ever: to be spawned on any tokio runtime. Without it memory grows between renders.
    pub async fn upkeep(self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            self.handle.run_upkeep();
        }
    }
}

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let buckets =
        |builder: PrometheusBuilder, name: &str, values: &[f64]| builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), values);
    let builder = buckets(PrometheusBuilder::new(), BID_RECEIPT, &LATENCY_SECONDS)?;
    let builder = buckets(builder, COMMIT, &LATENCY_SECONDS)?;
    let builder = buckets(builder, COMMIT_BATCH_EVENTS, &BATCH_EVENTS)?;
    Ok(buckets(builder, RECOVERY, &RECOVERY_SECONDS)?.build_recorder())
}

/// Describes every metric and, where it has no label, starts it at zero: a graph that begins with the first failure hides it.
fn describe() {
    describe_counter!(BIDS, Unit::Count, "Bids decided, by outcome: accepted or the refusal's code");
    describe_histogram!(BID_RECEIPT, Unit::Seconds, "From a bid's admission to the release of its receipt or refusal");
    describe_histogram!(COMMIT_BATCH_EVENTS, Unit::Count, "Events in a committed batch");
    describe_histogram!(COMMIT, Unit::Seconds, "One append to the journal until it is durable");
    describe_gauge!(SOCKETS, Unit::Count, "WebSockets open");
    describe_gauge!(OUTBOUND_QUEUE_BYTES, Unit::Bytes, "Bytes waiting for all sockets together");
    describe_counter!(CONFLATIONS, Unit::Count, "Times a slow reader's pushes were replaced by a resync");
    describe_counter!(LOGINS, Unit::Count, "Logins by outcome: accepted, refused, locked, invalid, overloaded, failed");
    describe_gauge!(SESSIONS, Unit::Count, "Sessions of accounts that can be refreshed");
    describe_gauge!(PROJECTOR_LAG_BATCHES, Unit::Count, "Committed batches that the tables do not hold yet");
    describe_gauge!(PROJECTOR_LAG, Unit::Seconds, "Age of the oldest batch that the tables do not hold yet");
    describe_histogram!(RECOVERY, Unit::Seconds, "Recovery of a node's shards at its start, or of one after a failed append");
    describe_gauge!(JOURNAL_BYTES, Unit::Bytes, "The journal, as far as it is not trimmed");
    describe_gauge!(LOTS_LIVE, Unit::Count, "Lots in memory");
    describe_counter!(CAPTURES_REFUSED, Unit::Count, "Times a winner's wallet could not be asked for the price: lots that stay unsettled");
    describe_counter!(ACTOR_REBUILDS, Unit::Count, "Lots and wallets rebuilt after a panic");
    describe_counter!(SHARD_RECOVERIES, Unit::Count, "Shards recovered after a failed append");
    describe_counter!(PROJECTED_EVENTS, Unit::Count, "Events written to the tables");
    describe_counter!(SERIALIZATION_FAILURES, Unit::Count, "Transactions of money that PostgreSQL asked to try again");
    for name in [CONFLATIONS, CAPTURES_REFUSED, ACTOR_REBUILDS, SHARD_RECOVERIES, PROJECTED_EVENTS, SERIALIZATION_FAILURES] {
        counter!(name).absolute(0);
    }
    for name in [SOCKETS, SESSIONS, OUTBOUND_QUEUE_BYTES, PROJECTOR_LAG_BATCHES, PROJECTOR_LAG, JOURNAL_BYTES, LOTS_LIVE] {
        gauge!(name).set(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::histogram;

    #[test]
    fn the_page_has_names_help_and_fine_buckets() {
        let recorder = recorder().unwrap();
        let page = metrics::with_local_recorder(&recorder, || {
            describe();
            counter!(BIDS, "outcome" => "accepted").increment(2);
            counter!(CONFLATIONS).increment(1);
            for name in [BID_RECEIPT, COMMIT, COMMIT_BATCH_EVENTS, RECOVERY] {
                histogram!(name).record(0.000_25);
            }
            recorder.handle().render()
        });
        for line in [
            "# TYPE gavel_bids_total counter",
            "gavel_bids_total{outcome=\"accepted\"} 2",
            "gavel_conflations_total 1",
            "gavel_actor_rebuilds_total 0",
            "gavel_sockets 0",
            "# HELP gavel_lots_live Lots in memory",
            "gavel_bid_receipt_seconds_bucket{le=\"0.0002\"} 0",
            "gavel_bid_receipt_seconds_bucket{le=\"0.0003\"} 1",
            "gavel_commit_seconds_bucket{le=\"0.0003\"} 1",
            "gavel_commit_batch_events_bucket{le=\"1\"} 1",
            "gavel_recovery_seconds_bucket{le=\"0.001\"} 1",
        ] {
            assert!(page.lines().any(|have| have == line), "{line:?} is missing in:\n{page}");
        }
    }
}

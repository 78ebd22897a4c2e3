//! What operators see: log lines and metrics. Nothing here decides anything, and nothing names a bidder or a token.

mod gauges;
mod logging;
pub mod metrics;

pub use gauges::gauges;
pub use logging::{LoggingError, init_logging};
pub use metrics::{
    ACTOR_REBUILDS, BID_RECEIPT, BIDS, COMMIT, COMMIT_BATCH_EVENTS, CONFLATIONS, JOURNAL_BYTES, LOTS_LIVE, Metrics, MetricsError,
    OUTBOUND_QUEUE_BYTES, PROJECTOR_LAG, PROJECTOR_LAG_BATCHES, RECOVERY, SOCKETS,
};

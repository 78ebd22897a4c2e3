//! What operators see: log lines and metrics. Nothing here decides anything, and nothing names a bidder or a token.

mod gauges;
mod logging;
pub mod metrics;

pub use gauges::gauges;
pub use logging::{LoggingError, init_logging};
pub use metrics::{Metrics, MetricsError};

//! Gauges of a worker's sockets, brought up to date once a second.

use super::metrics::{OUTBOUND_QUEUE_BYTES, SOCKETS};
use crate::ws::hub::Hub;
use metrics::gauge;
use std::{rc::Rc, time::Duration};

/// Follows one worker's hub, for ever. Each worker adds what has changed, so that the gauges are
/// sums over all of them.
pub async fn gauges(hub: Rc<Hub>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    let (mut sockets, mut bytes) = (0.0, 0.0);
    loop {
        every.tick().await;
        #[expect(clippy::cast_precision_loss, reason = "gauges")]
        let now = (hub.sockets() as f64, hub.outbound_bytes() as f64);
        gauge!(SOCKETS).increment(now.0 - sockets);
        gauge!(OUTBOUND_QUEUE_BYTES).increment(now.1 - bytes);
        (sockets, bytes) = now;
    }
}

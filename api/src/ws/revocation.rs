//! Closes the sockets of those who are let in no longer: their session was ended, or their user is disabled.

use super::hub::Hub;
use crate::auth::Revocations;
use std::{rc::Rc, sync::Arc};

/// Follows the news for one worker's sockets, for ever.
pub async fn close_revoked(hub: Rc<Hub>, revocations: Arc<Revocations>) {
    let mut news = revocations.subscribe();
    while news.changed().await.is_ok() {
        for link in hub.links() {
            let out = link.who.borrow().holder.as_ref().is_some_and(|holder| revocations.check(holder).is_err());
            if out {
                link.close(4503, "revoked");
            }
        }
    }
}

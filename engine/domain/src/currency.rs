//! Currencies: a code and how many decimals its minor unit stands for.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A currency as lots and wallets name it, for example `{"code":"USD","scale":2}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Currency {
    /// The name, for example `DKP` or `EUR`.
    pub code: Arc<str>,
    /// Decimals when shown: with 2, 1234 minor units read 12.34.
    pub scale: u8,
}

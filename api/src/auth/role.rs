//! The four roles and which one includes which. What a role may do is not listed here.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a token's holder is. admin ⊃ auctioneer ⊃ viewer, bidder ⊃ viewer: an admin manages auctions but never bids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads lots and watches auctions.
    Viewer,
    /// A viewer that bids.
    Bidder,
    /// A viewer that runs auctions.
    Auctioneer,
    /// An auctioneer that also manages wallets and sees the cluster.
    Admin,
}

/// A role nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown role: expected admin, auctioneer, bidder or viewer")]
pub struct RoleError;

impl Role {
    /// Whether the holder of this role may do what `needed` may.
    #[must_use]
    pub fn allows(self, needed: Self) -> bool {
        match needed {
            Self::Viewer => true,
            Self::Bidder => self == Self::Bidder,
            Self::Auctioneer => matches!(self, Self::Auctioneer | Self::Admin),
            Self::Admin => self == Self::Admin,
        }
    }

    /// As in a token.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Bidder => "bidder",
            Self::Auctioneer => "auctioneer",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        [Self::Viewer, Self::Bidder, Self::Auctioneer, Self::Admin].into_iter().find(|role| role.as_str() == text).ok_or(RoleError)
    }
}

#[cfg(test)]
mod tests {
    use super::Role::{self, Admin, Auctioneer, Bidder, Viewer};

    #[test]
    fn each_role_includes_what_the_protocol_says() {
        let table: [(Role, &[Role]); 4] =
            [(Viewer, &[Viewer]), (Bidder, &[Viewer, Bidder]), (Auctioneer, &[Viewer, Auctioneer]), (Admin, &[Viewer, Auctioneer, Admin])];
        for (role, included) in table {
            for needed in [Viewer, Bidder, Auctioneer, Admin] {
                assert_eq!(role.allows(needed), included.contains(&needed), "{role} allows {needed}");
            }
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        for unknown in ["", "Admin", "root", " viewer"] {
            assert!(unknown.parse::<Role>().is_err(), "{unknown:?}");
        }
    }
}

//! Under which names the bidders of a lot are shown: by their own, or where the lot asks for it by
//! aliases, which stay the same for the whole lot and tell nobody whose they are.
//!
//! An alias is `#` and eight characters; no bidder is called so. The house sees names.

use super::lot::Audience;
use gavel_domain::{
    event::{Outcome, Unsold},
    ids::BidderId,
    lot::access::{AccessRules, AliasKey},
    money::Amount,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

/// Crockford's base 32: no letter that is taken for another.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of an alias: 40 bits, so that two of a thousand bidders share one once in two million lots.
const ALIAS_CHARS: usize = 8;

/// A bidder as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// By its own name.
    Own(BidderId),
    /// By an alias.
    Alias(Arc<str>),
}

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Own(bidder) => bidder.as_str(),
            Self::Alias(alias) => alias,
        }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(BidderId::try_from(text.as_str()).map_or_else(|_| Self::Alias(text.into()), Self::Own))
    }
}

/// How somebody is shown a lot's bidders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names(Option<AliasKey>);

impl Names {
    /// By their own names.
    pub const OWN: Self = Self(None);

    /// As `audience` may see them.
    #[must_use]
    pub fn shown(access: AccessRules, audience: Audience) -> Self {
        Self(access.aliases.filter(|_| audience == Audience::Public))
    }

    /// One of them.
    #[must_use]
    pub fn of(self, bidder: &BidderId) -> Name {
        self.0.map_or_else(|| Name::Own(bidder.clone()), |key| Name::Alias(alias(key, bidder)))
    }

    /// How a lot ended.
    #[must_use]
    pub fn outcome(self, outcome: &Outcome) -> OutcomeBody {
        match outcome {
            Outcome::Sold { winner, price } => OutcomeBody::Sold { winner: self.of(winner), price: *price },
            Outcome::Unsold { reason } => OutcomeBody::Unsold { reason: *reason },
        }
    }
}

/// A bidder's alias under a key.
#[must_use]
pub fn alias(key: AliasKey, bidder: &BidderId) -> Arc<str> {
    let digest = blake3::Hasher::new().update(&key.0).update(bidder.as_str().as_bytes()).finalize();
    let bits = digest.as_bytes().iter().take(5).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let letters = (0..ALIAS_CHARS).map(|place| char::from(LETTERS[usize::try_from(bits >> (5 * place) & 31).unwrap_or(0)]));
    std::iter::once('#').chain(letters).collect::<String>().into()
}

/// How a lot ended, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeBody {
    /// To the leader, at the price.
    Sold {
        /// Who won.
        winner: Name,
        /// What the winner pays.
        price: Amount,
    },
    /// Nobody gets it.
    Unsold {
        /// Why.
        reason: Unsold,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use gavel_domain::lot::access::Registration;

    fn bidder(name: &str) -> BidderId {
        name.try_into().expect("a bidder")
    }

    #[test]
    fn an_alias_is_the_same_on_a_lot_and_another_elsewhere() {
        let (here, there) = (AliasKey([1; 16]), AliasKey([2; 16]));
        assert_eq!(alias(here, &bidder("alice")), alias(here, &bidder("alice")));
        assert_ne!(alias(here, &bidder("alice")), alias(here, &bidder("bob")));
        assert_ne!(alias(here, &bidder("alice")), alias(there, &bidder("alice")));
        let text = alias(here, &bidder("alice"));
        assert!(text.len() == 9 && BidderId::try_from(&*text).is_err(), "{text} is nobody's name");
    }

    #[test]
    fn the_house_sees_names_and_so_does_everybody_where_there_are_no_aliases() {
        let hidden = AccessRules { registration: Registration::None, aliases: Some(AliasKey([1; 16])) };
        assert_eq!(Names::shown(hidden, Audience::House).of(&bidder("alice")).as_str(), "alice");
        assert!(Names::shown(hidden, Audience::Public).of(&bidder("alice")).as_str().starts_with('#'));
        assert_eq!(Names::shown(AccessRules::default(), Audience::Public).of(&bidder("alice")).as_str(), "alice");
    }
}

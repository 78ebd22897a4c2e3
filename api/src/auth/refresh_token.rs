//! Refresh tokens: 384 random bits. The first 128 are the family's, the same in all tokens of a session; the other 256 are the
//! token's own. So a token that was replaced is told from one that never was, and nothing of old ones has to be kept.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gavel_persistence::accounts::TokenDigest;
use secrecy::SecretString;

const FAMILY_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;

/// One token. Its debug form shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    family: [u8; FAMILY_BYTES],
    secret: [u8; SECRET_BYTES],
}

/// The system has no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system has no random bytes: {0}")]
pub struct NoRandomness(#[from] getrandom::Error);

impl RefreshToken {
    /// The first of a new family.
    ///
    /// # Errors
    /// No random bytes.
    pub fn first() -> Result<Self, NoRandomness> {
        let mut family = [0; FAMILY_BYTES];
        getrandom::fill(&mut family)?;
        Self { family, secret: [0; SECRET_BYTES] }.next()
    }

    /// The next of this family.
    ///
    /// # Errors
    /// No random bytes.
    pub fn next(&self) -> Result<Self, NoRandomness> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)?;
        Ok(Self { family: self.family, secret })
    }

    /// From what a client sent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; FAMILY_BYTES + SECRET_BYTES];
        if URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) != Ok(bytes.len()) {
            return None;
        }
        let (family, secret) = bytes.split_at(FAMILY_BYTES);
        Some(Self { family: family.try_into().ok()?, secret: secret.try_into().ok()? })
    }

    /// For its client: 64 characters.
    #[must_use]
    pub fn text(&self) -> SecretString {
        URL_SAFE_NO_PAD.encode([&self.family[..], &self.secret[..]].concat()).into()
    }

    /// What is kept of the family's part.
    #[must_use]
    pub fn family(&self) -> TokenDigest {
        TokenDigest(*blake3::hash(&self.family).as_bytes())
    }

    /// What is kept of the token's own part.
    #[must_use]
    pub fn secret(&self) -> TokenDigest {
        TokenDigest(*blake3::hash(&self.secret).as_bytes())
    }
}

impl std::fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RefreshToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn a_family_stays_and_the_rest_does_not() {
        let first = RefreshToken::first().unwrap();
        let next = first.next().unwrap();
        assert_eq!(first.family(), next.family());
        assert!(first.secret() != next.secret() && first.family() != RefreshToken::first().unwrap().family());
        let text = first.text();
        assert_eq!(text.expose_secret().len(), 64);
        assert_eq!(RefreshToken::parse(text.expose_secret()), Some(first.clone()));
        assert_eq!(format!("{first:?}"), "RefreshToken(…)");
    }

    #[test]
    fn what_is_no_token_is_none() {
        let good = RefreshToken::first().unwrap().text();
        let good = good.expose_secret();
        for bad in ["", "x", &good[..63], &good[..60], &format!("{good}AAAA"), &format!("{good}="), &"é".repeat(32), &"*".repeat(64)] {
            assert!(RefreshToken::parse(bad).is_none(), "{bad}");
        }
    }
}

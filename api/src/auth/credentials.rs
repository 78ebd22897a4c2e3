//! Where a request carries its token. Works on header texts, knows no HTTP library and doesn't look into the token.

/// What a WebSocket subprotocol that carries a token begins with. Such an entry is never echoed and never logged.
pub const SUBPROTOCOL_PREFIX: &str = "gavel.bearer.";

/// What a request offers to say who is calling.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offer<'a> {
    /// Nothing: an anonymous caller, or one that authenticates later.
    Nothing,
    /// A token, not yet verified.
    Token(&'a str),
    /// Something that is no bearer token.
    Malformed,
}

/// Reads the value of an `Authorization` header (RFC 6750); the scheme's case does not matter.
#[must_use]
pub fn from_authorization(value: Option<&str>) -> Offer<'_> {
    let Some(value) = value else { return Offer::Nothing };
    match value.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token_or_malformed(token.trim()),
        _ => Offer::Malformed,
    }
}

/// Looks for `gavel.bearer.<token>` in the values of `Sec-WebSocket-Protocol`, each a list separated by commas.
#[must_use]
pub fn from_subprotocols<'a>(values: impl IntoIterator<Item = &'a str>) -> Offer<'a> {
    values
        .into_iter()
        .flat_map(|value| value.split(','))
        .find_map(|entry| entry.trim().strip_prefix(SUBPROTOCOL_PREFIX))
        .map_or(Offer::Nothing, token_or_malformed)
}

fn token_or_malformed(token: &str) -> Offer<'_> {
    let fits = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if fits && !token.is_empty() { Offer::Token(token) } else { Offer::Malformed }
}

/// Never shows the token.
impl std::fmt::Debug for Offer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Token(_) => "Token(…)",
            Self::Malformed => "Malformed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_field_does() {
        for (value, expected) in [
            (None, Offer::Nothing),
            (Some("Bearer a.b-c._d"), Offer::Token("a.b-c._d")),
            (Some("bEARER   a.b.c "), Offer::Token("a.b.c")),
            (Some("Bearer"), Offer::Malformed),
            (Some("Bearer "), Offer::Malformed),
            (Some("Bearer a b"), Offer::Malformed),
            (Some("Basic YTpi"), Offer::Malformed),
            (Some(""), Offer::Malformed),
        ] {
            assert_eq!(from_authorization(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_token_stands_beside_the_real_subprotocol() {
        let table: [(&[&str], Offer<'_>); 5] = [
            (&[], Offer::Nothing),
            (&["gavel.json.v1"], Offer::Nothing),
            (&["gavel.json.v1, gavel.bearer.a.b.c"], Offer::Token("a.b.c")),
            (&["gavel.bearer.a.b.c", "gavel.bincode.v1"], Offer::Token("a.b.c")),
            (&["gavel.bearer."], Offer::Malformed),
        ];
        for (values, expected) in table {
            assert_eq!(from_subprotocols(values.iter().copied()), expected, "{values:?}");
        }
        assert_eq!(format!("{:?}", Offer::Token("secret")), "Token(…)");
    }
}

//! Where the server is: the `--url` of the command line, taken apart.

use thiserror::Error;
use ureq::http::Uri;

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// `host:port`, as it goes into `Host`.
    pub(crate) authority: String,
    /// A path before `/v1`, without a slash at its end.
    pub(crate) prefix: String,
}

/// An address this client cannot use.
#[derive(Debug, Error)]
#[error("--url {0}: want http://HOST[:PORT], without TLS, query or token")]
pub(crate) struct BadUrl(String);

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self, BadUrl> {
        let bad = || BadUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        let plain = matches!(uri.scheme_str(), Some("http" | "ws"));
        if !plain || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(bad());
        }
        let port = authority.port_u16().unwrap_or(80);
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { authority: format!("{}:{port}", authority.host()), prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parse = |url: &str| Target::parse(url).ok().map(|target| (target.authority, target.prefix));
        let some = |authority: &str, prefix: &str| Some((authority.to_owned(), prefix.to_owned()));
        assert_eq!(parse("http://127.0.0.1:8080"), some("127.0.0.1:8080", ""));
        assert_eq!(parse("http://localhost/"), some("localhost:80", ""));
        assert_eq!(parse("ws://[::1]:9/a/"), some("[::1]:9", "/a"));
        for url in ["", "127.0.0.1:80", "https://x", "http://a@b", "http://x/?token=1", "ftp://x"] {
            assert_eq!(parse(url), None, "{url}");
        }
    }
}

//! A running server, as its administrator reaches it: where, with which token, and what its refusals mean here.

use crate::{
    auth::{Role, Subject, TokenKeys},
    cli::{CliError, settings},
    config::{Overrides, Settings},
};
use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::{
    io::{IsTerminal as _, Read},
    path::PathBuf,
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};
use ureq::{Agent, Body, http::Response};

/// Lines of a refusal that are shown.
const SHOWN: usize = 100;

/// Which server, and as whom.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ServerArgs {
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// The server's data directory, whose key makes an administrator's token
    #[arg(long, value_name = "D", required_unless_present_any = ["token", "config"])]
    pub data_dir: Option<PathBuf>,
    /// The server's configuration file, which names the key
    #[arg(long, value_name = "F")]
    pub config: Option<PathBuf>,
    /// An administrator's token, where no key is at hand
    #[arg(long, value_name = "T", env = "GAVEL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Who does it, as ledgers say
    #[arg(long = "as", value_name = "NAME", default_value = "admin")]
    pub sub: Subject,
}

impl ServerArgs {
    fn token(&self) -> Result<String, CliError> {
        if let (None, None, Some(token)) = (&self.data_dir, &self.config, &self.token) {
            return Ok(token.clone());
        }
        let overrides = Overrides { data_dir: self.data_dir.clone(), ..Overrides::default() };
        let settings = settings(self.config.as_deref(), &overrides)?;
        check_key(&settings)?;
        let ttl = "1h".parse().map_err(|_| CliError::Failed("no token can be made".to_owned()))?;
        Ok(TokenKeys::load(&settings)?.issue(&self.sub, Role::Admin, ttl)?)
    }
}

/// A key that is made now is not the server's.
fn check_key(settings: &Settings) -> Result<(), CliError> {
    let file = settings.key_file();
    if settings.auth.secret.is_some() || settings.auth.key_file.is_some() || file.exists() {
        return Ok(());
    }
    Err(CliError::Mistake(format!("there is no key at {}: is this the data directory of the server?", file.display())))
}

/// A part of a path or query, escaped.
pub(super) fn part(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A key made of what is asked and today's date: the same again today does nothing.
pub(super) fn digest_key(name: &str, parts: &[&[u8]]) -> String {
    let mut digest = blake3::Hasher::new();
    for part in parts {
        digest.update(&(part.len() as u64).to_be_bytes()).update(part);
    }
    let digest = digest.finalize().to_hex();
    format!("{name}-{}-{}", jiff::Timestamp::now().strftime("%Y-%m-%d"), &digest[..16])
}

/// Calls of one server.
pub(super) struct Client {
    agent: Agent,
    url: String,
    token: String,
}

impl Client {
    pub(super) fn new(server: &ServerArgs) -> Result<Self, CliError> {
        if !server.url.starts_with("http://") {
            return Err(CliError::Mistake(format!("{}: a URL here begins with http:// (there is no TLS)", server.url)));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(10)))
            .user_agent(concat!("gavel/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, url: server.url.trim_end_matches('/').to_owned(), token: server.token()? })
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, CliError> {
        self.json(self.agent.get(self.at(path)).header("Authorization", self.bearer()).call())
    }

    /// An answer's body as it comes.
    pub(super) fn stream(&self, path: &str) -> Result<impl Read + use<>, CliError> {
        let response = self.agent.get(self.at(path)).header("Authorization", self.bearer()).call();
        Ok(self.accepted(response)?.into_body().into_reader())
    }

    pub(super) fn post(&self, path: &str, key: &str, body: &Value) -> Result<Value, CliError> {
        let request = self.agent.post(self.at(path)).header("Authorization", self.bearer()).header("Idempotency-Key", key);
        self.json(request.send_json(body))
    }

    pub(super) fn post_csv(&self, path: &str, key: Option<&str>, csv: &[u8]) -> Result<Value, CliError> {
        let mut request = self.agent.post(self.at(path)).header("Authorization", self.bearer());
        request = request.header("Content-Type", "text/csv; charset=utf-8");
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        self.json(request.send(csv))
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn json(&self, response: Result<Response<Body>, ureq::Error>) -> Result<Value, CliError> {
        let mut response = self.accepted(response)?;
        response.body_mut().read_json().map_err(|error| CliError::Failed(format!("{}: no answer to be read: {error}", self.url)))
    }

    fn accepted(&self, response: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, CliError> {
        let mut response = response.map_err(|error| match error {
            error @ (ureq::Error::BadUri(_) | ureq::Error::Http(_)) => CliError::Mistake(format!("{}: {error}", self.url)),
            error => CliError::Failed(format!("{}: {error}", self.url)),
        })?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(response);
        }
        let problem: Value = response.body_mut().read_json().unwrap_or_default();
        Err(refusal(status, &problem))
    }
}

/// What a refusal means here; its lines go to standard error at once.
fn refusal(status: u16, problem: &Value) -> CliError {
    let lines = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    for error in lines.iter().take(SHOWN) {
        eprintln!("line {}: {}", error["line"], error["detail"].as_str().unwrap_or_default());
    }
    let count = problem["error_count"].as_u64().unwrap_or(0);
    let more = count.saturating_sub(lines.len() as u64);
    if more > 0 {
        eprintln!("and {more} more");
    }
    let detail = problem["detail"].as_str().map_or_else(|| format!("the server answered {status}"), str::to_owned);
    match status {
        // The state, or the server's load, may be another one later.
        409 | 429 => CliError::Failed(detail),
        400..=499 => CliError::Mistake(detail),
        _ => CliError::Failed(detail),
    }
}

/// Says on standard error that something takes its time.
pub(super) struct Progress;

impl Progress {
    /// Does it. A terminal gets one line that counts seconds, anything else a line now and then.
    pub(super) fn around<T>(what: &str, work: impl FnOnce() -> T) -> T {
        let (done, is_done) = channel::<()>();
        let terminal = std::io::stderr().is_terminal();
        let step = Duration::from_secs(if terminal { 1 } else { 10 });
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let start = Instant::now();
                while is_done.recv_timeout(step) == Err(RecvTimeoutError::Timeout) {
                    let (begin, end) = if terminal { ("\r", "") } else { ("", "\n") };
                    eprint!("{begin}gavel: {what}: {} s{end}", start.elapsed().as_secs());
                }
                if terminal && start.elapsed() >= step {
                    eprintln!();
                }
            });
            let result = work();
            drop(done);
            result
        })
    }
}

//! Redis.

use crate::{
    certificate::make_certificate,
    process::{Kind, Server},
};
use std::{
    ffi::OsString,
    io::{Read as _, Write as _},
    net::TcpStream,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
};

/// A Redis of one's own. Stops, kills and the like are [`Server`]'s.
pub struct Redis {
    server: Server,
    tls: bool,
    credentials: String,
}

impl Redis {
    /// One that keeps what it acknowledged: `appendonly yes`, `appendfsync always`, `noeviction`.
    #[must_use]
    pub fn durable() -> Self {
        Self::with(&["appendonly yes", "appendfsync always", "maxmemory-policy noeviction"])
    }

    /// With lines of `redis.conf`. Without any it keeps nothing on disk.
    #[must_use]
    pub fn with(lines: &[&str]) -> Self {
        let password = lines.iter().find_map(|line| line.strip_prefix("requirepass ")).map(|password| format!(":{password}@"));
        let kind = Config { lines: lines.iter().map(ToString::to_string).collect(), tls: false };
        Self { server: Server::start(kind, |_| {}), tls: false, credentials: password.unwrap_or_default() }
    }

    /// One that speaks TLS only, with a certificate made for it (`cert.pem` in its directory).
    #[must_use]
    pub fn tls_only() -> Self {
        let server = Server::start(Config { lines: Vec::new(), tls: true }, make_certificate);
        Self { server, tls: true, credentials: String::new() }
    }

    /// As clients want it, with the password if there is one.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}://{}{}", self.credentials, self.server.addr())
    }
}

impl Deref for Redis {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Redis {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

struct Config {
    lines: Vec<String>,
    tls: bool,
}

impl Kind for Config {
    const PACKAGE: &'static str = "redis-server";

    fn binary(&self) -> PathBuf {
        "redis-server".into()
    }

    fn prepare(&self, dir: &Path, port: u16) -> Vec<OsString> {
        let listen = if self.tls {
            format!(
                "port 0\ntls-port {port}\ntls-cert-file cert.pem\ntls-key-file key.pem\ntls-ca-cert-file cert.pem\ntls-auth-clients no\n"
            )
        } else {
            format!("port {port}\n")
        };
        let file = format!("bind 127.0.0.1\n{listen}dir {}\nsave \"\"\n{}\n", dir.display(), self.lines.join("\n"));
        std::fs::write(dir.join("redis.conf"), file).expect("its configuration");
        vec!["redis.conf".into()]
    }

    fn serves(&self, mut stream: TcpStream) -> std::io::Result<bool> {
        if self.tls {
            // It listens only once it serves: nothing is loaded from disk.
            return Ok(true);
        }
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        // Whoever must log in first may do so: it serves. While it loads it says `-LOADING`.
        Ok(answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH"))
    }
}

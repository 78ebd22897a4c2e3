//! Redis.

use crate::{
    certificate::make_certificate,
    process::{Kind, Server, free_port},
};
use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
};

/// Lines of `redis.conf`.
const CERTIFICATE: &str = "tls-cert-file cert.pem\ntls-key-file key.pem\ntls-ca-cert-file cert.pem\ntls-auth-clients no\n";

/// Where data is, in a folder of its own, if that is on a disk of its own.
const DATA: &str = "data";
const DURABLE: [&str; 3] = ["appendonly yes", "appendfsync always", "maxmemory-policy noeviction"];

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
        Self::with(&DURABLE)
    }

    /// As [`Redis::durable`], with its data on a small disk ([`Server::disk`]). `None` where none may be mounted.
    #[must_use]
    pub fn durable_on_small_disk(mebibytes: u32) -> Option<Self> {
        Self::on_small_disk(&DURABLE, mebibytes)
    }

    /// With lines of `redis.conf`, and data on a small disk.
    #[must_use]
    pub fn on_small_disk(lines: &[&str], mebibytes: u32) -> Option<Self> {
        let kind = Config { lines: lines.iter().map(ToString::to_string).collect(), mode: Mode::Plain };
        let server = Server::on_small_disk(kind, DATA, mebibytes, |_| {})?;
        Some(Self { server, tls: false, credentials: String::new() })
    }

    /// With lines of `redis.conf`. Without any it keeps nothing on disk.
    #[must_use]
    pub fn with(lines: &[&str]) -> Self {
        let password = lines.iter().find_map(|line| line.strip_prefix("requirepass ")).map(|password| format!(":{password}@"));
        let kind = Config { lines: lines.iter().map(ToString::to_string).collect(), mode: Mode::Plain };
        Self { server: Server::start(kind, |_| {}), tls: false, credentials: password.unwrap_or_default() }
    }

    /// One that speaks TLS only, with a certificate made for it (`cert.pem` in its directory).
    #[must_use]
    pub fn tls_only() -> Self {
        let server = Server::start(Config { lines: Vec::new(), mode: Mode::Tls }, make_certificate);
        Self { server, tls: true, credentials: String::new() }
    }

    /// A Sentinel that watches a master under a name, alone, and promotes a replica soon after the master is gone.
    #[must_use]
    pub fn sentinel(master: &Self, name: &str) -> Self {
        let lines = vec![
            format!("sentinel monitor {name} 127.0.0.1 {} 1", master.addr().port()),
            format!("sentinel down-after-milliseconds {name} 300"),
            format!("sentinel failover-timeout {name} 3000"),
        ];
        let server = Server::start(Config { lines, mode: Mode::Sentinel }, |_| {});
        Self { server, tls: false, credentials: String::new() }
    }

    /// A node for a cluster, with lines of `redis.conf`.
    pub(crate) fn node(lines: &[String], fill: impl FnOnce(&Path)) -> Self {
        let server = Server::start(Config { lines: lines.to_vec(), mode: Mode::ClusterNode }, fill);
        Self { server, tls: false, credentials: String::new() }
    }

    /// Gives a command, its words between blanks, as whoever sits before the server might. The first line of the answer.
    ///
    /// # Panics
    /// It does not answer, or wants TLS or a password first.
    pub fn command(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(self.server.addr()).expect("it listens");
        stream.write_all(format!("{command}\r\n").as_bytes()).expect("it reads");
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).expect("it answers");
        answer.trim_end().to_owned()
    }

    /// As [`Redis::command`], all of an answer of any kind: its parts one after the other.
    ///
    /// # Panics
    /// It does not answer, or wants TLS or a password first.
    pub fn answer(&self, command: &str) -> Vec<String> {
        let mut stream = TcpStream::connect(self.server.addr()).expect("it listens");
        stream.write_all(format!("{command}\r\n").as_bytes()).expect("it reads");
        let mut parts = Vec::new();
        read_answer(&mut BufReader::new(stream), &mut parts);
        parts
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

/// One answer as Redis writes it (its protocol, version 2); an error begins with `-`.
fn read_answer(from: &mut impl BufRead, parts: &mut Vec<String>) {
    let mut line = String::new();
    from.read_line(&mut line).expect("it answers");
    let line = line.trim_end();
    let number = || line[1..].parse::<i64>().expect("a number");
    match line.as_bytes().first() {
        Some(b'*') => (0..number()).for_each(|_| read_answer(from, parts)),
        Some(b'$') => {
            let Ok(length) = usize::try_from(number()) else { return parts.push(String::new()) };
            let mut bytes = vec![0; length + 2];
            from.read_exact(&mut bytes).expect("it answers");
            parts.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
        Some(b'-') => parts.push(line.to_owned()),
        _ => parts.push(line.get(1..).unwrap_or_default().to_owned()),
    }
}

struct Config {
    lines: Vec<String>,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    Tls,
    Sentinel,
    ClusterNode,
}

impl Kind for Config {
    const PACKAGE: &'static str = "redis-server";

    fn binary(&self) -> PathBuf {
        "redis-server".into()
    }

    fn prepare(&self, dir: &Path, port: u16) -> Vec<OsString> {
        let listen = match self.mode {
            Mode::Tls => format!("port 0\ntls-port {port}\n{CERTIFICATE}"),
            Mode::ClusterNode => {
                // Beside the plain port, where there is a certificate.
                let tls = dir.join("cert.pem").exists();
                let tls =
                    if tls { format!("tls-port {}\ntls-cluster yes\n{CERTIFICATE}", kept_port(dir, "tls-port")) } else { String::new() };
                format!("port {port}\ncluster-enabled yes\ncluster-port {}\n{tls}", kept_port(dir, "cluster-port"))
            }
            Mode::Plain | Mode::Sentinel => format!("port {port}\n"),
        };
        let data = Some(dir.join(DATA)).filter(|data| data.exists()).unwrap_or_else(|| dir.to_owned());
        let file = format!("bind 127.0.0.1\n{listen}dir {}\n{}\n", data.display(), self.lines.join("\n"));
        if self.mode == Mode::Sentinel {
            std::fs::write(dir.join("redis.conf"), file).expect("its configuration");
            return vec!["redis.conf".into(), "--sentinel".into()];
        }
        std::fs::write(dir.join("redis.conf"), format!("{file}save \"\"\n")).expect("its configuration");
        vec!["redis.conf".into()]
    }

    fn serves(&self, mut stream: TcpStream) -> std::io::Result<bool> {
        if self.mode == Mode::Tls {
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

/// A further port of a cluster's node: who has met others keeps it.
fn kept_port(dir: &Path, name: &str) -> u16 {
    let has_met = std::fs::read_to_string(dir.join("nodes.conf")).is_ok_and(|nodes| nodes.lines().count() > 2);
    let before = std::fs::read_to_string(dir.join("redis.conf")).unwrap_or_default();
    let port = before.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    port.filter(|_| has_met).unwrap_or_else(free_port)
}

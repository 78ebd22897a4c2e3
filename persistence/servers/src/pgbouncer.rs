//! PgBouncer.

use crate::{
    postgres::Postgres,
    process::{Kind, Server, lets_in},
};
use std::{
    ffi::OsString,
    net::{SocketAddr, TcpStream},
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
};

/// A PgBouncer of one's own before a PostgreSQL. Stops, kills and the like are [`Server`]'s.
pub struct PgBouncer {
    server: Server,
}

impl PgBouncer {
    /// In transaction mode, with `ignore_startup_parameters = extra_float_digits`.
    #[must_use]
    pub fn before(postgres: &Postgres) -> Self {
        Self::before_addr(postgres.addr(), &[])
    }

    /// Before whatever speaks PostgreSQL there (a proxy, say), with lines for its `[pgbouncer]`.
    #[must_use]
    pub fn before_addr(addr: SocketAddr, lines: &[&str]) -> Self {
        let kind = Config { behind: addr, lines: lines.iter().map(|line| format!("{line}\n")).collect() };
        Self { server: Server::start(kind, |_| {}) }
    }

    /// As clients want it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://gavel@{}/gavel", self.server.addr())
    }
}

impl Deref for PgBouncer {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for PgBouncer {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

struct Config {
    behind: SocketAddr,
    lines: String,
}

impl Kind for Config {
    const PACKAGE: &'static str = "pgbouncer";

    fn binary(&self) -> PathBuf {
        "pgbouncer".into()
    }

    fn prepare(&self, dir: &Path, port: u16) -> Vec<OsString> {
        let file = format!(
            "[databases]\ngavel = host={} port={} dbname=gavel user=gavel\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\nadmin_users = gavel\npool_mode = transaction\n\
             ignore_startup_parameters = extra_float_digits\n{}",
            self.behind.ip(),
            self.behind.port(),
            self.lines
        );
        std::fs::write(dir.join("pgbouncer.ini"), file).expect("its configuration");
        vec!["pgbouncer.ini".into()]
    }

    fn serves(&self, stream: TcpStream) -> std::io::Result<bool> {
        // Its own console, so that PostgreSQL may be away.
        lets_in(stream, "gavel", "pgbouncer")
    }

    fn shuns_root(&self) -> bool {
        true
    }
}

//! PostgreSQL.

use crate::{
    certificate::make_certificate,
    process::{Kind, Server, give_to_postgres, lets_in, run_unprivileged, temporary_dir},
};
use rustix::process::{Signal, getuid};
use std::{
    ffi::OsString,
    io::Write as _,
    net::TcpStream,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};
use tempfile::TempDir;

/// A PostgreSQL of one's own, with one superuser `gavel` (no password) and a database of that name.
/// Stops, kills and the like are [`Server`]'s.
pub struct Postgres {
    server: Server,
}

impl Postgres {
    /// As Debian ships it, but with `fsync=off`: a killed process loses nothing by that, only a
    /// failing machine would.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With lines of `postgresql.conf`; they win over the kit's own.
    #[must_use]
    pub fn with(lines: &[&str]) -> Self {
        let kind = Config { lines: lines.iter().map(|line| format!("{line}\n")).collect() };
        Self { server: Server::start(kind, copy_template) }
    }

    /// As [`Postgres::start`], with its data on a small disk ([`Server::disk`]). `None` where none may be mounted.
    #[must_use]
    pub fn on_small_disk(mebibytes: u32) -> Option<Self> {
        let server = Server::on_small_disk(Config { lines: String::new() }, "data", mebibytes, copy_template)?;
        Some(Self { server })
    }

    /// One that speaks TLS to those who ask for it, with a certificate made for it (`cert.pem` in its
    /// directory).
    #[must_use]
    pub fn with_tls() -> Self {
        let lines = "ssl = on\nssl_cert_file = '../cert.pem'\nssl_key_file = '../key.pem'\n".to_owned();
        let fill = |dir: &Path| {
            copy_template(dir);
            make_certificate(dir);
        };
        Self { server: Server::start(Config { lines }, fill) }
    }

    /// As clients want it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://gavel@{}/gavel", self.server.addr())
    }
}

impl Postgres {
    /// Another database, of that name; as clients want it.
    ///
    /// # Panics
    /// It can't be made.
    #[must_use]
    pub fn database(&self, name: &str) -> String {
        let make = format!("CREATE DATABASE \"{name}\"");
        let _ = self.sql("gavel", &make);
        format!("postgres://gavel@{}/{name}", self.server.addr())
    }

    /// What a statement gives in a database: a line a row, columns separated by `|`.
    ///
    /// # Panics
    /// It fails.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        self.try_sql(database, statement).unwrap_or_else(|said| panic!("{statement}: {said}"))
    }

    /// As [`Postgres::sql`].
    ///
    /// # Errors
    /// It fails; what `psql` said.
    ///
    /// # Panics
    /// `psql` is missing.
    pub fn try_sql(&self, database: &str, statement: &str) -> Result<String, String> {
        let address = self.server.addr();
        let output = Command::new(installed("psql"))
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--username=gavel", "--host"])
            .arg(address.ip().to_string())
            .arg(format!("--port={}", address.port()))
            .args(["--dbname", database, "--command", statement])
            .output()
            .expect("psql runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

impl Deref for Postgres {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Postgres {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

struct Config {
    lines: String,
}

impl Kind for Config {
    const PACKAGE: &'static str = "postgresql";

    fn binary(&self) -> PathBuf {
        installed("postgres")
    }

    fn prepare(&self, dir: &Path, port: u16) -> Vec<OsString> {
        let own = "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\nshared_buffers = 16MB\n";
        std::fs::write(dir.join("data/postgresql.auto.conf"), format!("{own}port = {port}\n{}", self.lines)).expect("its configuration");
        vec!["-D".into(), dir.join("data").into()]
    }

    fn serves(&self, stream: TcpStream) -> std::io::Result<bool> {
        lets_in(stream, "gavel", "gavel")
    }

    fn shuns_root(&self) -> bool {
        true
    }

    fn stop_signal(&self) -> Signal {
        // "Fast": it does not wait for clients to leave.
        Signal::INT
    }
}

/// The newest version's binary: Debian keeps each version's in a folder of its own.
fn installed(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|version| version.file_name().to_str()?.parse::<u32>().ok()).max();
    newest.map_or_else(|| name.into(), |version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin/{name}")))
}

/// `initdb` takes a second or two: it is run once a process, and copied.
fn copy_template(dir: &Path) {
    static TEMPLATE: OnceLock<TempDir> = OnceLock::new();
    let template = TEMPLATE.get_or_init(make_template);
    let copied = Command::new("cp").arg("-a").arg(template.path().join("data")).arg(dir).status().expect("cp runs");
    assert!(copied.success(), "the template is copied");
}

fn make_template() -> TempDir {
    let dir = temporary_dir();
    if getuid().is_root() {
        give_to_postgres(dir.path());
    }
    let data = dir.path().join("data");
    let words = "--username=gavel --auth=trust --encoding=UTF8 --locale=C --no-sync --no-instructions --pgdata";
    let mut arguments: Vec<OsString> = words.split_whitespace().map(Into::into).collect();
    arguments.push(data.clone().into());
    run_unprivileged(&installed("initdb"), Config::PACKAGE, &arguments);
    let single = ["--single", "-F", "-D"].map(Into::into).into_iter().chain([data.into(), "postgres".into()]).collect::<Vec<OsString>>();
    create_database(&single);
    dir
}

/// In single-user mode, which needs no port.
fn create_database(arguments: &[OsString]) {
    let mut command = Command::new("setpriv");
    if getuid().is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.arg("--").arg(installed("postgres")).args(arguments).current_dir("/");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("setpriv runs");
    child.stdin.take().expect("piped").write_all(b"CREATE DATABASE gavel;\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !log.contains("ERROR"), "creating the database: {log}");
}

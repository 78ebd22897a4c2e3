//! A server process of a test's own: free port, temporary data directory, output captured; killed when dropped.

use super::{PATIENCE, Rest, Socket, lines::Lines, profile};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;

/// How long a start may take: recovery included, beside other tests on a busy machine.
const START: Duration = Duration::from_secs(30);

/// A call of the binary with an environment of its own: none of the caller's `GAVEL__…` reaches it.
pub(crate) fn gavel(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gavel"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GAVEL__")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").args(arguments).stdin(Stdio::null());
    command
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// The same call, made by another program.
fn through(program: &[&str], call: &Command) -> Command {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(call.get_program()).args(call.get_args()).stdin(Stdio::null());
    for (name, value) in call.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Where a server's journal is.
#[derive(Clone)]
enum Journal {
    /// Where those of the whole run are.
    OfTheRun,
    InFiles,
    /// In the Redis of this URL.
    InRedis(String),
}

/// What a server is started with.
#[derive(Clone)]
pub(crate) struct Setup {
    env: Vec<(String, String)>,
    flags: Vec<String>,
    dir: PathBuf,
    bound_by_permissions: bool,
    journal: Journal,
    /// The PostgreSQL of its tables.
    tables: Option<String>,
    _temporary: Option<Arc<TempDir>>,
}

impl Setup {
    /// A new data directory; few shards, so that a start is quick.
    pub(crate) fn new() -> Self {
        let temporary = Arc::new(tempfile::tempdir().unwrap());
        Self { dir: temporary.path().join("data"), _temporary: Some(temporary), ..Self::on("") }
    }

    /// On an existing data directory.
    pub(crate) fn on(dir: impl AsRef<Path>) -> Self {
        let dir = dir.as_ref().to_owned();
        let setup = Self {
            env: Vec::new(),
            flags: Vec::new(),
            dir,
            bound_by_permissions: false,
            journal: Journal::OfTheRun,
            tables: None,
            _temporary: None,
        };
        setup.env("GAVEL__ENGINE__SHARDS", 4).env("GAVEL__SERVER__WORKERS", 2).env("GAVEL__SERVER__DRAIN_MS", 0)
    }

    /// Sets a variable of the server's environment.
    pub(crate) fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a flag.
    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Permissions bind it, also as root.
    pub(crate) fn bound_by_permissions(self) -> Self {
        Self { bound_by_permissions: true, ..self }
    }

    /// Its journal is in the data directory, wherever those of the run are.
    pub(crate) fn in_files(self) -> Self {
        Self { journal: Journal::InFiles, ..self }
    }

    /// Its journal is in the Redis of this URL, whatever other tests do.
    pub(crate) fn in_redis(self, url: impl Into<String>) -> Self {
        Self { journal: Journal::InRedis(url.into()), ..self }
    }

    /// Its tables are in the PostgreSQL of this URL, which it may migrate.
    pub(crate) fn in_postgres(self, url: impl Into<String>) -> Self {
        Self { tables: Some(url.into()), ..self }
    }

    /// The data directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn set_journal(&self, command: &mut Command) {
        let url = match &self.journal {
            Journal::InFiles => return,
            Journal::InRedis(url) => url.clone(),
            Journal::OfTheRun => match profile::shared_redis() {
                Some(url) => {
                    command.env("GAVEL__REDIS__KEY_PREFIX", profile::prefix_of(&self.dir));
                    url
                }
                None => return,
            },
        };
        command.env("GAVEL__JOURNAL__STORE", "redis").env("GAVEL__REDIS__URL", url);
    }

    fn set_tables(&self, command: &mut Command) {
        let of_the_run = || matches!(self.journal, Journal::OfTheRun).then(|| profile::shared_database(&self.dir)).flatten();
        if let Some(url) = self.tables.clone().or_else(of_the_run) {
            command.env("GAVEL__TABLES__STORE", "postgres").env("GAVEL__POSTGRES__URL", url).env("GAVEL__POSTGRES__MIGRATE", "true");
        }
    }

    fn command(&self) -> Command {
        let dir = self.dir.to_str().unwrap();
        let mut command = gavel(&["serve", "--listen", "127.0.0.1:0", "--data-dir", dir]);
        if self.bound_by_permissions && is_root() {
            command = through(&["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--"], &command);
        }
        self.set_journal(&mut command);
        self.set_tables(&mut command);
        command.args(&self.flags).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it and waits until it says where it listens.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(finished) => panic!("the server did not start ({}):\n{}\n{}", finished.status, finished.stdout, finished.stderr),
        }
    }

    /// Starts it; the way it ended, where it did not come to listen.
    #[track_caller]
    pub(crate) fn try_start(self) -> Result<Server, Finished> {
        let mut child = self.command().spawn().unwrap();
        let out = Lines::of(child.stdout.take().unwrap());
        let err = Lines::of(child.stderr.take().unwrap());
        let Some(line) = out.wait_for("http://127.0.0.1:", START) else {
            let ended = err.wait_for_end(Duration::from_secs(1));
            if !ended {
                let _ = child.kill();
            }
            let status = child.wait().unwrap();
            assert!(ended, "the server neither listens nor ends:\n{}\n{}", out.text(), err.text());
            return Err(Finished::of(status, &out, &err));
        };
        let after = line.split("http://127.0.0.1:").nth(1).unwrap();
        let port: String = after.chars().take_while(char::is_ascii_digit).collect();
        let port = port.parse().unwrap();
        let server = Server { setup: self, child, port, out, err, tokens: Mutex::default() };
        server.wait_until_ready();
        Ok(server)
    }

    /// Runs a server that is expected to end by itself.
    #[track_caller]
    pub(crate) fn refused(self) -> Finished {
        match self.try_start() {
            Err(finished) => finished,
            Ok(server) => panic!("the server runs:\n{}\n{}", server.out.text(), server.err.text()),
        }
    }
}

/// A process that has ended.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    fn of(status: ExitStatus, out: &Lines, err: &Lines) -> Self {
        out.wait_for_end(PATIENCE);
        err.wait_for_end(PATIENCE);
        Self { status, stdout: out.text(), stderr: err.text() }
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run(arguments: &[&str]) -> Self {
        Self::run_with(gavel(arguments))
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run_with(mut command: Command) -> Self {
        let output = command.output().unwrap();
        Self { status: output.status, stdout: String::from_utf8(output.stdout).unwrap(), stderr: String::from_utf8(output.stderr).unwrap() }
    }
}

/// A running server.
pub(crate) struct Server {
    setup: Setup,
    child: Child,
    port: u16,
    pub(crate) out: Lines,
    pub(crate) err: Lines,
    tokens: Mutex<HashMap<(String, String), String>>,
}

impl Server {
    /// A server with the defaults of [`Setup::new`].
    #[track_caller]
    pub(crate) fn start() -> Self {
        Setup::new().start()
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub(crate) fn dir(&self) -> &Path {
        self.setup.dir()
    }

    pub(crate) fn setup(&self) -> Setup {
        self.setup.clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&self) {
        let rest = self.nobody();
        super::until("/health/ready", || (rest.try_get("/health/ready").ok()?.status == 200).then_some(()));
    }

    /// A token made by `gavel token`, once for each name and role.
    #[track_caller]
    pub(crate) fn token(&self, sub: &str, role: &str) -> String {
        let key = (sub.to_owned(), role.to_owned());
        if let Some(known) = self.tokens.lock().unwrap().get(&key) {
            return known.clone();
        }
        let token = self.token_for(sub, role, "1h");
        self.tokens.lock().unwrap().insert(key, token.clone());
        token
    }

    /// A token that lasts for `ttl`.
    #[track_caller]
    pub(crate) fn token_for(&self, sub: &str, role: &str, ttl: &str) -> String {
        let dir = self.dir().to_str().unwrap();
        let made = Finished::run(&["token", "--sub", sub, "--role", role, "--ttl", ttl, "--data-dir", dir]);
        assert!(made.status.success(), "{}", made.stderr);
        made.stdout.trim().to_owned()
    }

    /// REST calls as `sub`.
    pub(crate) fn rest(&self, sub: &str, role: &str) -> Rest {
        Rest::new(self.url(), Some(self.token(sub, role)))
    }

    /// REST calls with any token.
    pub(crate) fn rest_with(&self, token: &str) -> Rest {
        Rest::new(self.url(), Some(token.to_owned()))
    }

    /// REST calls without a token.
    pub(crate) fn nobody(&self) -> Rest {
        Rest::new(self.url(), None)
    }

    /// REST calls as the auctioneer `house`.
    pub(crate) fn house(&self) -> Rest {
        self.rest("house", "auctioneer")
    }

    /// An authenticated socket of `sub`.
    pub(crate) async fn socket(&self, sub: &str, role: &str) -> Socket {
        Socket::open(&self.address(), &self.token(sub, role)).await
    }

    /// An authenticated bidder's socket.
    pub(crate) async fn bidder(&self, sub: &str) -> Socket {
        self.socket(sub, "bidder").await
    }

    /// A line of the log (standard error), waited for.
    #[track_caller]
    pub(crate) fn log_line(&self, needle: &str) -> String {
        match self.err.wait_for(needle, PATIENCE) {
            Some(line) => line,
            None => panic!("no line with {needle:?} in the log:\n{}", self.err.text()),
        }
    }

    /// Bytes of memory the process holds.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap();
        statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status().unwrap();
        assert!(status.success());
    }

    /// SIGSTOP, and waits until every thread stands still: the signal alone may be overtaken by what is sent next.
    #[track_caller]
    pub(crate) fn stop(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.pid());
        // `PID (NAME) STATE …`, proc_pid_stat(5); the name may hold anything.
        let state = |stat: &str| stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('T'));
        let stopped = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("stat")).ok().and_then(|stat| state(&stat));
        let all = || std::fs::read_dir(&tasks).unwrap().all(|task| stopped(task.unwrap()) == Some(true));
        super::until("every thread to stop", || all().then_some(()));
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> Finished {
        self.signal("TERM");
        self.ended()
    }

    /// Waits until the process ends by itself.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Finished {
        // The end of a process is the end of its output.
        let ended = self.out.wait_for_end(Duration::from_secs(20)) && self.err.wait_for_end(Duration::from_secs(1));
        assert!(ended, "the server does not end:\n{}", self.err.text());
        let status = self.child.wait().unwrap();
        Finished::of(status, &self.out, &self.err)
    }

    /// Starts again on the same directory, on another port; tokens stay valid.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
        let again = self.setup.clone().start();
        *again.tokens.lock().unwrap() = std::mem::take(&mut *self.tokens.lock().unwrap());
        *self = again;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the server's output\n{}\n{}", self.out.text(), self.err.text());
        }
    }
}

//! A server's process: started on a free port, awaited, signalled, ended. What the servers are is in
//! the files named like them.

use crate::disk::Disk;
use rustix::process::{Pid, Signal, getuid, kill_process};
use std::{
    ffi::OsString,
    fs::File,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError, mpsc},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Gives up on a server that is not ready, or not gone, after this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a server that is not there yet.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Ports that are tried: another process may take a free one before the server does.
const PORTS_TRIED: u32 = 10;

/// What tells one kind of server from another.
pub(crate) trait Kind: Send + Sync + 'static {
    /// The Debian package, for whoever lacks it.
    const PACKAGE: &'static str;
    /// The binary's path or name.
    fn binary(&self) -> PathBuf;
    /// Writes what the server reads into its directory and gives its arguments.
    fn prepare(&self, dir: &Path, port: u16) -> Vec<OsString>;
    /// Asks a server that accepted the connection whether it serves.
    fn serves(&self, stream: TcpStream) -> std::io::Result<bool>;
    /// Whether the server refuses to run as root: it then runs as user `postgres`.
    fn shuns_root(&self) -> bool {
        false
    }
    /// Asks it to end in good order.
    fn stop_signal(&self) -> Signal {
        Signal::TERM
    }
}

/// A server's process, its port and its data.
pub struct Server {
    kind: Box<dyn Start>,
    /// Before the directory that it is mounted in: it goes first.
    disk: Option<Disk>,
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

/// [`Kind`] without its constants, so that a [`Server`] can hold any.
trait Start: Send + Sync {
    fn start(&self, dir: &Path, port: u16) -> Result<Child, String>;
    fn stop_signal(&self) -> Signal;
}

impl Server {
    /// Starts one in a new directory, which `fill` may put data into first.
    pub(crate) fn start<K: Kind>(kind: K, fill: impl FnOnce(&Path)) -> Self {
        Self::start_in(temporary_dir(), None, kind, fill)
    }

    /// The same, with a folder of that directory on a small disk of its own ([`Server::disk`]). `None` where none may be
    /// mounted.
    pub(crate) fn on_small_disk<K: Kind>(kind: K, folder: &str, mebibytes: u32, fill: impl FnOnce(&Path)) -> Option<Self> {
        let dir = temporary_dir();
        let disk = Disk::mount(&dir.path().join(folder), mebibytes)?;
        Some(Self::start_in(dir, Some(disk), kind, fill))
    }

    fn start_in<K: Kind>(dir: TempDir, disk: Option<Disk>, kind: K, fill: impl FnOnce(&Path)) -> Self {
        fill(dir.path());
        if kind.shuns_root() && getuid().is_root() {
            give_to_postgres(dir.path());
        }
        for _ in 0..PORTS_TRIED {
            let port = free_port();
            match Start::start(&kind, dir.path(), port) {
                Ok(child) => return Self { kind: Box::new(kind), disk, dir, port, child: Some(child) },
                Err(log) if port_was_taken(&log) => {}
                Err(log) => panic!("{} did not start: {log}", K::PACKAGE),
            }
        }
        panic!("{}: {PORTS_TRIED} free ports were taken before it could", K::PACKAGE);
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its directory: configuration, data and `log`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The small disk its data is on.
    ///
    /// # Panics
    /// It was not given one.
    #[must_use]
    pub const fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("a small disk")
    }

    /// Its process id.
    ///
    /// # Panics
    /// It does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// What it said.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(self.dir.path())
    }

    /// Waits until it has ended by itself, and tells what it said. Its children, if it had any, have ended too.
    ///
    /// # Panics
    /// It goes on for a minute, or does not run.
    pub fn ended(&mut self) -> String {
        let until = Instant::now() + PATIENCE;
        while self.child.as_mut().expect("it runs").try_wait().expect("it is ours").is_none() {
            assert!(Instant::now() < until, "the server goes on: {}", self.log());
            std::thread::sleep(LOOK_AGAIN);
        }
        self.child = None;
        self.log()
    }

    /// Ends it in good order and waits until it is gone. Does nothing if it does not run.
    ///
    /// # Panics
    /// It does not end.
    pub fn stop(&mut self) {
        self.resume();
        self.signal(self.kind.stop_signal());
        if let Some(mut child) = self.child.take() {
            let until = Instant::now() + PATIENCE;
            while child.try_wait().expect("it is ours").is_none() {
                if Instant::now() > until {
                    drop(child.kill());
                    drop(child.wait());
                    panic!("the server did not end: {}", self.log());
                }
                std::thread::sleep(LOOK_AGAIN);
            }
        }
    }

    /// Ends it and its children at once, as a crash of the process would; what it wrote to files stays.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut child) = self.child.take() {
            drop(child.wait());
        }
    }

    /// Stops the process and its children in their tracks: connections stay open and silent.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Goes on after [`Server::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts it again on the same port and data (after [`Server::stop`], where it still runs).
    ///
    /// # Panics
    /// It does not start within a minute.
    pub fn restart(&mut self) {
        self.stop();
        let until = Instant::now() + PATIENCE;
        loop {
            match self.kind.start(self.dir.path(), self.port) {
                Ok(child) => {
                    self.child = Some(child);
                    return;
                }
                // Its port or its shared memory may still be in the hands of a killed process's children.
                Err(log)
                    if Instant::now() < until && (port_was_taken(&log) || log.contains("shared memory") || log.contains("lock file")) =>
                {
                    std::thread::sleep(LOOK_AGAIN);
                }
                Err(log) => panic!("the server did not start again: {log}"),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            for pid in family(child.id()) {
                // One that is gone has what was wanted of it, or has nothing left to do.
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    let _gone = kill_process(pid, signal);
                }
                if matches!(signal, Signal::TERM | Signal::INT) {
                    // The others are the first one's to end.
                    break;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
    }
}

impl<K: Kind> Start for K {
    fn start(&self, dir: &Path, port: u16) -> Result<Child, String> {
        let arguments = self.prepare(dir, port);
        let log = File::create(dir.join("log")).expect("its log");
        let mut command = Command::new("setpriv");
        // Ends with the thread that starts it, which lives as long as the test's process.
        command.args(["--pdeathsig", "KILL"]);
        if self.shuns_root() && getuid().is_root() {
            give_to_postgres(dir);
            command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
        }
        let binary = self.binary();
        command.arg("--").arg(&binary).args(arguments).current_dir(dir);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("its log")).stderr(log);
        let mut child = spawn(command);
        let until = Instant::now() + PATIENCE;
        loop {
            if child.try_wait().expect("it is ours").is_some() {
                let log = read_log(dir);
                assert!(
                    !log.contains("failed to execute"),
                    "{} is missing: install Debian's package {} (scripts/test does, run as root)",
                    binary.display(),
                    K::PACKAGE
                );
                return Err(log);
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|stream| self.serves(stream)).unwrap_or(false) {
                // Whoever answered is ours only if ours still runs.
                if child.try_wait().expect("it is ours").is_none() {
                    return Ok(child);
                }
            } else if Instant::now() > until {
                drop(child.kill());
                drop(child.wait());
                return Err(format!("not ready after {PATIENCE:?}: {}", read_log(dir)));
            } else {
                std::thread::sleep(LOOK_AGAIN);
            }
        }
    }

    fn stop_signal(&self) -> Signal {
        Kind::stop_signal(self)
    }
}

/// Starts a process from a thread that never ends: `--pdeathsig` means the parent's thread.
pub(crate) fn spawn(command: Command) -> Child {
    type Request = (Command, mpsc::Sender<std::io::Result<Child>>);
    static STARTER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (requests, queue) = mpsc::channel::<Request>();
        std::thread::Builder::new()
            .name("test-servers".into())
            .spawn(move || queue.iter().for_each(|(mut command, answer)| drop(answer.send(command.spawn()))))
            .expect("a thread");
        requests
    });
    let (answer, started) = mpsc::channel();
    starter.send((command, answer)).expect("the starter lives");
    match started.recv().expect("the starter answers") {
        Ok(child) => child,
        Err(e) if e.kind() == ErrorKind::NotFound => panic!("setpriv is missing: install Debian's package util-linux"),
        Err(e) => panic!("setpriv does not start: {e}"),
    }
}

/// One that goes with its handle, and with this process: what is static, or was killed, never drops its
/// handle. A shell in a group of its own reads the names and removes what is left once the pipe
/// from here closes; a disk mounted in one goes first.
pub(crate) fn temporary_dir() -> TempDir {
    static CLEANER: OnceLock<Mutex<Child>> = OnceLock::new();
    let cleaner = CLEANER.get_or_init(|| {
        let mut command = Command::new("sh");
        let remove = "left=$(cat); printf '%s\\n' \"$left\" | while IFS= read -r dir; do if [ -d \"$dir\" ]; then \
                      umount -l \"$dir\"/*/; rm -rf -- \"$dir\"; fi; done";
        command.args(["-c", remove]).process_group(0);
        Mutex::new(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh runs"))
    });
    let dir = tempfile::Builder::new().prefix("gavel-test-").tempdir().expect("a temporary directory");
    let mut cleaner = cleaner.lock().unwrap_or_else(PoisonError::into_inner);
    let names = cleaner.stdin.as_mut().expect("piped");
    writeln!(names, "{}", dir.path().display()).expect("the shell reads");
    dir
}

/// Runs a command to its end, as user `postgres` where this is root.
pub(crate) fn run_unprivileged(binary: &Path, package: &str, arguments: &[OsString]) {
    let mut command = Command::new("setpriv");
    if getuid().is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    let output = command.arg("--").arg(binary).args(arguments).current_dir("/").output().expect("setpriv (package util-linux) runs");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!log.contains("failed to execute"), "{} is missing: install Debian's package {package}", binary.display());
    assert!(output.status.success(), "{}: {log}", binary.display());
}

/// Makes a tree user `postgres`'s own.
pub(crate) fn give_to_postgres(dir: &Path) {
    let status = Command::new("chown").args(["-R", "postgres:postgres"]).arg(dir).status().expect("chown runs");
    assert!(status.success(), "user postgres is missing: install Debian's package postgresql");
}

/// The process and its children, and theirs.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut looked_at = 0;
    while let Some(&parent) = all.get(looked_at) {
        looked_at += 1;
        let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for thread in threads.flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    all
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn port_was_taken(log: &str) -> bool {
    ["Address already in use", "address already in use", "Failed listening on port"].iter().any(|words| log.contains(words))
}

fn read_log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap_or_default()
}

/// Asks PostgreSQL's question (or PgBouncer's): may I in? Yes, once it serves.
pub(crate) fn lets_in(mut stream: TcpStream, user: &str, database: &str) -> std::io::Result<bool> {
    let mut message = 0x0003_0000_u32.to_be_bytes().to_vec();
    for word in ["user", user, "database", database, ""] {
        message.extend(word.as_bytes());
        message.push(0);
    }
    let length = u32::try_from(message.len() + 4).expect("short").to_be_bytes();
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[&length, &*message].concat())?;
    let mut answer = [0; 1];
    stream.read_exact(&mut answer)?;
    Ok(answer == *b"R")
}

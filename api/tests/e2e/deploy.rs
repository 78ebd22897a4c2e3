//! `deploy/local/up`: the stack that operators start by one command is the one that is described.

use crate::kit::{Rest, gavel, lot, until_within};
use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A first start runs `initdb`.
const START: Duration = Duration::from_secs(90);

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// The stack, told to stop when dropped.
struct Stack(Child);

impl Stack {
    fn start(dir: &Path, ports: [u16; 4]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/local/up");
        let names = ["GAVEL_PORT", "REDIS_PORT", "POSTGRES_PORT", "PGBOUNCER_PORT"];
        let mut command = Command::new(script);
        command.arg(dir).env("GAVEL", env!("CARGO_BIN_EXE_gavel")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        for (name, port) in names.iter().zip(ports) {
            command.env(name, port.to_string());
        }
        Self(command.spawn().unwrap())
    }

    /// Its exit status.
    fn stop(&mut self) -> Option<i32> {
        let status = Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status().unwrap();
        assert!(status.success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            self.stop();
        }
    }
}

fn house(dir: &Path, port: u16) -> Rest {
    let data = dir.join("gavel");
    let token = gavel(&["token", "--sub", "house", "--role", "admin", "--data-dir", data.to_str().unwrap()]).output().unwrap();
    Rest::new(format!("http://127.0.0.1:{port}"), Some(String::from_utf8(token.stdout).unwrap().trim().to_owned()))
}

#[test]
fn the_local_stack_starts_stops_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let ports = free_ports();
    let ready = |stack: &mut Stack| {
        let nobody = Rest::new(format!("http://127.0.0.1:{}", ports[0]), None);
        until_within(START, "the stack", || {
            assert!(stack.0.try_wait().unwrap().is_none(), "it ended");
            nobody.try_get("/health/ready").ok().filter(|answer| answer.status == 200)
        });
    };
    let mut stack = Stack::start(dir.path(), ports);
    ready(&mut stack);
    let made = house(dir.path(), ports[0]).create(&lot());
    assert_eq!(stack.stop(), Some(143));
    for port in ports {
        assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "somebody still listens on {port}");
    }
    let mut stack = Stack::start(dir.path(), ports);
    ready(&mut stack);
    let id = made["id"].as_str().unwrap();
    assert_eq!(house(dir.path(), ports[0]).lot(id)["title"], made["title"]);
    assert_eq!(stack.stop(), Some(143));
}

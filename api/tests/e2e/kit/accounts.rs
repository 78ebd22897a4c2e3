//! Users with passwords, made as an operator makes them: on the command line, beside the server.

use super::{Answer, Finished, Server, gavel};
use serde_json::{Value, json};
use std::{io::Write as _, path::Path, process::Stdio};

/// Hashing as cheap as the configuration lets it be: these tests are about other things.
pub(crate) const CHEAP: [(&str, u32); 2] = [("GAVEL__AUTH__PASSWORD_MEMORY_KIB", 1024), ("GAVEL__AUTH__PASSWORD_ITERATIONS", 1)];

/// `gavel user …` with this on standard input.
#[track_caller]
pub(crate) fn user(dir: &Path, arguments: &[&str], input: &str) -> Finished {
    let mut command = gavel(&["user"]);
    command.args(arguments).args(["--data-dir", dir.to_str().unwrap()]);
    command.envs(CHEAP.map(|(name, value)| (name, value.to_string())));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Finished { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// As [`user`], where it must succeed.
#[track_caller]
pub(crate) fn user_done(dir: &Path, arguments: &[&str], input: &str) -> String {
    let finished = user(dir, arguments, input);
    assert!(finished.status.success(), "user {arguments:?}: {}", finished.stderr);
    finished.stdout
}

/// Adds a user whose password is `password of NAME`.
#[track_caller]
pub(crate) fn add_user(dir: &Path, name: &str, role: &str) {
    user_done(dir, &["add", name, "--role", role, "--password-stdin"], &password_of(name));
}

pub(crate) fn password_of(name: &str) -> String {
    format!("password of {name}")
}

/// What a login gave.
pub(crate) struct Login {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) session: String,
}

impl Login {
    #[track_caller]
    pub(crate) fn of(answer: &Answer) -> Self {
        let body = answer.expect(200);
        let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("{name} of {body}")).to_owned();
        assert_eq!((body["token_type"].as_str(), answer.header("cache-control")), (Some("Bearer"), Some("no-store")));
        Self { access: text("access_token"), refresh: text("refresh_token"), session: text("session") }
    }
}

impl Server {
    /// Tries a password.
    #[track_caller]
    pub(crate) fn try_login(&self, name: &str, password: &str) -> Answer {
        self.nobody().post("/v1/auth/login", &json!({"user": name, "password": password}))
    }

    /// Logs in a user of [`add_user`].
    #[track_caller]
    pub(crate) fn login(&self, name: &str) -> Login {
        Login::of(&self.try_login(name, &password_of(name)))
    }

    /// Takes a refresh token for the next.
    #[track_caller]
    pub(crate) fn refresh(&self, token: &str) -> Answer {
        self.nobody().post("/v1/auth/refresh", &json!({"refresh_token": token}))
    }

    /// A user's sessions, with this access token.
    #[track_caller]
    pub(crate) fn sessions(&self, access: &str, query: &str) -> Vec<Value> {
        let list = self.rest_with(access).get(&format!("/v1/auth/sessions{query}")).expect(200);
        list["items"].as_array().unwrap().clone()
    }

    /// Whether an access token lets its holder in, asked of a resource of viewers.
    #[track_caller]
    pub(crate) fn lets_in(&self, access: &str) -> bool {
        let answer = self.rest_with(access).get("/v1/lots");
        match answer.status {
            200 => true,
            _ => {
                answer.problem(401, "unauthenticated");
                false
            }
        }
    }
}

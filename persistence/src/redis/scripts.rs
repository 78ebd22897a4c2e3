//! The scripts that Redis runs, each over keys of one hash slot, and their names there.
//!
//! A script is atomic towards other clients, not against errors: one that fails half-way keeps what
//! it wrote. So each checks first, and nothing can fail after its first write (memory is judged
//! before a script begins).

use redis::{Cmd, Pipeline, Value, cmd};

/// A script; the discriminant is its place in [`SOURCES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Append,
    Extend,
    Trim,
    SetAside,
    Kept,
    Save,
}

const END: &str = include_str!("scripts/end.lua");
const KEPT: &str = include_str!("scripts/kept.lua");
/// First line, then the parts. What only frees memory must work without any left.
const SOURCES: [(&str, &[&str]); 6] = [
    ("#!lua\n", &[END, include_str!("scripts/append.lua")]),
    ("#!lua\n", &[END, KEPT, include_str!("scripts/extend.lua")]),
    ("#!lua flags=allow-oom\n", &[KEPT, include_str!("scripts/trim.lua")]),
    ("#!lua flags=allow-oom\n", &[END, KEPT, include_str!("scripts/set_aside.lua")]),
    ("#!lua flags=no-writes\n", &[KEPT, "return kept(KEYS[1])\n"]),
    ("#!lua\n", &[include_str!("scripts/save.lua")]),
];

/// What Redis calls the scripts: digests of their sources, so the same on every server.
#[derive(Clone, Debug)]
pub(super) struct Scripts {
    names: Vec<String>,
}

impl Scripts {
    /// Asks a server to take them all; its answers go to [`Scripts::loaded`].
    pub(super) fn load() -> Pipeline {
        let mut pipeline = Pipeline::new();
        for (first_line, parts) in SOURCES {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(format!("{first_line}{}", parts.concat()));
        }
        pipeline
    }

    /// None: the answers are not those of [`Scripts::load`].
    pub(super) fn loaded(answers: Vec<Value>) -> Option<Self> {
        let names: Option<Vec<String>> = answers.into_iter().map(|answer| redis::from_redis_value(answer).ok()).collect();
        names.filter(|names| names.len() == SOURCES.len()).map(|names| Self { names })
    }

    /// A call of one, to which keys and arguments are added.
    pub(super) fn call(&self, script: Script, keys: usize) -> Cmd {
        let mut call = cmd(if script == Script::Kept { "EVALSHA_RO" } else { "EVALSHA" });
        call.arg(&self.names[script as usize]).arg(keys);
        call
    }
}

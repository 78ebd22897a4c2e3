//! Asks a server what it is and what it holds, before anything is opened. Every error names the server.

use super::{
    checks::Facts,
    cluster::Trouble,
    fault::{Fault, words},
    keys::{Prefix, read_entry},
    line::Line,
    link::Endpoint,
    open::{Meta, OpenError},
    scripts::Scripts,
};
use gavel_domain::ids::ShardId;
use gavel_engine::ports::format::Digest;
use redis::{ErrorKind, Pipeline, RedisError, Value};
use std::collections::HashMap;

/// The layout of keys and entries that this build writes.
const LAYOUT: u32 = 1;
const READING: &str = "reading what it holds";

/// The description of the data, field by field: id, number of shards, layout, place.
type Fields = (Option<String>, Option<u16>, Option<u32>, Option<String>);

/// Asks one server, and names it in every error.
#[derive(Clone)]
pub(super) struct Opening {
    pub(super) server: String,
    pub(super) tls: bool,
    /// What follows `redis` or `rediss` in its address.
    pub(super) suffix: &'static str,
}

impl Opening {
    /// For one node of it.
    pub(super) fn of_node(&self, node: &str) -> Self {
        Self { server: format!("{node}, of {}", self.server), ..*self }
    }

    /// Nobody says who has which slots.
    pub(super) fn no_cluster(&self, trouble: Trouble) -> OpenError {
        match trouble {
            Trouble::Silent(node, error) => self.of_node(&node.to_string()).not_connected(&error),
            Trouble::Odd { node, answer, code: Some(code) } if matches!(code.as_str(), "NOAUTH" | "NOPERM") => {
                OpenError::Credentials { server: self.of_node(&node.to_string()).server, reason: answer }
            }
            Trouble::Odd { node, answer, .. } if answer.contains("cluster support disabled") => {
                let lines = vec!["it is no node of a Redis Cluster: use redis:// in place of redis+cluster://".into()];
                OpenError::Unfit { server: self.of_node(&node.to_string()).server, lines }
            }
            trouble @ (Trouble::Odd { .. } | Trouble::Gaps(_)) => {
                OpenError::Unfit { server: self.server.clone(), lines: vec![trouble.to_string()] }
            }
        }
    }

    pub(super) fn not_connected(&self, error: &RedisError) -> OpenError {
        let server = self.server.clone();
        let reason = error.to_string();
        match error.kind() {
            ErrorKind::AuthenticationFailed => return OpenError::Credentials { server, reason },
            ErrorKind::RESP3NotSupported => {
                let lines = vec!["it does not know RESP3: at least 7.0 is needed".into()];
                return OpenError::Unfit { server, lines };
            }
            _ => {}
        }
        if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) {
            return OpenError::Credentials { server, reason };
        }
        // Redis takes a TLS greeting for the beginning of a line, and waits for its end.
        if self.tls && error.is_timeout() {
            return OpenError::Unreachable { server, reason: format!("{reason}; if it does not speak TLS use redis{}://", self.suffix) };
        }
        if error.is_connection_refusal() || error.is_timeout() {
            return OpenError::Unreachable { server, reason };
        }
        if self.tls && (reason.contains("InvalidContentType") || reason.contains("corrupt message")) {
            return OpenError::Tls { server, reason: format!("it does not speak TLS: use redis{}://", self.suffix) };
        }
        if self.tls && reason.contains("certificate") {
            return OpenError::Tls { server, reason };
        }
        if !self.tls && error.is_io_error() && error.is_connection_dropped() {
            let reason = format!("it hung up at the first word ({reason}); if it wants TLS use rediss{}://", self.suffix);
            return OpenError::Tls { server, reason };
        }
        OpenError::Unreachable { server, reason }
    }

    pub(super) fn other(&self, operation: &'static str, fault: &Fault) -> OpenError {
        let (Fault::Refused(reason) | Fault::Unknown(reason)) = fault;
        OpenError::Other { server: self.server.clone(), operation, reason: reason.clone() }
    }

    /// To one server.
    async fn send(&self, line: &Line, operation: &'static str, pipeline: &Pipeline) -> Result<Vec<Value>, OpenError> {
        line.send(pipeline, false).await.map_err(|fault| self.other(operation, &fault))
    }

    /// To whoever has the keys.
    async fn ask(&self, endpoint: &Endpoint, pipeline: &Pipeline) -> Result<Vec<Value>, OpenError> {
        let outcomes = endpoint.send(pipeline).await.into_iter().map(|outcome| match outcome {
            Ok(Value::ServerError(error)) => Err(Fault::of_server(&error)),
            outcome => outcome,
        });
        outcomes.collect::<Result<_, _>>().map_err(|fault| self.other(READING, &fault))
    }

    /// What one server is.
    pub(super) async fn facts(&self, line: &Line) -> Result<Facts, OpenError> {
        let operation = "asking what it is";
        let mut pipeline = Pipeline::new();
        pipeline.cmd("INFO");
        pipeline.cmd("CONFIG").arg("GET");
        for name in ["appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy"] {
            pipeline.arg(name);
        }
        let mut answers = self.send(line, operation, &pipeline).await?.into_iter();
        let (info, config) = (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());
        let info = match info {
            Value::ServerError(error) if error.code() == "NOAUTH" => {
                return Err(OpenError::Credentials { server: self.server.clone(), reason: words(&error) });
            }
            Value::ServerError(error) => return Err(self.other(operation, &Fault::of_server(&error))),
            info => redis::from_redis_value::<String>(info).map_err(|e| self.other(operation, &Fault::Refused(e.to_string())))?,
        };
        let config = match config {
            Value::ServerError(error) => Err(words(&error)),
            config => redis::from_redis_value::<HashMap<String, String>>(config).map_err(|e| e.to_string()),
        };
        Ok(Facts { info: Facts::info_lines(&info), in_cluster: self.suffix == "+cluster", config })
    }

    /// Gives one server the scripts.
    pub(super) async fn load_scripts(&self, line: &Line) -> Result<Scripts, OpenError> {
        let operation = "loading the scripts";
        let answers = self.send(line, operation, &Scripts::load()).await?;
        if let Some(Value::ServerError(error)) = answers.iter().find(|answer| matches!(answer, Value::ServerError(_))) {
            return Err(self.other(operation, &Fault::of_server(error)));
        }
        Scripts::loaded(answers).ok_or_else(|| self.other(operation, &Fault::Refused("not their names".into())))
    }

    /// What stands under a prefix; changes nothing.
    pub(super) async fn meta(&self, endpoint: &Endpoint, prefix: &Prefix) -> Result<Option<Meta>, OpenError> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("HMGET").arg(prefix.meta()).arg(&["data_id", "shards", "layout", "place"]);
        let answer = self.ask(endpoint, &pipeline).await?.pop().unwrap_or_default();
        let found = redis::from_redis_value(answer).map_err(|e| self.other(READING, &Fault::Refused(e.to_string())))?;
        self.read(found)
    }

    /// Writes what is not there yet, and gives what stands there then: whoever comes first writes, all read the same.
    pub(super) async fn settle(&self, endpoint: &Endpoint, prefix: &Prefix, ours: &Meta) -> Result<Meta, OpenError> {
        let settled = endpoint.transaction(settling(prefix, ours).atomic()).await;
        let (found,): (Fields,) = settled.map_err(|fault| self.other("writing what it is to hold", &fault))?;
        self.read(found)?.ok_or_else(|| self.other(READING, &Fault::Refused("it is gone again".into())))
    }

    /// Whether every stream that holds something begins with its very first batch.
    pub(super) async fn reaches_back(&self, endpoint: &Endpoint, prefix: &Prefix, shards: u16) -> Result<bool, OpenError> {
        let mut pipeline = Pipeline::new();
        for shard in (0..shards).map(ShardId) {
            pipeline.cmd("XRANGE").arg(prefix.journal(shard)).arg("-").arg("+").arg("COUNT").arg(1);
        }
        for (shard, answer) in (0..shards).map(ShardId).zip(self.ask(endpoint, &pipeline).await?) {
            let Value::Array(mut entries) = answer else {
                return Err(self.other(READING, &Fault::Refused(format!("{} is no stream", prefix.journal(shard)))));
            };
            let first = entries.pop().map(|entry| read_entry(shard, entry));
            match first {
                None => {}
                Some(Some(batch)) if batch.previous == Digest::default() => {}
                Some(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    fn read(&self, (data_id, shards, layout, place): Fields) -> Result<Option<Meta>, OpenError> {
        if let Some(found) = layout.filter(|layout| *layout > LAYOUT) {
            return Err(OpenError::Newer { server: self.server.clone(), found, known: LAYOUT });
        }
        Ok(data_id.zip(shards).map(|(data_id, shards)| Meta { data_id, shards, place }))
    }
}

/// Writes what is missing of the data's description, and reads it.
pub(super) fn settling(prefix: &Prefix, ours: &Meta) -> Pipeline {
    let key = prefix.meta();
    let mut pipeline = Pipeline::new();
    pipeline.cmd("HSETNX").arg(&key).arg("data_id").arg(&ours.data_id).ignore();
    pipeline.cmd("HSETNX").arg(&key).arg("shards").arg(ours.shards).ignore();
    pipeline.cmd("HSETNX").arg(&key).arg("layout").arg(LAYOUT).ignore();
    if let Some(place) = &ours.place {
        pipeline.cmd("HSETNX").arg(&key).arg("place").arg(place).ignore();
    }
    pipeline.cmd("HMGET").arg(&key).arg(&["data_id", "shards", "layout", "place"]);
    pipeline
}

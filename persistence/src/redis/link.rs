//! What is asked of a Redis, whether that is one server or a cluster of them.

use super::{
    cluster::{Cluster, Trouble},
    fault::Fault,
    line::{Line, Pace},
    scripts::Scripts,
    slots::Node,
};
use redis::{FromRedisValue, Pipeline, Value};
use std::time::Instant;

/// Where commands go. Cheap to clone: all clones share their connections.
#[derive(Clone)]
pub(super) enum Endpoint {
    /// One server, or the master that Sentinels name.
    Server(Line),
    /// Each command to the node that has its key.
    Cluster(Cluster),
}

impl Endpoint {
    /// The same servers, with connections of its own.
    pub(super) fn another(&self, pace: Pace) -> Self {
        match self {
            Self::Server(line) => Self::Server(line.another(pace)),
            Self::Cluster(cluster) => Self::Cluster(cluster.another(pace)),
        }
    }

    pub(super) const fn pace(&self) -> &Pace {
        match self {
            Self::Server(line) => line.pace(),
            Self::Cluster(cluster) => cluster.pace(),
        }
    }

    /// Which node of a cluster has a key, as was heard last; none of a single server.
    pub(super) fn node_of(&self, key: &str) -> Option<Node> {
        match self {
            Self::Server(_) => None,
            Self::Cluster(cluster) => cluster.node_of(key),
        }
    }

    /// Connects, and gives a line to each server that takes writes; of a cluster with its address.
    pub(super) async fn masters(&self) -> Result<Vec<(Option<String>, Line)>, Trouble> {
        match self {
            Self::Server(line) => Ok(vec![(None, line.clone())]),
            Self::Cluster(cluster) => {
                let masters = cluster.masters().await?;
                Ok(masters.into_iter().map(|(node, line)| (Some(node.to_string()), line)).collect())
            }
        }
    }

    /// Sends commands, each with a key, in one round trip. What came of each, in order: an answer (errors of
    /// the server among them), or why there is none.
    pub(super) async fn send(&self, commands: &Pipeline) -> Vec<Result<Value, Fault>> {
        match self {
            Self::Server(line) => match line.send(commands, false).await {
                Ok(answers) => answers.into_iter().map(Ok).collect(),
                Err(fault) => vec![Err(fault); commands.len()],
            },
            Self::Cluster(cluster) => cluster.send(commands).await,
        }
    }

    /// Sends a transaction over keys of one slot, which may be repeated; all of it is done, or nothing.
    pub(super) async fn transaction<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Fault> {
        match self {
            Self::Server(line) => line.transaction(commands).await,
            Self::Cluster(cluster) => cluster.transaction(commands).await,
        }
    }

    /// Gives connections up: the next request makes others, to whoever is the master then.
    pub(super) async fn hang_up(&self) {
        match self {
            Self::Server(line) => line.hang_up().await,
            Self::Cluster(cluster) => cluster.hang_up(),
        }
    }
}

/// For readers and snapshots: shared by many. Cheap to clone.
#[derive(Clone)]
pub(super) struct Link {
    endpoint: Endpoint,
    scripts: Scripts,
}

impl Link {
    pub(super) const fn new(endpoint: Endpoint, scripts: Scripts) -> Self {
        Self { endpoint, scripts }
    }

    /// Sends commands in one go; gives an answer to each, errors of the server among them.
    ///
    /// # Errors
    /// No answer to one of them: either it was not sent, or nobody knows.
    pub(super) async fn send(&self, build: impl Fn(&Scripts) -> Pipeline) -> Result<Vec<Value>, Fault> {
        self.endpoint.send(&build(&self.scripts)).await.into_iter().collect()
    }

    /// As [`Link::send`], for one command that may be repeated: a connection that had died unnoticed is
    /// replaced. An error of the server is an error.
    pub(super) async fn ask(&self, build: impl Fn(&Scripts, &mut Pipeline)) -> Result<Value, Fault> {
        let build = |scripts: &Scripts| {
            let mut pipeline = Pipeline::new();
            build(scripts, &mut pipeline);
            pipeline
        };
        let started = Instant::now();
        let answers = match self.send(build).await {
            // Not where nobody answered: who is silent may be so for as long again.
            Err(Fault::Unknown(_)) if started.elapsed() < self.endpoint.pace().response_timeout => self.send(build).await,
            outcome => outcome,
        };
        match answers?.pop() {
            Some(Value::ServerError(error)) => Err(Fault::of_server(&error)),
            answer => Ok(answer.unwrap_or(Value::Nil)),
        }
    }

    /// As [`Endpoint::hang_up`].
    pub(super) async fn hang_up(&self) {
        self.endpoint.hang_up().await;
    }
}

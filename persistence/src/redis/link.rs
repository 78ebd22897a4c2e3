//! A connection that is made when it is needed and given up when it fails. Never a blocking command
//! here: one connection serves many callers, in order.

use super::{
    fault::{Fault, lacks_script},
    scripts::Scripts,
    sentinel::Master,
};
use redis::{AsyncConnectionConfig, Client, Pipeline, RedisError, Value, aio::MultiplexedConnection};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::Mutex};

/// Makes connections with the same settings.
#[derive(Clone)]
pub(super) struct Dialler {
    pub(super) target: Target,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
    /// Runs the connections' tasks, so that they outlive whoever asked first.
    pub(super) runtime: Handle,
}

/// Whom to call.
#[derive(Clone)]
pub(super) enum Target {
    /// Always the same server.
    Server(Box<Client>),
    /// Whomever Sentinels call the master at that moment.
    Sentinels(Arc<Master>),
}

impl Dialler {
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout));
        let target = self.target.clone();
        let connecting = self.runtime.spawn(async move {
            match target {
                Target::Server(client) => client.get_multiplexed_async_connection_with_config(&config).await,
                Target::Sentinels(master) => master.connect(&config).await,
            }
        });
        connecting.await.unwrap_or_else(|_| Err(std::io::Error::other("the runtime has ended").into()))
    }
}

/// A shared connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct Link {
    dialler: Dialler,
    scripts: Scripts,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    conn: Mutex<Option<(u64, MultiplexedConnection)>>,
    /// Numbers connections, so that only the one that failed is given up.
    made: AtomicU64,
}

impl Link {
    pub(super) fn new(dialler: Dialler, scripts: Scripts) -> Self {
        Self { dialler, scripts, shared: Arc::default() }
    }

    /// Sends commands in one go; gives an answer to each, errors of the server among them. What lacks
    /// its script is repeated with it.
    ///
    /// # Errors
    /// No answer: either nothing was sent, or nobody knows.
    pub(super) async fn send(&self, build: impl Fn(&Scripts) -> Pipeline) -> Result<Vec<Value>, Fault> {
        let (number, mut conn) = self.conn().await?;
        let outcome = send_with_scripts(&mut conn, &build(&self.scripts)).await;
        let demoted = |answers: &Vec<Value>| answers.iter().any(is_demoted);
        if outcome.as_ref().map_or(true, demoted) {
            let mut held = self.shared.conn.lock().await;
            if held.as_ref().is_some_and(|(held, _)| *held == number) {
                *held = None;
            }
        }
        outcome.map_err(|e| Fault::of_silence(&e))
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
            Err(Fault::Unknown(_)) if started.elapsed() < self.dialler.response_timeout => self.send(build).await,
            outcome => outcome,
        };
        match answers?.pop() {
            Some(Value::ServerError(error)) => Err(Fault::of_server(&error)),
            answer => Ok(answer.unwrap_or(Value::Nil)),
        }
    }

    /// Gives the connection up: the next request makes another, to whoever is the master then.
    pub(super) async fn hang_up(&self) {
        *self.shared.conn.lock().await = None;
    }

    async fn conn(&self) -> Result<(u64, MultiplexedConnection), Fault> {
        let mut held = self.shared.conn.lock().await;
        if let Some((number, conn)) = &*held {
            return Ok((*number, conn.clone()));
        }
        let conn = self.dialler.connect().await.map_err(|e| Fault::Refused(e.to_string()))?;
        let number = self.shared.made.fetch_add(1, Ordering::Relaxed);
        *held = Some((number, conn.clone()));
        Ok((number, conn))
    }
}

/// The answer of one that is not the master any more: its connection is of no use.
pub(super) fn is_demoted(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "READONLY")
}

/// Sends a pipeline; where the server has lost our scripts (a restart, a flush), gives it them and
/// repeats what lacked one, which did nothing then.
pub(super) async fn send_with_scripts(conn: &mut MultiplexedConnection, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
    let mut answers = conn.send_packed_commands(pipeline, 0, pipeline.len()).await?;
    let lacking: Vec<usize> =
        (0..answers.len()).filter(|n| matches!(&answers[*n], Value::ServerError(error) if lacks_script(error))).collect();
    if !lacking.is_empty() {
        let mut again = Scripts::load();
        let loads = again.len();
        let commands: Vec<_> = pipeline.cmd_iter().collect();
        for n in &lacking {
            again.add_command(commands[*n].clone());
        }
        let repeated = conn.send_packed_commands(&again, 0, again.len()).await?;
        for (n, answer) in lacking.into_iter().zip(repeated.into_iter().skip(loads)) {
            answers[n] = answer;
        }
    }
    Ok(answers)
}

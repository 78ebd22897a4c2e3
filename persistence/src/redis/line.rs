//! A line to one server: connected when it is needed, given up when it fails. Never a blocking command
//! here: one connection serves many callers, in order.

use super::{
    fault::{Fault, lacks_script},
    scripts::Scripts,
    sentinel::Master,
};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, Value, aio::MultiplexedConnection, cmd};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{runtime::Handle, sync::Mutex};

/// How long servers may take, and where connections run.
#[derive(Clone)]
pub(super) struct Pace {
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

/// Cheap to clone: all clones share the connection.
#[derive(Clone)]
pub(super) struct Line {
    target: Target,
    pace: Pace,
    held: Arc<Held>,
}

#[derive(Default)]
struct Held {
    conn: Mutex<Option<(u64, MultiplexedConnection)>>,
    /// Numbers connections, so that only the one that failed is given up.
    made: AtomicU64,
}

impl Line {
    /// Not connected yet.
    pub(super) fn new(target: Target, pace: Pace) -> Self {
        Self { target, pace, held: Arc::default() }
    }

    /// To the same server, with a connection of its own.
    pub(super) fn another(&self, pace: Pace) -> Self {
        Self::new(self.target.clone(), pace)
    }

    pub(super) const fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Connects where it is not connected.
    pub(super) async fn connect(&self) -> Result<(), RedisError> {
        self.conn().await.map(drop)
    }

    /// False also where somebody is connecting at this moment.
    pub(super) fn is_connected(&self) -> bool {
        self.held.conn.try_lock().is_ok_and(|held| held.is_some())
    }

    /// Sends commands in one go; gives an answer to each, errors of the server among them. What lacks
    /// its script is repeated with it. With `asking`, each is sent as one whose slot is on its way.
    ///
    /// # Errors
    /// [`Fault::Refused`]: there is no connection, nothing was sent. [`Fault::Unknown`]: nobody knows. Then,
    /// and where the server is not the master any more, the connection is given up: a late answer is never
    /// anybody else's.
    pub(super) async fn send(&self, commands: &Pipeline, asking: bool) -> Result<Vec<Value>, Fault> {
        let (number, mut conn) = self.conn().await.map_err(|e| Fault::Refused(format!("no connection: {e}")))?;
        let outcome = match exchange(&mut conn, commands, asking).await {
            Ok(answers) if answers.len() == commands.len() => Ok(answers),
            Ok(answers) => Err(Fault::Unknown(format!("{} answers to {} commands", answers.len(), commands.len()))),
            Err(error) => Err(Fault::of_silence(&error)),
        };
        let demoted = |answers: &Vec<Value>| answers.iter().any(is_demoted);
        if outcome.as_ref().map_or(true, demoted) {
            self.give_up(number).await;
        }
        outcome
    }

    /// Sends a transaction; all of it is done, or nothing.
    pub(super) async fn transaction<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Fault> {
        let (number, mut conn) = self.conn().await.map_err(|e| Fault::Refused(format!("no connection: {e}")))?;
        match commands.query_async::<T>(&mut conn).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                self.give_up(number).await;
                Err(Fault::of_silence(&error))
            }
        }
    }

    /// Gives the connection up: the next request makes another, to whoever is the master then.
    pub(super) async fn hang_up(&self) {
        *self.held.conn.lock().await = None;
    }

    async fn give_up(&self, number: u64) {
        let mut held = self.held.conn.lock().await;
        if held.as_ref().is_some_and(|(held, _)| *held == number) {
            *held = None;
        }
    }

    async fn conn(&self) -> Result<(u64, MultiplexedConnection), RedisError> {
        let mut held = self.held.conn.lock().await;
        if let Some((number, conn)) = &*held {
            return Ok((*number, conn.clone()));
        }
        let conn = self.dial().await?;
        let number = self.held.made.fetch_add(1, Ordering::Relaxed);
        *held = Some((number, conn.clone()));
        Ok((number, conn))
    }

    async fn dial(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.pace.connect_timeout))
            .set_response_timeout(Some(self.pace.response_timeout));
        let target = self.target.clone();
        let connecting = self.pace.runtime.spawn(async move {
            match target {
                Target::Server(client) => client.get_multiplexed_async_connection_with_config(&config).await,
                Target::Sentinels(master) => master.connect(&config).await,
            }
        });
        connecting.await.unwrap_or_else(|_| Err(std::io::Error::other("the runtime has ended").into()))
    }
}

/// The answer of one that is not the master any more: its connection is of no use.
fn is_demoted(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "READONLY")
}

/// Where the server has lost our scripts (a restart, a flush), gives it them and repeats what lacked one,
/// which did nothing then.
async fn exchange(conn: &mut MultiplexedConnection, commands: &Pipeline, asking: bool) -> Result<Vec<Value>, RedisError> {
    let mut answers = if asking {
        let asked = with_asking(Pipeline::new(), commands.cmd_iter());
        let answers = conn.send_packed_commands(&asked, 0, asked.len()).await?;
        answers.into_iter().skip(1).step_by(2).collect()
    } else {
        conn.send_packed_commands(commands, 0, commands.len()).await?
    };
    let lacking: Vec<usize> =
        (0..answers.len()).filter(|n| matches!(&answers[*n], Value::ServerError(error) if lacks_script(error))).collect();
    if !lacking.is_empty() {
        let mut again = Scripts::load();
        let loads = again.len();
        let commands: Vec<&Cmd> = commands.cmd_iter().collect();
        let repeated = lacking.iter().map(|n| commands[*n]);
        let (skip, step) = if asking { (loads + 1, 2) } else { (loads, 1) };
        again = if asking { with_asking(again, repeated) } else { with(again, repeated) };
        let repeated = conn.send_packed_commands(&again, 0, again.len()).await?;
        for (n, answer) in lacking.into_iter().zip(repeated.into_iter().skip(skip).step_by(step)) {
            answers[n] = answer;
        }
    }
    Ok(answers)
}

/// One pipeline of these commands after what is there.
pub(super) fn with<'a>(mut pipeline: Pipeline, commands: impl Iterator<Item = &'a Cmd>) -> Pipeline {
    for command in commands {
        pipeline.add_command(command.clone());
    }
    pipeline
}

/// The same; the word holds for one command.
fn with_asking<'a>(mut pipeline: Pipeline, commands: impl Iterator<Item = &'a Cmd>) -> Pipeline {
    for command in commands {
        pipeline.add_command(cmd("ASKING")).add_command(command.clone());
    }
    pipeline
}

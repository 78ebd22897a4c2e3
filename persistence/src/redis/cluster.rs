//! A Redis Cluster: who has which slots, and a line to each master. What is sent goes to all nodes that it
//! concerns at the same time; commands that a node turned away did nothing there and are repeated once, where
//! the cluster says they belong.

use super::{
    fault::{Fault, words},
    line::{Line, Pace, Target, with},
    sentinel::client,
    slots::{Map, Node, Redirect, slot_of, slot_of_key},
};
use futures_util::future::{Either, join_all, select, select_ok};
use parking_lot::Mutex;
use redis::{Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, Pipeline, RedisError, ServerError, Value};
use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

/// After which a node that does not answer is no reason to wait any longer for what others know.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How nodes are reached.
pub(super) struct Nodes {
    /// Who is asked first who has which slots.
    pub(super) seeds: Vec<Node>,
    /// With the credentials; host and port are those of each node.
    pub(super) info: ConnectionInfo,
    pub(super) root_certificates: Option<Vec<u8>>,
}

/// Cheap to clone: all clones share the lines.
#[derive(Clone)]
pub(super) struct Cluster {
    nodes: Arc<Nodes>,
    pace: Pace,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    known: Mutex<Known>,
    /// One asks, the others wait for what it hears.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// As it was heard last.
    map: Option<Arc<Map>>,
    /// To be asked anew before anything is sent.
    stale: bool,
    lines: HashMap<Node, Line>,
}

/// Why nobody knows who has which slots.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{1}")]
    Silent(Node, RedisError),
    #[error("{node} does not say who has which slots: {answer}")]
    Odd { node: Node, answer: String, code: Option<String> },
    #[error("{0} of the cluster's 16384 slots have no master")]
    Gaps(usize),
}

/// A command on its way.
struct Call {
    /// Which of the commands.
    number: usize,
    /// Where it was said to belong; none: where the map says.
    redirect: Option<Redirect>,
}

/// What came of a command; the node that was asked, if any was.
type Outcome = (Result<Value, Fault>, Option<Node>);

impl Cluster {
    /// Not connected yet.
    pub(super) fn new(nodes: Arc<Nodes>, pace: Pace) -> Self {
        Self { nodes, pace, shared: Arc::default() }
    }

    /// The same cluster, with connections of its own.
    pub(super) fn another(&self, pace: Pace) -> Self {
        Self::new(Arc::clone(&self.nodes), pace)
    }

    pub(super) const fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Its masters, once they are known to have every slot.
    pub(super) async fn masters(&self) -> Result<Vec<(Node, Line)>, Trouble> {
        let map = self.map().await?;
        if map.gaps() > 0 {
            return Err(Trouble::Gaps(map.gaps()));
        }
        map.masters().iter().map(|node| self.line(node).map(|line| (node.clone(), line))).collect()
    }

    /// Sends commands in one go to each node that has keys of theirs, to all nodes at once. What came of each:
    /// an answer (errors of the server among them), or why there is none.
    pub(super) async fn send(&self, commands: &Pipeline) -> Vec<Result<Value, Fault>> {
        let commands: Vec<&Cmd> = commands.cmd_iter().collect();
        let first = (0..commands.len()).map(|number| Call { number, redirect: None }).collect();
        let mut outcomes = self.round(&commands, first).await;
        // Turned away, or not sent: it did nothing, so it may be repeated.
        let again: Vec<Call> = outcomes.iter().filter_map(|(number, outcome)| self.look_at(*number, outcome)).collect();
        if !again.is_empty() {
            for (number, outcome) in self.round(&commands, again).await {
                let _last = self.look_at(number, &outcome);
                outcomes.insert(number, outcome);
            }
        }
        outcomes.into_values().map(|(outcome, _)| outcome).collect()
    }

    /// Sends a transaction over keys of one slot, which may be repeated; all of it is done, or nothing.
    pub(super) async fn transaction<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Fault> {
        let mut outcome = Err(Fault::Refused("it has no commands".into()));
        for _ in 0..2 {
            outcome = match self.line_of(commands).await {
                Ok((node, line)) => line.transaction(commands).await.map_err(|fault| fault.at(&node)),
                Err(fault) => Err(fault),
            };
            if outcome.is_ok() {
                break;
            }
            self.ask_anew();
        }
        outcome
    }

    /// Gives all connections up, and what is known of the slots.
    pub(super) fn hang_up(&self) {
        let mut known = self.shared.known.lock();
        known.stale = true;
        known.lines.clear();
    }

    /// Who has a key, as was heard last.
    pub(super) fn node_of(&self, key: &str) -> Option<Node> {
        self.shared.known.lock().map.as_ref()?.owner(slot_of_key(key.as_bytes())).cloned()
    }

    /// Before the next round somebody is asked who has which slots.
    fn ask_anew(&self) {
        self.shared.known.lock().stale = true;
    }

    /// What an outcome says of the slots; where the command is to be repeated, how.
    fn look_at(&self, number: usize, (outcome, node): &Outcome) -> Option<Call> {
        match outcome {
            Ok(Value::ServerError(error)) => {
                let redirect = node.as_ref().and_then(|node| Redirect::of(error, node));
                // While a slot is on its way, who has it has not changed yet.
                if redirect.as_ref().map_or_else(|| is_of_no_use(error), |redirect| !redirect.asking) {
                    self.ask_anew();
                }
                redirect.map(|redirect| Call { number, redirect: Some(redirect) })
            }
            Ok(_) => None,
            Err(fault) => {
                self.ask_anew();
                matches!(fault, Fault::Refused(_)).then_some(Call { number, redirect: None })
            }
        }
    }

    /// What came of each call, by the command's number.
    async fn round(&self, commands: &[&Cmd], calls: Vec<Call>) -> BTreeMap<usize, Outcome> {
        let map = if calls.iter().any(|call| call.redirect.is_none()) { self.map().await.map(Some) } else { Ok(None) };
        let mut outcomes = BTreeMap::new();
        let mut of_nodes: BTreeMap<(Node, bool), Vec<usize>> = BTreeMap::new();
        for Call { number, redirect } in calls {
            let place = match (redirect, &map) {
                (Some(Redirect { to, asking }), _) => Ok((to, asking)),
                (None, Ok(map)) => owner(map.as_deref(), commands[number]).map(|node| (node, false)),
                (None, Err(trouble)) => Err(Fault::Refused(trouble.to_string())),
            };
            match place {
                Ok(place) => of_nodes.entry(place).or_default().push(number),
                Err(fault) => drop(outcomes.insert(number, (Err(fault), None))),
            }
        }
        let sent = of_nodes.into_iter().map(async |((node, asking), numbers)| {
            let pipeline = with(Pipeline::with_capacity(numbers.len()), numbers.iter().map(|number| commands[*number]));
            let answers = match self.line(&node) {
                Ok(line) => self.answers(&node, &line, &pipeline, asking).await.map_err(|fault| fault.at(&node)),
                Err(trouble) => Err(Fault::Refused(trouble.to_string())),
            };
            (node, numbers, answers)
        });
        for (node, numbers, answers) in join_all(sent).await {
            let each: Vec<Result<Value, Fault>> = match answers {
                Ok(answers) => answers.into_iter().map(Ok).collect(),
                Err(fault) => vec![Err(fault); numbers.len()],
            };
            outcomes.extend(numbers.into_iter().zip(each.into_iter().map(|outcome| (outcome, Some(node.clone())))));
        }
        outcomes
    }

    /// A node that is silent may be waited for long; not once another one has its slots.
    async fn answers(&self, node: &Node, line: &Line, commands: &Pipeline, asking: bool) -> Result<Vec<Value>, Fault> {
        if asking {
            // A slot is on its way there, which may be its first.
            return line.send(commands, asking).await;
        }
        match select(pin!(line.send(commands, asking)), pin!(self.replaced(node))).await {
            Either::Left((answers, _)) => answers,
            Either::Right(((), _)) => {
                self.shared.known.lock().lines.remove(node);
                Err(Fault::Unknown("silent, and not a master any more".into()))
            }
        }
    }

    /// Ends once a node that has had its time is not a master any more.
    async fn replaced(&self, node: &Node) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            self.ask_anew();
            if self.map().await.is_ok_and(|map| !map.masters().contains(node)) {
                return;
            }
        }
    }

    async fn line_of(&self, commands: &Pipeline) -> Result<(Node, Line), Fault> {
        let refused = |trouble: Trouble| Fault::Refused(trouble.to_string());
        let first = commands.cmd_iter().next().ok_or_else(|| Fault::Refused("it has no commands".into()))?;
        let map = self.map().await.map_err(refused)?;
        let node = owner(Some(&map), first)?;
        let line = self.line(&node).map_err(refused)?;
        Ok((node, line))
    }

    fn line(&self, node: &Node) -> Result<Line, Trouble> {
        let mut known = self.shared.known.lock();
        if let Some(line) = known.lines.get(node) {
            return Ok(line.clone());
        }
        let (host, port) = (node.host.clone(), node.port);
        let addr = match self.nodes.info.addr() {
            ConnectionAddr::TcpTls { .. } => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            _ => ConnectionAddr::Tcp(host, port),
        };
        let client = client(self.nodes.info.clone().set_addr(addr), self.nodes.root_certificates.clone());
        let client = client.map_err(|error| Trouble::Silent(node.clone(), error))?;
        let line = Line::new(Target::Server(Box::new(client)), self.pace.clone());
        known.lines.insert(node.clone(), line.clone());
        Ok(line)
    }

    async fn map(&self) -> Result<Arc<Map>, Trouble> {
        let known = || {
            let known = self.shared.known.lock();
            known.map.clone().filter(|_| !known.stale)
        };
        if let Some(map) = known() {
            return Ok(map);
        }
        let _turn = self.shared.asking.lock().await;
        if let Some(map) = known() {
            return Ok(map);
        }
        let map = Arc::new(self.ask().await?);
        let mut known = self.shared.known.lock();
        let wanted = |node: &Node| self.nodes.seeds.contains(node) || map.masters().contains(node);
        known.lines.retain(|node, _| wanted(node));
        (known.map, known.stale) = (Some(Arc::clone(&map)), false);
        Ok(map)
    }

    /// Whoever answers first is believed: what it does not know yet, other nodes' redirections say.
    async fn ask(&self) -> Result<Map, Trouble> {
        let (connected, seen): (Vec<(Node, Line)>, Vec<Node>) = {
            let known = self.shared.known.lock();
            let connected = known.lines.iter().filter(|(_, line)| line.is_connected());
            let seen = known.map.as_ref().map_or_else(Vec::new, |map| map.masters().to_vec());
            (connected.map(|(node, line)| (node.clone(), line.clone())).collect(), seen)
        };
        if let Ok(Ok(map)) = timeout(LOOK_AGAIN, first_of(connected)).await {
            return Ok(map);
        }
        // The seeds may be gone by now.
        let mut all: Vec<Node> = [&self.nodes.seeds[..], &seen].concat();
        all.sort_unstable();
        all.dedup();
        first_of(all.into_iter().map(|node| self.line(&node).map(|line| (node, line))).collect::<Result<_, _>>()?).await
    }
}

/// Where a command belongs.
fn owner(map: Option<&Map>, command: &Cmd) -> Result<Node, Fault> {
    let slot = slot_of(command).ok_or_else(|| Fault::Refused("a command without a key".into()))?;
    let node = map.and_then(|map| map.owner(slot));
    node.cloned().ok_or_else(|| Fault::Refused(format!("slot {slot} has no master")))
}

/// An answer after which the slots may be others' than was thought.
fn is_of_no_use(error: &ServerError) -> bool {
    matches!(error.code(), "CLUSTERDOWN" | "READONLY" | "MASTERDOWN" | "LOADING")
}

/// The first map that somebody gives; the last error where nobody does.
async fn first_of(lines: Vec<(Node, Line)>) -> Result<Map, Trouble> {
    if lines.is_empty() {
        return Err(Trouble::Gaps(usize::from(super::slots::SLOTS)));
    }
    select_ok(lines.into_iter().map(|(node, line)| Box::pin(slots(node, line)))).await.map(|(map, _)| map)
}

async fn slots(node: Node, line: Line) -> Result<Map, Trouble> {
    if let Err(error) = line.connect().await {
        return Err(Trouble::Silent(node, error));
    }
    let mut question = Pipeline::new();
    question.cmd("CLUSTER").arg("SLOTS");
    let odd = |node, answer, code| Trouble::Odd { node, answer, code };
    let answer = match line.send(&question, false).await {
        Ok(mut answers) => answers.pop().unwrap_or_default(),
        Err(Fault::Refused(reason) | Fault::Unknown(reason)) => return Err(odd(node, reason, None)),
    };
    if let Value::ServerError(error) = &answer {
        return Err(odd(node, words(error), Some(error.code().to_owned())));
    }
    match Map::read(answer, &node) {
        Some(map) if map.masters().is_empty() => Err(Trouble::Gaps(map.gaps())),
        Some(map) => Ok(map),
        None => Err(odd(node, "not a list of slots".into(), None)),
    }
}

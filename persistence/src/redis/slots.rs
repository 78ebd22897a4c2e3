//! Slots of a Redis Cluster: which one a command's key is in, and who has it. Asks nobody.

use crc::{CRC_16_XMODEM, Crc};
use redis::{Arg, Cmd, ServerError, Value};
use std::fmt;

/// Every key is in one of so many (the cluster specification).
pub(super) const SLOTS: u16 = 16_384;
const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The slot of a command of ours: its key is the first argument, a script's comes after name and number of keys. None: it has none.
pub(super) fn slot_of(command: &Cmd) -> Option<u16> {
    let mut words = command.args_iter();
    let is_script = matches!(words.next()?, Arg::Simple(b"EVALSHA" | b"EVALSHA_RO"));
    let Arg::Simple(key) = words.nth(if is_script { 2 } else { 0 })? else { return None };
    Some(slot_of_key(key))
}

/// Only what is between the first braces counts, where there is something.
pub(super) fn slot_of_key(key: &[u8]) -> u16 {
    let inside = || {
        let start = key.iter().position(|byte| *byte == b'{')? + 1;
        let length = key[start..].iter().position(|byte| *byte == b'}')?;
        (length > 0).then(|| &key[start..start + length])
    };
    CRC.checksum(inside().unwrap_or(key)) % SLOTS
}

/// Who has which slots, as one node sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    masters: Vec<Node>,
    /// Of each slot: which of them.
    owners: Vec<Option<u16>>,
}

impl Map {
    /// Of an answer to `CLUSTER SLOTS`; none: it is none.
    pub(super) fn read(answer: Value, asked: &Node) -> Option<Self> {
        let Value::Array(ranges) = answer else { return None };
        let mut map = Self { masters: Vec::new(), owners: vec![None; usize::from(SLOTS)] };
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let mut range = range.into_iter();
            let (Some(Value::Int(first)), Some(Value::Int(last)), Some(Value::Array(master))) = (range.next(), range.next(), range.next())
            else {
                return None;
            };
            let mut master = master.into_iter();
            let (host, Some(Value::Int(port))) = (master.next()?, master.next()) else { return None };
            let node = Node { host: host_of(host, asked)?, port: u16::try_from(port).ok()? };
            let number = map.masters.iter().position(|known| *known == node).unwrap_or_else(|| {
                map.masters.push(node);
                map.masters.len() - 1
            });
            let slots = map.owners.get_mut(usize::try_from(first).ok()?..=usize::try_from(last).ok()?)?;
            slots.fill(u16::try_from(number).ok());
        }
        Some(map)
    }

    /// Nodes that have slots.
    pub(super) fn masters(&self) -> &[Node] {
        &self.masters
    }

    pub(super) fn owner(&self, slot: u16) -> Option<&Node> {
        let number = self.owners.get(usize::from(slot)).copied().flatten()?;
        self.masters.get(usize::from(number))
    }

    /// Slots that nobody has.
    pub(super) fn gaps(&self) -> usize {
        usize::from(SLOTS) - self.owners.iter().flatten().count()
    }
}

/// A node that does not know its own name leaves it to whoever reached it.
fn host_of(host: Value, asked: &Node) -> Option<String> {
    let host = match host {
        Value::Nil => String::new(),
        host => redis::from_redis_value::<String>(host).ok()?,
    };
    Some(if host.is_empty() || host == "?" { asked.host.clone() } else { host })
}

/// A node's word that a command belongs elsewhere: it did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    pub(super) to: Node,
    /// The slot is on its way there: only who says `ASKING` is served.
    pub(super) asking: bool,
}

impl Redirect {
    /// Of `MOVED slot host:port` or `ASK slot host:port`.
    pub(super) fn of(error: &ServerError, asked: &Node) -> Option<Self> {
        let asking = match error.code() {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let (_slot, place) = error.details()?.split_once(' ')?;
        let (host, port) = place.rsplit_once(':')?;
        let host = if host.is_empty() { asked.host.clone() } else { host.to_owned() };
        Some(Self { to: Node { host, port: port.parse().ok()? }, asking })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::cmd;

    fn node(host: &str, port: u16) -> Node {
        Node { host: host.into(), port }
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        Value::Array(vec![Value::Int(first), Value::Int(last), Value::Array(vec![host, Value::Int(port), Value::Nil])])
    }

    #[test]
    fn keys_are_where_redis_says() {
        // What `CLUSTER KEYSLOT` of a Redis 7.0.15 answers.
        for (key, slot) in
            [("123456789", 12_739), ("foo", 12_182), ("{foo}:x", 12_182), ("{}foo", 9500), ("gavel:{gavel:0}:journal", 14_197)]
        {
            assert_eq!(slot_of_key(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(slot_of(cmd("XRANGE").arg("foo").arg("-")), Some(12_182));
        assert_eq!(slot_of(cmd("EVALSHA").arg("name").arg(1).arg("foo").arg("bar")), Some(12_182));
        assert_eq!(slot_of(&cmd("PING")), None);
    }

    #[test]
    fn a_map_is_read_with_its_gaps() {
        let name = |host: &str| Value::BulkString(host.as_bytes().to_vec());
        let answer = Value::Array(vec![range(0, 99, name("h"), 1), range(100, 199, Value::Nil, 2), range(300, 16_383, name("h"), 1)]);
        let map = Map::read(answer, &node("seed", 9)).expect("a map");
        assert_eq!(map.masters(), [node("h", 1), node("seed", 2)]);
        assert_eq!([map.owner(99), map.owner(150), map.owner(250)], [Some(&node("h", 1)), Some(&node("seed", 2)), None]);
        assert_eq!(map.gaps(), 100);
        for wrong in [Value::Okay, Value::Array(vec![range(0, 16_384, name("h"), 1)]), Value::Array(vec![range(9, -1, name("h"), 1)])] {
            assert!(Map::read(wrong, &node("seed", 9)).is_none());
        }
    }
}

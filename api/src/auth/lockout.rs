//! Wrong passwords by address, in memory. What a user's own wrong passwords lead to is kept with the user.
//!
//! A right password takes back only the wrong ones of its own user: whoever has an account can't wash an address with it.

use gavel_domain::time::Timestamp;
use gavel_persistence::accounts::{Backoff, FORGOTTEN_AFTER};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Addresses remembered, at most.
const MOST: usize = 100_000;

/// Where somebody calls from, as far as it costs something to have another one: an IPv4 address, or the 64 leading bits of an
/// IPv6 address (RFC 4291: the rest is the host's own to choose).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block(IpAddr);

impl From<IpAddr> for Block {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 => v4,
        })
    }
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last_at: Timestamp,
    locked_until: Timestamp,
}

/// See above.
pub(super) struct Addresses {
    backoff: Backoff,
    seen: Mutex<HashMap<Block, Failures>>,
}

impl Addresses {
    /// With nobody locked out.
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { backoff, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<Block, Failures>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when no password is tried from there; in the past, or the epoch: it is not locked out.
    pub(super) fn locked_until(&self, from: Block) -> Timestamp {
        self.seen().get(&from).map_or(Timestamp::from_millis(0), |failures| failures.locked_until)
    }

    /// A wrong password.
    pub(super) fn failed(&self, from: Block, at: Timestamp) {
        let mut seen = self.seen();
        if seen.len() >= MOST && !seen.contains_key(&from) {
            make_room(&mut seen, at);
        }
        let fresh = Failures { count: 0, last_at: at, locked_until: Timestamp::from_millis(0) };
        let failures = seen.entry(from).or_insert(fresh);
        if at.since(failures.last_at) >= FORGOTTEN_AFTER {
            *failures = fresh;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last_at = at;
        failures.locked_until = at.plus(self.backoff.after_failures(failures.count));
    }

    /// A right password of a user who had entered this many wrong ones in a row.
    pub(super) fn succeeded(&self, from: Block, wrong_before: u32) {
        let mut seen = self.seen();
        let Some(failures) = seen.get_mut(&from) else { return };
        failures.count = failures.count.saturating_sub(wrong_before);
        if failures.count == 0 {
            seen.remove(&from);
        }
    }
}

/// Forgets who is not locked out; if all are, everybody: memory is bounded, and each user's own lock-out goes on.
fn make_room(seen: &mut HashMap<Block, Failures>, at: Timestamp) {
    seen.retain(|_, failures| failures.locked_until > at);
    if seen.len() >= MOST {
        seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gavel_domain::time::Millis;

    const BACKOFF: Backoff = Backoff { after: 3, first: Millis(1000), longest: Millis(4000) };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn block(text: &str) -> Block {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn neighbours_in_a_home_network_are_one() {
        assert_eq!(block("2001:db8::1"), block("2001:db8::ffff:0:0:2"));
        assert_ne!(block("2001:db8::1"), block("2001:db8:0:1::1"));
        assert_eq!(block("::ffff:192.0.2.1"), block("192.0.2.1"));
        assert_ne!(block("192.0.2.1"), block("192.0.2.2"));
    }

    #[test]
    fn each_failure_beyond_the_first_few_locks_longer() {
        let addresses = Addresses::new(BACKOFF);
        let here = block("192.0.2.1");
        for (failures, locked_ms) in [(1, 0), (2, 0), (3, 1000), (4, 2000), (5, 4000), (6, 4000)] {
            addresses.failed(here, at(50_000));
            let locked_until = addresses.locked_until(here);
            assert_eq!(locked_until, at(50_000 + locked_ms), "{failures}");
        }
        assert_eq!(addresses.locked_until(block("192.0.2.2")), at(0));
        addresses.failed(here, at(50_000 + 24 * 3_600_000));
        assert_eq!(addresses.locked_until(here), at(50_000 + 24 * 3_600_000), "a day later it is the first");
    }

    #[test]
    fn a_right_password_takes_back_its_own_wrong_ones() {
        let addresses = Addresses::new(BACKOFF);
        let here = block("192.0.2.1");
        (0..4).for_each(|_| addresses.failed(here, at(1)));
        addresses.succeeded(here, 0);
        addresses.failed(here, at(2));
        assert_eq!(addresses.locked_until(here), at(4002), "somebody else's right password changes nothing");
        addresses.succeeded(here, 5);
        addresses.failed(here, at(3));
        assert_eq!(addresses.locked_until(here), at(3));
    }

    #[test]
    fn memory_is_bounded() {
        let addresses = Addresses::new(BACKOFF);
        for number in 0..=u32::try_from(MOST).unwrap() {
            addresses.failed(IpAddr::V4(number.into()).into(), at(1));
        }
        assert!(addresses.seen().len() < MOST);
    }
}

//! Random lots and commands. Amounts and times are drawn near where the rules change: at the
//! minimum, the leader's maximum, the reserve, the top of all amounts; at deadlines and window borders.

use crate::book::{Asked, Bid, Book, Soft, TOP, Terms};
use proptest::{option, prelude::*, sample::select};

/// An amount that is worked out when its turn comes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sum {
    Plain(u64),
    Minimum(i64),
    LeaderMax(i64),
    Reserve(i64),
    BuyNow(i64),
    Top(i64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    Later(i64),
    Deadline(i64),
    Window(i64),
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Bid { bidder: u8, id: u8, sum: Sum, max: Option<Sum> },
    Resend(usize),
    Plain(Asked),
    Change(Vec<Edit>),
}

#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Title(u8),
    Start(u64),
    Reserve(Option<u64>),
    LowerReserve(u64),
    BuyNow(Option<u64>),
    Proxy(bool),
    Steps(Vec<(u64, u64)>),
    Opens(Option<i64>),
    Closes(Option<i64>),
    Soft(Option<Soft>),
}

#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) when: When,
    /// A driver that is awake does what is due first.
    pub(crate) awake: bool,
    pub(crate) act: Act,
}

impl Sum {
    fn of(self, book: &Book) -> u64 {
        let near = |base: u64, off: i64| base.saturating_add_signed(off).min(TOP);
        match self {
            Self::Plain(sum) => sum,
            Self::Minimum(off) => near(book.minimum(), off),
            Self::LeaderMax(off) => near(book.highest(), off),
            Self::Reserve(off) => near(book.terms().reserve.unwrap_or(book.minimum()), off),
            Self::BuyNow(off) => near(book.terms().buy_now.unwrap_or(book.minimum()), off),
            Self::Top(off) => near(TOP, off),
        }
    }
}

impl When {
    pub(crate) fn of(self, book: &Book, now: i64) -> i64 {
        let window = book.terms().soft.map_or(0, |soft| soft.window);
        match self {
            Self::Later(by) => now + by,
            Self::Deadline(off) => book.deadline().map_or(now, |deadline| deadline + off).max(now),
            Self::Window(off) => book.deadline().map_or(now, |deadline| deadline - window + off).max(now),
        }
    }
}

impl Act {
    /// What is asked in the end; `sent` are the bids so far.
    pub(crate) fn of(&self, book: &Book, sent: &[Bid], now: i64) -> Option<Asked> {
        match self {
            Self::Plain(asked) => Some(asked.clone()),
            Self::Resend(which) => Some(Asked::Bid(*sent.get(which % sent.len().max(1))?)),
            Self::Bid { bidder, id, sum, max } => {
                let amount = sum.of(book);
                Some(Asked::Bid(Bid { bidder: *bidder, id: *id, amount, max: max.map(|max| max.of(book)) }))
            }
            Self::Change(edits) => {
                let mut terms = Terms { closes_at: book.clock().closes_at, ..book.terms().clone() };
                edits.iter().for_each(|edit| edit.make(&mut terms, now));
                Some(Asked::Change(terms))
            }
        }
    }
}

impl Edit {
    fn make(&self, terms: &mut Terms, now: i64) {
        match self {
            Self::Title(title) => terms.title = *title,
            Self::Start(start) => terms.start = *start,
            Self::Reserve(reserve) => terms.reserve = *reserve,
            Self::LowerReserve(by) => terms.reserve = terms.reserve.and_then(|reserve| reserve.checked_sub(*by)),
            Self::BuyNow(buy_now) => terms.buy_now = *buy_now,
            Self::Proxy(proxy) => terms.proxy = *proxy,
            Self::Steps(steps) => terms.steps.clone_from(steps),
            Self::Opens(opens) => terms.opens_at = opens.map(|off| (now + off).max(0)),
            Self::Closes(closes) => terms.closes_at = closes.map(|off| (now + off).max(0)),
            Self::Soft(soft) => terms.soft = *soft,
        }
    }
}

fn sum() -> impl Strategy<Value = Sum> {
    let off = || -2..=25_i64;
    prop_oneof![
        2 => (0..400_u64).prop_map(Sum::Plain),
        6 => off().prop_map(Sum::Minimum),
        4 => (-12..=12_i64).prop_map(Sum::LeaderMax),
        2 => (-2..=2_i64).prop_map(Sum::Reserve),
        1 => (-2..=2_i64).prop_map(Sum::BuyNow),
        1 => (-12..=0_i64).prop_map(Sum::Top),
    ]
}

fn when() -> impl Strategy<Value = When> {
    let near = || select(vec![-2_i64, -1, 0, 1, 2]);
    prop_oneof![
        10 => (0..800_i64).prop_map(When::Later),
        2 => Just(When::Later(0)),
        2 => near().prop_map(When::Deadline),
        3 => near().prop_map(When::Window),
        1 => (3..99_000_i64).prop_map(When::Deadline),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop_oneof![
        Just(vec![(0, 5), (100, 10), (200, 50)]),
        Just(vec![(0, 1)]),
        Just(vec![(0, 10), (250, 3), (TOP - 5, 2)]),
        Just(vec![(0, TOP)]),
    ]
}

fn soft() -> impl Strategy<Value = Soft> {
    (1..3000_i64, any::<bool>(), 1..3000_i64, option::of(0..4_u32), option::of(9_000..14_000_i64))
        .prop_map(|(window, add, by, most, hard)| Soft { window, add, by, most, hard })
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => (0..3_u8).prop_map(Edit::Title),
        4 => (1..60_u64).prop_map(Edit::LowerReserve),
        1 => option::of(90..500_u64).prop_map(Edit::Reserve),
        1 => (80..120_u64).prop_map(Edit::Start),
        1 => option::of(100..500_u64).prop_map(Edit::BuyNow),
        1 => any::<bool>().prop_map(Edit::Proxy),
        1 => steps().prop_map(Edit::Steps),
        1 => option::of(-100..900_i64).prop_map(Edit::Opens),
        2 => option::of(-10..9000_i64).prop_map(Edit::Closes),
        1 => option::of(soft()).prop_map(Edit::Soft),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let bid = (0..4_u8, 0..=255_u8, sum(), option::of(sum())).prop_map(|(bidder, id, sum, max)| Act::Bid { bidder, id, sum, max });
    let same_names = (0..2_u8, 0..3_u8, sum(), option::of(sum())).prop_map(|(bidder, id, sum, max)| Act::Bid { bidder, id, sum, max });
    let plain = |asked: Asked| Just(Act::Plain(asked));
    prop_oneof![
        40 => bid,
        4 => same_names,
        5 => any::<usize>().prop_map(Act::Resend),
        4 => plain(Asked::Tick),
        4 => plain(Asked::Open),
        3 => plain(Asked::Pause),
        6 => plain(Asked::Resume),
        3 => (1..4000_i64).prop_map(|by| Act::Plain(Asked::Extend(by))),
        5 => prop::collection::vec(edit(), 1..3).prop_map(Act::Change),
        1 => plain(Asked::Cancel),
        1 => plain(Asked::Close),
    ]
}

fn terms() -> impl Strategy<Value = Terms> {
    let start = prop_oneof![6 => 90..110_u64, 1 => Just(0_u64), 1 => TOP - 40..=TOP];
    let times = (prop::bool::weighted(0.15), option::weighted(0.2, -5..1500_i64), option::weighted(0.85, 1600..9000_i64));
    let prices = (start, option::of(0..300_u64), option::of(0..400_u64), prop::bool::weighted(0.85), steps());
    (times, prices, option::weighted(0.7, soft())).prop_map(
        |((draft, opens_at, closes_at), (start, reserve, buy_now, proxy, steps), soft)| {
            let over = |by: u64| (start + by).min(TOP);
            let (reserve, buy_now) = (reserve.map(over), buy_now.map(over));
            Terms { start, reserve, buy_now, proxy, steps, draft, opens_at, closes_at, soft, title: 0 }
        },
    )
}

pub(crate) fn evening() -> impl Strategy<Value = (Terms, Vec<Turn>)> {
    let turn = (when(), prop::bool::weighted(0.8), act()).prop_map(|(when, awake, act)| Turn { when, awake, act });
    (terms(), prop::collection::vec(turn, 1..40))
}

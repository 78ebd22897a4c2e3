//! The oracle: PROTOCOL's "How a bid is judged" as a book that is read again from its first page for
//! every question. No state is kept but the list of what was accepted; nothing of the engine is used.
//!
//! Where the engine moves a price step by step, the book says: who leads is whoever first gave the
//! highest maximum; the price is the highest of all that any accepted bid or reserve ever called for.

/// 2^53 − 1.
pub(crate) const TOP: u64 = 9_007_199_254_740_991;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Terms {
    pub(crate) start: u64,
    pub(crate) reserve: Option<u64>,
    pub(crate) buy_now: Option<u64>,
    pub(crate) proxy: bool,
    pub(crate) steps: Vec<(u64, u64)>,
    pub(crate) draft: bool,
    pub(crate) opens_at: Option<i64>,
    pub(crate) closes_at: Option<i64>,
    pub(crate) soft: Option<Soft>,
    pub(crate) title: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Soft {
    pub(crate) window: i64,
    pub(crate) add: bool,
    pub(crate) by: i64,
    pub(crate) most: Option<u32>,
    pub(crate) hard: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bid {
    pub(crate) bidder: u8,
    pub(crate) id: u8,
    pub(crate) amount: u64,
    pub(crate) max: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Bid(Bid),
    Open,
    Pause,
    Resume,
    Extend(i64),
    Cancel,
    Close,
    Change(Terms),
    Tick,
}

/// What a bidder is told of an accepted bid.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slip {
    pub(crate) price: u64,
    pub(crate) leading: bool,
    pub(crate) received_at: i64,
    pub(crate) deadline: Option<i64>,
    pub(crate) closes_at: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Accepted(Slip),
    Again(Slip),
    Done { at: i64 },
    Nothing,
    Refused(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Phase {
    Draft,
    Scheduled,
    Open,
    Paused,
    Sold(u8, u64),
    NoBids,
    ReserveNotMet,
    Cancelled,
}

impl Phase {
    fn over(self) -> bool {
        !matches!(self, Self::Draft | Self::Scheduled | Self::Open | Self::Paused)
    }
}

/// Where the clock stands after all pages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Clock {
    pub(crate) phase: Phase,
    pub(crate) closes_at: Option<i64>,
    pub(crate) left: Option<i64>,
    pub(crate) extensions: u32,
}

/// A page: what was accepted, and when it took effect.
type Page = (i64, Asked);

pub(crate) struct Book {
    first: Terms,
    pages: Vec<Page>,
}

fn step(steps: &[(u64, u64)], price: u64) -> u64 {
    steps.iter().rev().find(|(from, _)| *from <= price).unwrap().1
}

fn above(terms: &Terms, price: u64) -> u64 {
    TOP.min(price + step(&terms.steps, price))
}

fn m(bid: &Bid) -> u64 {
    bid.max.unwrap_or(bid.amount)
}

/// The accepted bids among the pages.
fn bids(pages: &[Page]) -> Vec<Bid> {
    pages.iter().filter_map(|(_, what)| if let Asked::Bid(bid) = what { Some(*bid) } else { None }).collect()
}

/// Whoever gave the highest maximum first.
fn leader(bids: &[Bid]) -> Option<(u8, u64)> {
    let highest = bids.iter().map(m).max()?;
    bids.iter().find(|bid| m(bid) == highest).map(|bid| (bid.bidder, highest))
}

impl Book {
    /// Opens at once unless something holds it back.
    pub(crate) fn new(terms: Terms, now: i64) -> Self {
        let waits = terms.draft || terms.opens_at.is_some_and(|opens_at| opens_at > now);
        let pages = if waits { vec![] } else { vec![(now, Asked::Open)] };
        Self { first: terms, pages }
    }

    pub(crate) fn terms(&self) -> &Terms {
        self.terms_at(self.pages.len())
    }

    fn terms_at(&self, pages: usize) -> &Terms {
        let changed =
            self.pages[..pages].iter().rev().find_map(|(_, what)| if let Asked::Change(terms) = what { Some(terms) } else { None });
        changed.unwrap_or(&self.first)
    }

    pub(crate) fn bids(&self) -> usize {
        bids(&self.pages).len()
    }

    pub(crate) fn leader(&self) -> Option<u8> {
        self.sale(self.pages.len()).or_else(|| leader(&bids(&self.pages))).map(|(who, _)| who)
    }

    /// The highest maximum given so far; the start price before any.
    pub(crate) fn highest(&self) -> u64 {
        leader(&bids(&self.pages)).map_or(self.terms().start, |(_, most)| most)
    }

    /// Whether a bidder leads, and its own highest maximum.
    pub(crate) fn own(&self, who: u8) -> Option<(bool, u64)> {
        let most = bids(&self.pages).iter().filter(|bid| bid.bidder == who).map(m).max()?;
        Some((self.leader() == Some(who), most))
    }

    pub(crate) fn price(&self) -> Option<u64> {
        self.price_at(self.pages.len())
    }

    pub(crate) fn minimum(&self) -> u64 {
        self.price().map_or(self.terms().start, |price| above(self.terms(), price))
    }

    pub(crate) fn reserve_met(&self) -> Option<bool> {
        self.terms().reserve.map(|reserve| self.price() >= Some(reserve))
    }

    /// Rule 6: who bought, for how much, within the first `pages`.
    fn sale(&self, pages: usize) -> Option<(u8, u64)> {
        (1..=pages).find_map(|end| {
            let Asked::Bid(bid) = &self.pages[end - 1].1 else { return None };
            let asked = self.terms_at(end - 1).buy_now?;
            let still = || self.price_without_sale(end - 1).is_none_or(|price| price < asked);
            (bid.amount >= asked && still()).then_some((bid.bidder, asked))
        })
    }

    fn price_at(&self, pages: usize) -> Option<u64> {
        self.sale(pages).map(|(_, price)| price).or_else(|| self.price_without_sale(pages))
    }

    /// Rules 1 to 5: the highest price that any page called for.
    fn price_without_sale(&self, pages: usize) -> Option<u64> {
        let called = (1..=pages).flat_map(|end| [self.called_by_bid(end), self.called_by_reserve(end)]);
        called.flatten().max()
    }

    fn called_by_bid(&self, end: usize) -> Option<u64> {
        let Asked::Bid(bid) = &self.pages[end - 1].1 else { return None };
        let terms = self.terms_at(end - 1);
        match leader(&bids(&self.pages[..end - 1])) {
            None => Some(bid.amount),
            Some((who, _)) if who == bid.bidder => None,
            Some((_, most)) if m(bid) > most => Some(bid.amount.max(m(bid).min(above(terms, most)))),
            Some((_, most)) => Some(most.min(above(terms, m(bid)))),
        }
    }

    /// Rule 4, in force after every page.
    fn called_by_reserve(&self, end: usize) -> Option<u64> {
        let (_, most) = leader(&bids(&self.pages[..end]))?;
        self.terms_at(end).reserve.filter(|reserve| most >= *reserve)
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock_at(self.pages.len())
    }

    fn clock_at(&self, pages: usize) -> Clock {
        let waiting = |terms: &Terms| if terms.draft || terms.opens_at.is_none() { Phase::Draft } else { Phase::Scheduled };
        let mut clock = Clock { phase: waiting(&self.first), closes_at: self.first.closes_at, left: None, extensions: 0 };
        for (end, (at, what)) in (1..).zip(&self.pages[..pages]) {
            match what {
                Asked::Open => clock.phase = Phase::Open,
                Asked::Pause => {
                    clock.left = clock.closes_at.map(|closes_at| closes_at - at);
                    clock.phase = Phase::Paused;
                }
                Asked::Resume => {
                    clock.closes_at = clock.left.map(|left| at + left);
                    (clock.phase, clock.left) = (Phase::Open, None);
                }
                Asked::Extend(by) => {
                    clock.closes_at = clock.closes_at.map(|closes_at| closes_at + by);
                    clock.left = clock.left.map(|left| left + by);
                }
                Asked::Cancel => (clock.phase, clock.left) = (Phase::Cancelled, None),
                Asked::Close => (clock.phase, clock.left) = (self.outcome(end), None),
                Asked::Change(terms) => {
                    if clock.phase == Phase::Paused && terms.closes_at != clock.closes_at {
                        clock.left = terms.closes_at.map(|closes_at| closes_at - at);
                    }
                    clock.closes_at = terms.closes_at;
                    clock.phase = match clock.phase {
                        Phase::Scheduled if terms.opens_at.is_none() => Phase::Open,
                        Phase::Draft | Phase::Scheduled => waiting(terms),
                        other => other,
                    };
                }
                Asked::Bid(_) => match self.sale(end) {
                    Some((buyer, price)) => clock.phase = Phase::Sold(buyer, price),
                    None => clock = self.stretched(end, *at, clock),
                },
                Asked::Tick => unreachable!("a page says what the tick came to"),
            }
        }
        clock
    }

    /// Rule 7.
    fn stretched(&self, end: usize, at: i64, clock: Clock) -> Clock {
        let (Some(soft), Some(closes_at)) = (self.terms_at(end).soft, clock.closes_at) else { return clock };
        if at < closes_at - soft.window || soft.most.is_some_and(|most| clock.extensions >= most) {
            return clock;
        }
        let who = |pages: usize| leader(&bids(&self.pages[..pages])).map(|(who, _)| who);
        if who(end) == who(end - 1) && self.price_at(end) == self.price_at(end - 1) {
            return clock;
        }
        let wanted = if soft.add { closes_at + soft.by } else { closes_at.max(at + soft.by) };
        let moved = wanted.min(soft.hard.unwrap_or(i64::MAX)).max(closes_at);
        Clock { closes_at: Some(moved), extensions: clock.extensions + u32::from(moved > closes_at), ..clock }
    }

    fn outcome(&self, pages: usize) -> Phase {
        match (leader(&bids(&self.pages[..pages])), self.price_at(pages)) {
            (Some((who, _)), Some(price)) if price >= self.terms_at(pages).reserve.unwrap_or(0) => Phase::Sold(who, price),
            (Some(_), _) => Phase::ReserveNotMet,
            (None, _) => Phase::NoBids,
        }
    }

    pub(crate) fn deadline(&self) -> Option<i64> {
        match self.clock().phase {
            Phase::Scheduled => self.terms().opens_at,
            Phase::Open => self.clock().closes_at,
            _ => None,
        }
    }

    /// Judges, and writes down what is accepted.
    pub(crate) fn ask(&mut self, asked: Asked, now: i64) -> Answer {
        if let Asked::Bid(bid) = &asked
            && let Some(again) = self.before(bid)
        {
            return again;
        }
        let page = match self.judge(&asked, now) {
            Err(why) => return Answer::Refused(why),
            Ok(None) => return Answer::Nothing,
            Ok(Some(page)) => page,
        };
        let at = page.0;
        self.pages.push(page);
        if matches!(asked, Asked::Bid(_)) { Answer::Accepted(self.slip(self.pages.len())) } else { Answer::Done { at } }
    }

    fn slip(&self, end: usize) -> Slip {
        let (received_at, Asked::Bid(bid)) = &self.pages[end - 1] else { unreachable!("asked for a bid's page") };
        let leading = match self.sale(end) {
            Some((buyer, _)) => buyer == bid.bidder,
            None => leader(&bids(&self.pages[..end])).is_some_and(|(who, _)| who == bid.bidder),
        };
        let (deadline, closes_at) = (self.clock_at(end - 1).closes_at, self.clock_at(end).closes_at);
        Slip { price: self.price_at(end).unwrap(), leading, received_at: *received_at, deadline, closes_at }
    }

    /// A bid that is on a page already, or that makes no sense.
    fn before(&self, bid: &Bid) -> Option<Answer> {
        let refused = |why: &str| Some(Answer::Refused(why.into()));
        if bid.max.is_some() && !self.terms().proxy {
            return refused("invalid");
        }
        if m(bid) < bid.amount {
            return refused("invalid");
        }
        let same_name = |page: &Page| matches!(&page.1, Asked::Bid(known) if (known.bidder, known.id) == (bid.bidder, bid.id));
        let at = self.pages.iter().position(same_name)?;
        let Asked::Bid(known) = &self.pages[at].1 else { return None };
        if (known.amount, m(known)) != (bid.amount, m(bid)) {
            return refused("bid_id_conflict");
        }
        Some(Answer::Again(self.slip(at + 1)))
    }

    fn judge(&self, asked: &Asked, now: i64) -> Result<Option<Page>, String> {
        let clock = self.clock();
        let phase = clock.phase;
        let overdue = phase == Phase::Open && clock.closes_at.is_some_and(|closes_at| now >= closes_at);
        let no = |why: &str| Err(why.to_string());
        match asked {
            Asked::Bid(_) if matches!(phase, Phase::Draft | Phase::Scheduled) => return no("lot_not_open"),
            Asked::Bid(_) if phase == Phase::Paused => return no("lot_paused"),
            Asked::Bid(_) if phase.over() || overdue => return no("lot_closed"),
            Asked::Bid(bid) => self.judge_bid(bid)?,
            Asked::Tick => return Ok(self.due(now)),
            Asked::Close if overdue => return Ok(self.due(now)),
            Asked::Change(wanted) => return self.judge_change(wanted, now, overdue),
            Asked::Open if matches!(phase, Phase::Draft | Phase::Scheduled) => {
                if clock.closes_at.is_some_and(|closes_at| closes_at <= now) {
                    return no("conflict");
                }
            }
            Asked::Pause if phase == Phase::Open && !overdue => {}
            Asked::Resume if phase == Phase::Paused => {}
            Asked::Close if matches!(phase, Phase::Open | Phase::Paused) => {}
            Asked::Cancel if !phase.over() && !overdue => {}
            Asked::Extend(by) if !phase.over() && !overdue => {
                let hard = self.terms().soft.and_then(|soft| soft.hard).unwrap_or(i64::MAX);
                if clock.closes_at.is_none_or(|closes_at| closes_at + by > hard) {
                    return no("conflict");
                }
            }
            _ => return no("conflict"),
        }
        Ok(Some((now, asked.clone())))
    }

    fn judge_bid(&self, bid: &Bid) -> Result<(), String> {
        let terms = self.terms();
        if terms.buy_now.is_some_and(|asked| bid.amount >= asked && self.price().is_none_or(|price| price < asked)) {
            return Ok(());
        }
        match leader(&bids(&self.pages)) {
            Some((who, _)) if who == bid.bidder && !terms.proxy => Err("already_leading".into()),
            Some((who, most)) if who == bid.bidder && m(bid) <= most => Err(format!("max_not_raised {most}")),
            Some((who, _)) if who == bid.bidder => Ok(()),
            _ if bid.amount < self.minimum() => Err(format!("bid_too_low {}", self.minimum())),
            _ => Ok(()),
        }
    }

    /// What the passing of time brings, dated when it was due, but not before the page before.
    fn due(&self, now: i64) -> Option<Page> {
        let at = self.deadline().filter(|deadline| *deadline <= now)?;
        let at = self.pages.iter().map(|page| page.0).fold(at, i64::max);
        Some((at, if self.clock().phase == Phase::Scheduled { Asked::Open } else { Asked::Close }))
    }

    fn judge_change(&self, wanted: &Terms, now: i64, overdue: bool) -> Result<Option<Page>, String> {
        let own = Terms { closes_at: self.clock().closes_at, ..self.terms().clone() };
        if own == *wanted {
            return Ok(None);
        }
        let page = Ok(Some((now, Asked::Change(wanted.clone()))));
        let but_title = Terms { title: own.title, ..wanted.clone() };
        if own == but_title {
            return page;
        }
        let but_reserve = Terms { reserve: own.reserve, ..but_title };
        let lowered = own.reserve.is_some_and(|own| wanted.reserve.is_none_or(|wanted| wanted < own));
        let begun = !matches!(self.clock().phase, Phase::Draft | Phase::Scheduled);
        let into_the_past = wanted.closes_at != own.closes_at && wanted.closes_at.is_some_and(|closes_at| closes_at <= now);
        let opens = self.clock().phase == Phase::Scheduled && wanted.opens_at.is_none();
        let into_the_past = into_the_past || opens && wanted.closes_at.is_some_and(|closes_at| closes_at <= now);
        let fixed = self.bids() > 0 && !(lowered && own == but_reserve);
        if self.clock().phase.over() || overdue || fixed || (begun && wanted.opens_at != own.opens_at) || into_the_past {
            return Err("conflict".into());
        }
        page
    }
}

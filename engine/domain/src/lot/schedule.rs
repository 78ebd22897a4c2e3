//! A lot's clock: opening, pausing, resuming, extending, cancelling, closing, and deadlines.

use crate::{
    event::LotEvent,
    lot::{Decision, Lot, Status},
    reject::{Conflict, Reject},
    time::{Millis, Timestamp},
};
use std::sync::Arc;

impl Lot {
    pub(super) fn decide_open(&self, now: Timestamp) -> Result<Decision, Reject> {
        match self.status {
            Status::Draft | Status::Scheduled => {}
            Status::Open | Status::Paused => return Err(Reject::Conflict(Conflict::AlreadyOpen)),
            Status::Closed | Status::Cancelled => return Err(Reject::Conflict(Conflict::Over)),
        }
        if self.closes_at.is_some_and(|closes_at| closes_at <= now) {
            return Err(Reject::Conflict(Conflict::ClosesInThePast));
        }
        Ok(Decision::one(now, LotEvent::Opened { closes_at: self.closes_at }))
    }

    pub(super) fn decide_pause(&self, reason: Option<Arc<str>>, now: Timestamp) -> Result<Decision, Reject> {
        self.must_be_open(now)?;
        let remaining = self.closes_at.map(|closes_at| closes_at.since(now));
        Ok(Decision::one(now, LotEvent::Paused { remaining, reason }))
    }

    pub(super) fn decide_resume(&self, now: Timestamp) -> Result<Decision, Reject> {
        match self.status {
            Status::Paused => {}
            Status::Draft | Status::Scheduled => return Err(Reject::Conflict(Conflict::NotYetOpen)),
            Status::Open => return Err(Reject::Conflict(Conflict::NotPaused)),
            Status::Closed | Status::Cancelled => return Err(Reject::Conflict(Conflict::Over)),
        }
        let closes_at = self.remaining.map(|remaining| now.plus(remaining));
        Ok(Decision::one(now, LotEvent::Resumed { closes_at }))
    }

    /// By hand: not counted among the extensions of the soft close, but never past its hard end.
    pub(super) fn decide_extend(&self, by: Millis, now: Timestamp) -> Result<Decision, Reject> {
        self.must_go_on(now)?;
        let closes_at = self.closes_at.ok_or(Reject::Conflict(Conflict::NoClosingTime))?.plus(by);
        if self.spec.soft_close.and_then(|soft| soft.hard_close_at).is_some_and(|hard| closes_at > hard) {
            return Err(Reject::Conflict(Conflict::PastHardClose));
        }
        Ok(Decision::one(now, LotEvent::Extended { closes_at, extensions: self.extensions }))
    }

    pub(super) fn decide_cancel(&self, reason: Option<Arc<str>>, now: Timestamp) -> Result<Decision, Reject> {
        self.must_go_on(now)?;
        Ok(Decision::one(now, LotEvent::Cancelled { reason }))
    }

    pub(super) fn decide_close(&self, now: Timestamp) -> Result<Decision, Reject> {
        match self.status {
            Status::Open if self.is_overdue(now) => Ok(self.decide_tick(now)),
            Status::Open | Status::Paused => Ok(Decision::one(now, LotEvent::Closed(self.outcome_now()))),
            Status::Draft | Status::Scheduled => Err(Reject::Conflict(Conflict::NotYetOpen)),
            Status::Closed | Status::Cancelled => Err(Reject::Conflict(Conflict::Over)),
        }
    }

    /// What the passing of a deadline brings, dated by the deadline itself: a lot that was due while
    /// the server was down closes at the time that everybody was told. Only a deadline that was set
    /// into the past (an `opens_at` changed to it) yields to the event that set it.
    pub(super) fn decide_tick(&self, now: Timestamp) -> Decision {
        match self.deadline().filter(|deadline| *deadline <= now) {
            Some(at) => Decision::one(at.max(self.last_event_at()), self.due()),
            None => Decision::nothing(now),
        }
    }

    fn due(&self) -> LotEvent {
        match self.status {
            Status::Scheduled => LotEvent::Opened { closes_at: self.closes_at },
            _ => LotEvent::Closed(self.outcome_now()),
        }
    }

    /// The closing time has passed: what the lot came to is settled, even if nobody has ticked yet.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        self.status == Status::Open && self.closes_at.is_some_and(|closes_at| closes_at <= now)
    }

    pub(super) fn apply_extended(&mut self, closes_at: Timestamp, extensions: u32) {
        if let (Some(remaining), Some(before)) = (self.remaining, self.closes_at) {
            self.remaining = Some(Millis(remaining.0 + closes_at.since(before).0));
        }
        self.set_closes_at(Some(closes_at));
        self.extensions = extensions;
    }

    /// The spec follows, so that a change made of it changes what was meant and nothing else.
    pub(super) fn set_closes_at(&mut self, closes_at: Option<Timestamp>) {
        self.closes_at = closes_at;
        self.spec.closes_at = closes_at;
    }

    pub(super) fn must_go_on(&self, now: Timestamp) -> Result<(), Reject> {
        if self.status.is_over() || self.is_overdue(now) { Err(Reject::Conflict(Conflict::Over)) } else { Ok(()) }
    }

    fn must_be_open(&self, now: Timestamp) -> Result<(), Reject> {
        match self.status {
            Status::Open if self.is_overdue(now) => Err(Reject::Conflict(Conflict::Over)),
            Status::Open => Ok(()),
            Status::Draft | Status::Scheduled => Err(Reject::Conflict(Conflict::NotYetOpen)),
            Status::Paused => Err(Reject::Conflict(Conflict::AlreadyPaused)),
            Status::Closed | Status::Cancelled => Err(Reject::Conflict(Conflict::Over)),
        }
    }
}

//! Soft close: a late bid stretches the closing time (rule 7 of "How a bid is judged").

use crate::{
    lot::spec::{SoftClose, SoftCloseMode},
    time::Timestamp,
};

impl SoftClose {
    /// The closing time after a bid that changed price or leader, if it moves.
    ///
    /// `extensions` is how often late bids have moved it so far.
    #[must_use]
    pub fn extended(&self, closes_at: Timestamp, received_at: Timestamp, extensions: u32) -> Option<Timestamp> {
        let late = closes_at.since(received_at) <= self.window_ms;
        if !late || self.max_extensions.is_some_and(|most| extensions >= most) {
            return None;
        }
        let wanted = match self.mode {
            SoftCloseMode::Reset => received_at.plus(self.by_ms),
            SoftCloseMode::Add => closes_at.plus(self.by_ms),
        };
        let moved = self.hard_close_at.map_or(wanted, |hard| wanted.min(hard));
        (moved > closes_at).then_some(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Millis;

    /// Closes at 1000; window 100, by 50.
    fn extended(mode: SoftCloseMode, received_at: i64, extensions: u32, most: Option<u32>, hard: Option<i64>) -> Option<i64> {
        let hard_close_at = hard.map(Timestamp::from_millis);
        let soft = SoftClose { window_ms: Millis(100), mode, by_ms: Millis(50), max_extensions: most, hard_close_at };
        soft.extended(Timestamp::from_millis(1000), Timestamp::from_millis(received_at), extensions).map(Timestamp::as_millis)
    }

    #[test]
    fn the_window_counts_with_its_border() {
        for (received_at, closes_at) in [(899, None), (900, Some(1050)), (901, Some(1050)), (999, Some(1050))] {
            assert_eq!(extended(SoftCloseMode::Add, received_at, 0, None, None), closes_at, "at {received_at}");
        }
    }

    #[test]
    fn reset_leaves_that_much_and_never_less_than_there_was() {
        for (received_at, closes_at) in [(900, None), (950, None), (951, Some(1001)), (999, Some(1049))] {
            assert_eq!(extended(SoftCloseMode::Reset, received_at, 0, None, None), closes_at, "at {received_at}");
        }
    }

    #[test]
    fn there_is_an_end_to_it() {
        for (extensions, closes_at) in [(0, Some(1050)), (1, Some(1050)), (2, None), (3, None)] {
            assert_eq!(extended(SoftCloseMode::Add, 990, extensions, Some(2), None), closes_at, "after {extensions}");
        }
        for (hard, closes_at) in [(1100, Some(1050)), (1020, Some(1020)), (1000, None), (900, None)] {
            assert_eq!(extended(SoftCloseMode::Add, 990, 0, None, Some(hard)), closes_at, "hard end {hard}");
        }
        assert_eq!(extended(SoftCloseMode::Add, 990, 0, Some(0), None), None);
    }
}

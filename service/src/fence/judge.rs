//! What follows from what a database says of itself and what a replica remembers of it.

use crate::store::{Fences, History};
use jiff::Timestamp;

/// What a replica remembers of the database, from its last beat that the database acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remembered {
    /// The number of the beat.
    pub(super) beat: i64,
    /// When it was.
    pub(super) beaten_at: Timestamp,
    /// The newest fence then, up or not.
    pub(super) newest_fence: i32,
}

/// Why a fence is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// No service has looked at the database before: there is nothing to keep back.
    First,
    /// The database is in another cluster: it was dumped and restored, or upgraded.
    OtherCluster,
    /// The cluster has another timeline: a standby took over, or it was recovered to a point in time.
    OtherTimeline,
    /// The database has not got what it acknowledged to this replica.
    FellBack,
}

impl Cause {
    /// As it is stored and shown.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::OtherCluster => "other_cluster",
            Self::OtherTimeline => "other_timeline",
            Self::FellBack => "fell_back",
        }
    }
}

/// Whether a fence must be raised, and why. Beats of before `lasting_since` may have been purged.
pub(super) fn judge(
    history: Option<History>,
    fences: &Fences,
    remembered: Option<Remembered>,
    lasting_since: Timestamp,
) -> Option<Cause> {
    let Some((newest, noted)) = fences.newest else { return Some(Cause::First) };
    if let Some((now, noted)) = history.zip(noted) {
        if now.system_identifier != noted.system_identifier {
            return Some(Cause::OtherCluster);
        }
        if now.timeline != noted.timeline {
            return Some(Cause::OtherTimeline);
        }
    }
    let remembered = remembered?;
    // A fence that is up and was raised since keeps back whatever this replica knows and the database has forgotten.
    let is_covered = fences.up > remembered.newest_fence;
    let has_beat = match fences.beat {
        Some(beat) => beat >= remembered.beat,
        // This replica stood still for days.
        None => remembered.beaten_at < lasting_since,
    };
    let is_there = newest >= remembered.newest_fence && has_beat;
    (!is_there && !is_covered).then_some(Cause::FellBack)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: History = History { system_identifier: 7, timeline: 1 };
    const BEATEN: Timestamp = Timestamp::constant(1_800_000_000, 0);
    const REMEMBERED: Option<Remembered> =
        Some(Remembered { beat: 5, beaten_at: BEATEN, newest_fence: 2 });

    /// A beat that must still be there.
    fn judge(
        history: Option<History>,
        fences: &Fences,
        remembered: Option<Remembered>,
    ) -> Option<Cause> {
        super::judge(history, fences, remembered, BEATEN)
    }

    fn fences(up: i32, beat: Option<i64>) -> Fences {
        Fences { newest: Some((up.max(2), Some(HISTORY))), up, beat }
    }

    #[test]
    fn a_database_that_goes_on_needs_no_fence() {
        assert_eq!(judge(Some(HISTORY), &fences(2, None), None), None, "a new replica");
        assert_eq!(judge(Some(HISTORY), &fences(2, Some(5)), REMEMBERED), None);
        assert_eq!(judge(Some(HISTORY), &fences(2, Some(6)), REMEMBERED), None, "a lost reply");
        assert_eq!(judge(None, &fences(2, Some(5)), REMEMBERED), None, "can't tell its history");
    }

    #[test]
    fn a_new_database_gets_its_first() {
        let fences = Fences { newest: None, up: 0, beat: None };
        assert_eq!(judge(Some(HISTORY), &fences, None), Some(Cause::First));
    }

    #[test]
    fn another_history_is_found_by_any_replica() {
        let other = |system_identifier, timeline| {
            let history = History { system_identifier, timeline };
            judge(Some(history), &fences(2, Some(5)), None)
        };
        assert_eq!(other(8, 1), Some(Cause::OtherCluster));
        assert_eq!(other(7, 2), Some(Cause::OtherTimeline));
    }

    #[test]
    fn a_database_that_forgot_a_beat_fell_back() {
        let fell_back = Some(Cause::FellBack);
        assert_eq!(judge(Some(HISTORY), &fences(2, Some(4)), REMEMBERED), fell_back);
        assert_eq!(judge(Some(HISTORY), &fences(2, None), REMEMBERED), fell_back);
        assert_eq!(judge(None, &fences(0, None), REMEMBERED), fell_back);
    }

    #[test]
    fn a_database_that_forgot_a_fence_fell_back() {
        let forgot = Fences { newest: Some((1, Some(HISTORY))), up: 1, beat: Some(5) };
        assert_eq!(judge(Some(HISTORY), &forgot, REMEMBERED), Some(Cause::FellBack));
    }

    #[test]
    fn a_fence_raised_since_covers_what_was_forgotten_if_it_is_up() {
        assert_eq!(judge(Some(HISTORY), &fences(3, None), REMEMBERED), None);
        let lifted = Fences { newest: Some((3, Some(HISTORY))), up: 2, beat: None };
        assert_eq!(judge(Some(HISTORY), &lifted, REMEMBERED), Some(Cause::FellBack));
    }

    #[test]
    fn a_beat_that_is_old_may_have_been_purged() {
        let later = BEATEN + jiff::SignedDuration::from_secs(1);
        let judge = |fences| super::judge(Some(HISTORY), &fences, REMEMBERED, later);
        assert_eq!(judge(fences(2, None)), None);
        assert_eq!(judge(fences(2, Some(4))), Some(Cause::FellBack), "an older one is there");
        assert_eq!(judge(fences(1, None)), None);
        let forgot = Fences { newest: Some((1, Some(HISTORY))), up: 1, beat: None };
        assert_eq!(judge(forgot), Some(Cause::FellBack), "a fence is never purged");
    }
}

//! What follows from what a database says of itself and what a replica remembers of it.

use crate::store::{Beat, Fences, History};
use jiff::Timestamp;
use std::collections::HashMap;

/// What a replica remembers of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remembered {
    /// The last beat of each replica that the database had, this replica's own among them.
    pub(super) beats: HashMap<String, Beat>,
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
    /// In the same cluster, the database or one of its tables is another one, or was filled anew.
    OtherDatabase,
    /// The cluster has another timeline: a standby took over, or it was recovered to a point in time.
    OtherTimeline,
    /// The database has not got what it acknowledged to a replica.
    FellBack,
    /// No service has noted which database it is, as before keypool did: there is nothing to compare.
    Noted,
}

impl Cause {
    /// As it is stored and shown.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::OtherCluster => "other_cluster",
            Self::OtherDatabase => "other_database",
            Self::OtherTimeline => "other_timeline",
            Self::FellBack => "fell_back",
            Self::Noted => "noted",
        }
    }
}

/// Whether a fence must be raised, and why. Beats of before `lasting_since` may have been purged.
pub(super) fn judge(
    history: Option<History>,
    fences: &Fences,
    remembered: Option<&Remembered>,
    lasting_since: Timestamp,
) -> Option<Cause> {
    let Some((newest, noted)) = fences.newest else {
        return Some(if remembered.is_some() { Cause::FellBack } else { Cause::First });
    };
    let clusters = history.zip(noted);
    if clusters.is_some_and(|(now, noted)| now.system_identifier != noted.system_identifier) {
        return Some(Cause::OtherCluster);
    }
    if fences.noted_identity.as_ref().is_some_and(|noted| *noted != fences.identity) {
        return Some(Cause::OtherDatabase);
    }
    // After those that always mean a loss: a fence for this one may keep nothing back.
    if clusters.is_some_and(|(now, noted)| now.timeline != noted.timeline) {
        return Some(Cause::OtherTimeline);
    }
    if remembered.is_some_and(|remembered| fell_back(newest, fences, remembered, lasting_since)) {
        return Some(Cause::FellBack);
    }
    fences.noted_identity.is_none().then_some(Cause::Noted)
}

/// Whether the database has not got what a replica remembers, and no fence covers that.
fn fell_back(
    newest: i32,
    fences: &Fences,
    remembered: &Remembered,
    lasting_since: Timestamp,
) -> bool {
    // A fence that is up and was raised since keeps back whatever this replica knows and the database has forgotten.
    let is_covered = fences.up > remembered.newest_fence;
    let has = |(replica, beat): (&String, &Beat)| match fences.beats.get(replica) {
        Some(found) => found.number >= beat.number,
        // That replica is gone for days, or this one stood still.
        None => beat.beaten_at < lasting_since,
    };
    let is_there = newest >= remembered.newest_fence && remembered.beats.iter().all(has);
    !is_there && !is_covered
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: History = History { system_identifier: 7, timeline: 1 };
    const IDENTITY: &str = "database 1, tables 2 3, origin 4";
    const BEATEN: Timestamp = Timestamp::constant(1_800_000_000, 0);

    /// A replica that remembers its own beat, and maybe another's.
    fn remembered(other: Option<i64>) -> Remembered {
        Remembered { beats: beats(Some(5), other), newest_fence: 2 }
    }

    fn beats(own: Option<i64>, other: Option<i64>) -> HashMap<String, Beat> {
        let beat = |(replica, number): (&str, Option<i64>)| {
            Some((replica.to_owned(), Beat { number: number?, beaten_at: BEATEN }))
        };
        [("own", own), ("other", other)].into_iter().filter_map(beat).collect()
    }

    /// Beats that must still be there.
    fn judge(
        history: Option<History>,
        fences: &Fences,
        remembered: Option<&Remembered>,
    ) -> Option<Cause> {
        super::judge(history, fences, remembered, BEATEN)
    }

    /// What a database without fences says.
    fn of_database(identity: &str, noted: Option<&str>) -> Fences {
        let noted_identity = noted.map(ToOwned::to_owned);
        let (newest, beats) = (None, HashMap::new());
        Fences { identity: identity.into(), noted_identity, newest, up: 0, beats }
    }

    fn fences(up: i32, beat: Option<i64>) -> Fences {
        Fences {
            newest: Some((up.max(2), Some(HISTORY))),
            up,
            beats: beats(beat, None),
            ..of_database(IDENTITY, Some(IDENTITY))
        }
    }

    #[test]
    fn a_database_that_goes_on_needs_no_fence() {
        assert_eq!(judge(Some(HISTORY), &fences(2, None), None), None, "a new replica");
        assert_eq!(judge(Some(HISTORY), &fences(2, Some(5)), Some(&remembered(None))), None);
        assert_eq!(
            judge(Some(HISTORY), &fences(2, Some(6)), Some(&remembered(None))),
            None,
            "a lost reply"
        );
        assert_eq!(
            judge(None, &fences(2, Some(5)), Some(&remembered(None))),
            None,
            "can't tell its history"
        );
    }

    #[test]
    fn a_new_database_gets_its_first() {
        let fences = of_database(IDENTITY, None);
        assert_eq!(judge(Some(HISTORY), &fences, None), Some(Cause::First));
        let known = remembered(None);
        let forgotten = judge(Some(HISTORY), &fences, Some(&known));
        assert_eq!(forgotten, Some(Cause::FellBack), "the table of fences was emptied");
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
    fn another_database_is_found_whatever_else_changed() {
        let restored = |noted, history, remembered| {
            let known = of_database("database 5, tables 6 7, origin 8", noted);
            let Fences { identity, noted_identity, .. } = known;
            let fences = Fences { identity, noted_identity, ..fences(2, Some(4)) };
            judge(Some(history), &fences, remembered)
        };
        let promoted = History { timeline: 2, ..HISTORY };
        let moved = History { system_identifier: 8, ..HISTORY };
        let known = remembered(None);
        for remembered in [None, Some(&known)] {
            let noted = Some(IDENTITY);
            assert_eq!(restored(noted, HISTORY, remembered), Some(Cause::OtherDatabase));
            assert_eq!(restored(noted, promoted, remembered), Some(Cause::OtherDatabase));
            assert_eq!(restored(noted, moved, remembered), Some(Cause::OtherCluster));
        }
        assert_eq!(restored(None, HISTORY, None), Some(Cause::Noted));
        assert_eq!(restored(None, HISTORY, Some(&known)), Some(Cause::FellBack));
        assert_eq!(restored(None, promoted, None), Some(Cause::OtherTimeline));
    }

    #[test]
    fn a_database_that_forgot_a_beat_fell_back() {
        let fell_back = Some(Cause::FellBack);
        assert_eq!(judge(Some(HISTORY), &fences(2, Some(4)), Some(&remembered(None))), fell_back);
        assert_eq!(judge(Some(HISTORY), &fences(2, None), Some(&remembered(None))), fell_back);
        assert_eq!(judge(None, &fences(0, None), Some(&remembered(None))), fell_back);
    }

    #[test]
    fn a_database_that_forgot_another_replicas_beat_fell_back() {
        let judge = |other| {
            let fences = Fences { beats: beats(Some(5), other), ..fences(2, None) };
            judge(Some(HISTORY), &fences, Some(&remembered(Some(9))))
        };
        assert_eq!(judge(Some(9)), None);
        assert_eq!(judge(Some(8)), Some(Cause::FellBack));
        assert_eq!(judge(None), Some(Cause::FellBack));
    }

    #[test]
    fn a_database_that_forgot_a_fence_fell_back() {
        let forgot = Fences { newest: Some((1, Some(HISTORY))), ..fences(1, Some(5)) };
        assert_eq!(judge(Some(HISTORY), &forgot, Some(&remembered(None))), Some(Cause::FellBack));
    }

    #[test]
    fn a_fence_raised_since_covers_what_was_forgotten_if_it_is_up() {
        assert_eq!(judge(Some(HISTORY), &fences(3, None), Some(&remembered(None))), None);
        let lifted = Fences { newest: Some((3, Some(HISTORY))), ..fences(2, None) };
        assert_eq!(judge(Some(HISTORY), &lifted, Some(&remembered(None))), Some(Cause::FellBack));
    }

    #[test]
    fn a_beat_that_is_old_may_have_been_purged() {
        let later = BEATEN + jiff::SignedDuration::from_secs(1);
        let known = remembered(None);
        let judge = |fences| super::judge(Some(HISTORY), &fences, Some(&known), later);
        assert_eq!(judge(fences(2, None)), None);
        assert_eq!(judge(fences(2, Some(4))), Some(Cause::FellBack), "an older one is there");
        assert_eq!(judge(fences(1, None)), None);
        let forgot = Fences { newest: Some((1, Some(HISTORY))), ..fences(1, None) };
        assert_eq!(judge(forgot), Some(Cause::FellBack), "a fence is never purged");
    }
}

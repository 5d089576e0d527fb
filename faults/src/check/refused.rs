//! What a reservation has, it can spend; and what it holds, it can extend.

use super::{
    Broken, Verdict,
    index::{Index, Story},
    lasting,
};
use crate::history::{Action, Answer, Call, Hold, Micros, Outcome, Record};
use std::time::Duration;

/// For how long a hold on a package outlives its revocation: `pool.revocation_grace`, by default.
const GRACE: Duration = Duration::from_secs(24 * 3600);

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    for record in &index.history.records {
        let Call::Hold(hold) = &record.call else { continue };
        let (Some(Answer::Held(results, _)), false) =
            (record.outcome.answer(), is_refused_unread(&record.outcome))
        else {
            continue;
        };
        for ((device, package), refused) in hold.packages.iter().zip(results) {
            let Some(story) = index.story(*package) else { continue };
            if !must_succeed(index, story, hold, record) {
                continue;
            }
            verdict.remarks.checked_holds += 1;
            if let Some(why) = refused {
                let what = format!(
                    "{package} of {device}, held or spent by {}, refused to it at {}: {why}",
                    hold.reservation, record.invoked.0
                );
                verdict.note(Broken::HoldLost, what);
            }
        }
    }
}

/// Whether it says nothing of the packages: who calls too often is not heard.
fn is_refused_unread(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(why, _) if why == "RATE_LIMITED")
}

/// Whether nothing explains a refusal.
fn must_succeed(index: &Index<'_>, story: &Story, hold: &Hold, record: &Record) -> bool {
    let reservation = hold.reservation;
    let holds = || {
        lasting::hold(index, story, reservation, record).is_some()
            && !is_revoked_for(story, GRACE, record.replied)
    };
    match hold.action {
        Action::Spend => lasting::is_spent(index, story, reservation, record) || holds(),
        Action::Extend(_) => {
            // What is spent is held no more, and a spend may come in between.
            let mut spendings = story.spendings.iter();
            let may_be_spent = spendings.any(|spending| {
                spending.reservation == reservation && spending.invoked <= record.replied
            });
            !may_be_spent && holds()
        }
        Action::Release | Action::SetAside => false,
    }
}

/// Whether it may have been revoked for so long at a moment.
fn is_revoked_for(story: &Story, span: Duration, moment: Micros) -> bool {
    story.revocations.iter().any(|revocation| revocation.invoked.after(span) <= moment)
}

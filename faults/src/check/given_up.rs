//! What a client has given up is not done later: packages that its device made afterwards are not revoked by it.

use super::{Broken, Verdict, index::Index};

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    for package in &index.history.books.revoked {
        let Some(story) = index.story(*package) else { continue };
        let Some(made) = story.uploads.iter().map(|(invoked, _)| *invoked).min() else { continue };
        verdict.remarks.checked_revocations += 1;
        if story.revocations.iter().all(|revocation| revocation.given_up < made) {
            let what = format!("{package}, uploaded at {} and not revoked since", made.0);
            verdict.note(Broken::RevokedUnasked, what);
        }
    }
}

//! What the service did and no fault asked for.

use super::{Broken, Verdict};
use crate::history::{History, Incident};

pub(super) fn check(history: &History, verdict: &mut Verdict) {
    for incident in &history.incidents {
        let broken = match incident {
            Incident::Hang(_) => Broken::Hang,
            Incident::Died(_) => Broken::Died,
        };
        verdict.note(broken, incident.to_string());
    }
}

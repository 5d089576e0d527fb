use super::decode::Fields;
use crate::{pool::Caller, types::Holder};

/// The caller when nothing proves who it is, which the server allows on loopback only unless told otherwise.
const ANONYMOUS: &str = "anonymous";

/// Who calls, and for whom: the holder of what the call reserves is the user that the caller acts for, else the caller.
pub(super) fn caller(fields: &mut Fields, on_behalf_of: &str) -> Option<Caller> {
    let principal = fields.check("principal", Holder::new(ANONYMOUS))?;
    if on_behalf_of.is_empty() {
        return Some(Caller { holder: principal.clone(), principal, limited: false });
    }
    let holder = fields.check("on_behalf_of", Holder::new(on_behalf_of))?;
    Some(Caller { holder, principal, limited: true })
}

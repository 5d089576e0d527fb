//! Devices that a reserve asks for beside its targets, because they belong to a user that is one.

use crate::{limits::CallTokens, types::UserId};
use std::collections::HashSet;

/// The charges of a call for them: a token for each device, with the device's user.
#[derive(Default)]
pub(super) struct DeferredCharges(Vec<(CallTokens, Vec<UserId>)>);

impl DeferredCharges {
    pub(super) fn add(&mut self, tokens: CallTokens, users: Vec<UserId>) {
        self.0.push((tokens, users));
    }

    /// Puts back the tokens of users that look unknown to the caller: how many devices they have must not show.
    pub(super) fn hide(&mut self, hidden: &HashSet<UserId>) {
        for (_tokens, users) in &mut self.0 {
            users.retain(|user| !hidden.contains(user));
        }
    }

    /// Uses the tokens of the users that are not hidden.
    pub(super) fn used(self) {
        for (tokens, users) in self.0 {
            tokens.keep(users.len());
        }
    }

    /// Puts all tokens back: the call failed with the service, or its database.
    pub(super) fn put_back(self) {
        for (tokens, _users) in self.0 {
            tokens.put_back();
        }
    }
}

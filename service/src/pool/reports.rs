//! Reports of unusable packages that the service can check itself.

use super::{
    KeyPackagePool, PoolError,
    validation::{Rejection, RejectionReason},
    validator::Verdict,
};
use crate::{
    store::{HeldItem, ReleaseItem, RevokeSelector},
    types::KeyPackageRef,
};

impl KeyPackagePool {
    /// Validates the packages whose reports are not the caller's to make, as they are stored, and revokes those that an upload would
    /// refuse now. The caller's word does not matter.
    pub(super) async fn check_reported(&self, items: &[ReleaseItem]) -> Result<(), PoolError> {
        let is_to_check =
            |item: &&ReleaseItem| item.report.is_some_and(|report| !report.is_believed);
        let items: Vec<&HeldItem> =
            items.iter().filter(is_to_check).map(|item| &item.held).collect();
        if items.is_empty() {
            return Ok(());
        }
        for (item, bytes) in self.store().reported(&items).await? {
            let HeldItem { device, reference, .. } = items[item];
            let now = self.now();
            let validated =
                self.inner.validator.validate(&device.user, &device.device, vec![bytes], now);
            if validated.await?.iter().any(|verdict| is_broken(verdict, reference)) {
                let refs = Some(vec![reference.clone()]);
                let selector = RevokeSelector { refs, ..RevokeSelector::default() };
                self.store().revoke(&device.user, Some(&device.device), &selector, now).await?;
                self.inner.fence.note_acknowledged();
            }
        }
        Ok(())
    }
}

/// Whether a stored package is unusable. A lifetime that ends is no fault: nobody is handed the package then.
fn is_broken(verdict: &Verdict, reference: &KeyPackageRef) -> bool {
    match verdict {
        Ok(package) => package.reference != *reference,
        Err(Rejection { reason, .. }) => {
            !matches!(reason, RejectionReason::NotYetValid | RejectionReason::Expired)
        }
    }
}

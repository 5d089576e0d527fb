//! Giving packages back.

use keypool_proto::v1::{KeyPackageName, UnusableReason};
use tokio::runtime::Handle;

use super::{Holds, Reservation};
use crate::Result;

impl Reservation {
    /// Gives the unspent packages back. Who may be handed them again says the service's
    /// configuration: unless configured otherwise, anybody after a back end, and only the same holder
    /// after an inviter.
    ///
    /// # Errors
    ///
    /// [`Error::KeyPackageAlreadySpent`] if one turns out to be spent.
    ///
    /// [`Error::KeyPackageAlreadySpent`]: crate::Error::KeyPackageAlreadySpent
    pub async fn release(mut self) -> Result<()> {
        self.release_on_drop = false;
        self.holds().release(&self.client, UnusableReason::Unspecified).await
    }

    /// Gives these packages back.
    #[cfg(feature = "openmls")]
    pub(crate) async fn release_packages(self, names: Vec<KeyPackageName>) -> Result<()> {
        Holds::named(&self.request, names).release(&self.client, UnusableReason::Unspecified).await
    }

    /// Gives a package back and reports it as unusable. The device's status tells the report. Nobody
    /// gets the package again, unless it is a last resort, or the service can see that the report is
    /// wrong. With [`UnusableReason::Unspecified`] it is just given back.
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release).
    pub async fn release_unusable(
        &mut self,
        name: &KeyPackageName,
        reason: UnusableReason,
    ) -> Result<()> {
        let holds = Holds::named(&self.request, vec![name.clone()]);
        holds.release(&self.client, reason).await?;
        self.packages.retain(|package| package.name != *name);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.release_on_drop {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let holds = self.holds();
        let client = self.client.clone();
        runtime.spawn(async move {
            if let Err(error) = holds.release(&client, UnusableReason::Unspecified).await {
                tracing::debug!(%error, "a dropped reservation was not released; it will lapse");
            }
        });
    }
}

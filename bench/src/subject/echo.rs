//! Reserves that are answered by an echo.

use super::{Clients, Requests};
use crate::drive::{CallError, Caller};

/// Asks the echo, as [`super::Reserve`] asks keypool.
#[derive(Debug)]
pub(crate) struct Echo {
    /// A client of the echo.
    pub(crate) client: Clients,
    /// What to ask for.
    pub(crate) requests: Requests,
}

impl Caller for Echo {
    async fn call(&mut self) -> Result<Option<u64>, CallError> {
        let (request, _) = self.requests.reserve();
        self.client.reserve_key_packages(request).await?;
        Ok(Some(1))
    }
}

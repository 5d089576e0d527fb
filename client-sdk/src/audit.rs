//! An administrator's side: who was handed which package.

use keypool_proto::v1::{ListSpendLogRequest, ListSpendLogResponse, SpendLogFilter};

use crate::{Client, Result};

impl Client {
    /// One page of the spend log, newest first: at most `page_size` entries (1 to 1000, or 0 for
    /// 100), from the page that `page_token` names (empty: the first one). For callers with the role
    /// admin.
    ///
    /// # Errors
    ///
    /// [`Error::PermissionDenied`](crate::Error::PermissionDenied) for all others.
    pub async fn list_spend_log(
        &self,
        filter: SpendLogFilter,
        page_size: u32,
        page_token: impl Into<String>,
    ) -> Result<ListSpendLogResponse> {
        let page_token = page_token.into();
        let request = ListSpendLogRequest { filter: Some(filter), page_size, page_token };
        self.call(request).await
    }
}

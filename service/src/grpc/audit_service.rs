use super::{
    access::Access,
    decode::{self, Fields},
    encode,
    error::pool_status,
};
use crate::{auth::Method, pool::KeyPackagePool};
use keypool_proto::v1::{
    ListSpendLogRequest, ListSpendLogResponse, audit_service_server::AuditService as Api,
};
use tonic::{Request, Response, Status};

/// The AuditService of the API on a pool.
#[derive(Debug, Clone)]
pub struct AuditService {
    pool: KeyPackagePool,
}

impl AuditService {
    /// Serves a pool.
    #[must_use]
    pub fn new(pool: KeyPackagePool) -> Self {
        Self { pool }
    }
}

#[tonic::async_trait]
impl Api for AuditService {
    #[tracing::instrument(skip_all)]
    async fn list_spend_log(
        &self,
        request: Request<ListSpendLogRequest>,
    ) -> Result<Response<ListSpendLogResponse>, Status> {
        Access::of(&request, Method::ListSpendLog)?.spend_log()?;
        let query = Fields::read(|fields| decode::spend_log(fields, request.into_inner()))
            .map_err(|status| *status)?;
        let rows = self
            .pool
            .spend_log(&query.filter, query.after.as_ref(), query.limit)
            .await
            .map_err(pool_status)?;
        Ok(Response::new(encode::spend_log(rows, query.limit)))
    }
}

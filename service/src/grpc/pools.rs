use crate::{
    pool::{
        DeviceStatus, Extension, KeyPackagePool, PoolError, ReconcileReport, Release,
        ReserveReport, ReserveRequest, Selector, SpendRequest, UploadReport, Watch,
    },
    types::{DeviceId, KeyPackageRef, UserId},
};
use jiff::Timestamp;

/// What [`KeyPackageService`](super::KeyPackageService) asks of the pools that it serves: the calls of
/// [`KeyPackagePool`], which says what each promises. A simulation serves pools in memory.
#[allow(missing_docs, clippy::missing_errors_doc)] // the pool's own methods say it
pub trait Pools: Clone + Send + Sync + 'static {
    type Watch: Statuses;

    /// The service's time.
    fn now(&self) -> Timestamp;

    fn upload(
        &self,
        user: &UserId,
        device: &DeviceId,
        packages: Vec<Vec<u8>>,
    ) -> impl Future<Output = Result<UploadReport, PoolError>> + Send;

    fn status(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
    ) -> impl Future<Output = Result<Vec<DeviceStatus>, PoolError>> + Send;

    fn watch(
        &self,
        user: UserId,
        device: DeviceId,
    ) -> impl Future<Output = Result<Self::Watch, PoolError>> + Send;

    fn reconcile(
        &self,
        user: &UserId,
        device: &DeviceId,
        refs: Vec<KeyPackageRef>,
        as_of: Option<Timestamp>,
    ) -> impl Future<Output = Result<ReconcileReport, PoolError>> + Send;

    fn revoke(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
        selector: Selector,
    ) -> impl Future<Output = Result<usize, PoolError>> + Send;

    fn reserve(
        &self,
        request: ReserveRequest,
    ) -> impl Future<Output = Result<ReserveReport, PoolError>> + Send;

    fn spend(&self, request: &SpendRequest) -> impl Future<Output = Result<(), PoolError>> + Send;

    fn release(&self, request: &Release) -> impl Future<Output = Result<(), PoolError>> + Send;

    fn extend(
        &self,
        request: &Extension,
    ) -> impl Future<Output = Result<Timestamp, PoolError>> + Send;
}

/// The statuses of a watched pool, as [`Watch`] tells them.
pub trait Statuses: Send + 'static {
    /// The status now, the first time; then the status after the next change. None once the service stops.
    fn next(&mut self) -> impl Future<Output = Option<Result<DeviceStatus, PoolError>>> + Send;
}

impl Statuses for Watch {
    async fn next(&mut self) -> Option<Result<DeviceStatus, PoolError>> {
        Watch::next(self).await
    }
}

impl Pools for KeyPackagePool {
    type Watch = Watch;

    fn now(&self) -> Timestamp {
        KeyPackagePool::now(self)
    }

    async fn upload(
        &self,
        user: &UserId,
        device: &DeviceId,
        packages: Vec<Vec<u8>>,
    ) -> Result<UploadReport, PoolError> {
        KeyPackagePool::upload(self, user, device, packages).await
    }

    async fn status(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
    ) -> Result<Vec<DeviceStatus>, PoolError> {
        KeyPackagePool::status(self, user, device).await
    }

    async fn watch(&self, user: UserId, device: DeviceId) -> Result<Watch, PoolError> {
        KeyPackagePool::watch(self, user, device).await
    }

    async fn reconcile(
        &self,
        user: &UserId,
        device: &DeviceId,
        refs: Vec<KeyPackageRef>,
        as_of: Option<Timestamp>,
    ) -> Result<ReconcileReport, PoolError> {
        KeyPackagePool::reconcile(self, user, device, refs, as_of).await
    }

    async fn revoke(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
        selector: Selector,
    ) -> Result<usize, PoolError> {
        KeyPackagePool::revoke(self, user, device, selector).await
    }

    async fn reserve(&self, request: ReserveRequest) -> Result<ReserveReport, PoolError> {
        KeyPackagePool::reserve(self, request).await
    }

    async fn spend(&self, request: &SpendRequest) -> Result<(), PoolError> {
        KeyPackagePool::spend(self, request).await
    }

    async fn release(&self, request: &Release) -> Result<(), PoolError> {
        KeyPackagePool::release(self, request).await
    }

    async fn extend(&self, request: &Extension) -> Result<Timestamp, PoolError> {
        KeyPackagePool::extend(self, request).await
    }
}

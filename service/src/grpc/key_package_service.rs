use super::{
    access::Access,
    counts,
    decode::{self, Fields},
    encode,
    error::{pool_status, reserve_status},
    pools::{Pools, Statuses},
};
use crate::{
    auth::Method,
    limits::{InFlight, InFlightPermit},
    pool::{KeyPackagePool, Policy, PoolError},
    telemetry::catalogue::{WATCH_STATUSES, WATCH_STREAMS},
};
use keypool_proto::v1::{self, key_package_service_server::KeyPackageService as Api};
use std::pin::Pin;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use tracing::Span;

/// The KeyPackageService of the API on a pool.
#[derive(Debug, Clone)]
pub struct KeyPackageService<P = KeyPackagePool> {
    pool: P,
    policy: Policy,
    watches: InFlight,
}

impl<P: Pools> KeyPackageService<P> {
    /// Serves a pool. The policy says which spans requests may ask for, and `watches` how many each principal may have.
    #[must_use]
    pub fn new(pool: P, policy: Policy, watches: InFlight) -> Self {
        Self { pool, policy, watches }
    }
}

/// Reads a request, or says what is wrong with it.
fn read<T>(read: impl FnOnce(&mut Fields) -> Option<T>) -> Result<T, Status> {
    Fields::read(read).map_err(|status| *status)
}

#[tonic::async_trait]
impl<P: Pools> Api for KeyPackageService<P> {
    async fn upload_key_packages(
        &self,
        request: Request<v1::UploadKeyPackagesRequest>,
    ) -> Result<Response<v1::UploadKeyPackagesResponse>, Status> {
        let access = Access::of(&request, Method::UploadKeyPackages)?;
        let (user, device, packages) = read(|fields| decode::upload(fields, request.into_inner()))?;
        access.pool(&user, Some(&device))?;
        let report = self.pool.upload(&user, &device, packages).await.map_err(pool_status)?;
        counts::upload(&report);
        Ok(Response::new(encode::upload(report, self.pool.now())))
    }

    async fn get_pool_status(
        &self,
        request: Request<v1::GetPoolStatusRequest>,
    ) -> Result<Response<v1::GetPoolStatusResponse>, Status> {
        let access = Access::of(&request, Method::GetPoolStatus)?;
        let request = request.into_inner();
        let (user, device) = read(|fields| {
            decode::user_and_optional_device(fields, &request.user_id, &request.device_id)
        })?;
        access.pool(&user, device.as_ref())?;
        let devices = self.pool.status(&user, device.as_ref()).await.map_err(pool_status)?;
        Ok(Response::new(encode::statuses(devices)))
    }

    type WatchPoolStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchPoolResponse, Status>> + Send>>;

    async fn watch_pool(
        &self,
        request: Request<v1::WatchPoolRequest>,
    ) -> Result<Response<Self::WatchPoolStream>, Status> {
        let access = Access::of(&request, Method::WatchPool)?;
        let request = request.into_inner();
        let (user, device) =
            read(|fields| decode::user_and_device(fields, &request.user_id, &request.device_id))?;
        access.pool(&user, Some(&device))?;
        let permit = access.begin(&self.watches)?;
        let watch = self.pool.watch(user, device).await.map_err(pool_status)?;
        Ok(Response::new(Box::pin(statuses(watch, permit))))
    }

    async fn reconcile_pool(
        &self,
        request: Request<v1::ReconcilePoolRequest>,
    ) -> Result<Response<v1::ReconcilePoolResponse>, Status> {
        let access = Access::of(&request, Method::ReconcilePool)?;
        let (user, device, refs, as_of) =
            read(|fields| decode::reconcile(fields, request.get_ref()))?;
        access.pool(&user, Some(&device))?;
        let report = self.pool.reconcile(&user, &device, refs, as_of).await.map_err(pool_status)?;
        counts::revoked("reconcile", report.revoked.len());
        Ok(Response::new(encode::reconcile(report)))
    }

    async fn revoke_key_packages(
        &self,
        request: Request<v1::RevokeKeyPackagesRequest>,
    ) -> Result<Response<v1::RevokeKeyPackagesResponse>, Status> {
        let access = Access::of(&request, Method::RevokeKeyPackages)?;
        let (user, device, selector) = read(|fields| decode::revoke(fields, request.into_inner()))?;
        access.pool(&user, device.as_ref())?;
        let revoked =
            self.pool.revoke(&user, device.as_ref(), selector).await.map_err(pool_status)?;
        counts::revoked("revoke", revoked);
        let revoked_count = u32::try_from(revoked).unwrap_or(u32::MAX);
        Ok(Response::new(v1::RevokeKeyPackagesResponse { revoked_count }))
    }

    async fn reserve_key_packages(
        &self,
        request: Request<v1::ReserveKeyPackagesRequest>,
    ) -> Result<Response<v1::ReserveKeyPackagesResponse>, Status> {
        let access = Access::of(&request, Method::ReserveKeyPackages)?;
        let raw = request.get_ref();
        let request = read(|fields| decode::reserve(fields, raw, &access, &self.policy))?;
        Span::current().record("reservation_id", request.reservation.as_str());
        let report = self.pool.reserve(request).await;
        counts::reserve(&report);
        let report = report.map_err(|error| reserve_status(error, &raw.targets))?;
        Ok(Response::new(encode::reserve(report)))
    }

    async fn spend_reservation(
        &self,
        request: Request<v1::SpendReservationRequest>,
    ) -> Result<Response<v1::SpendReservationResponse>, Status> {
        let access = Access::of(&request, Method::SpendReservation)?;
        let request = read(|fields| decode::spend(fields, request.get_ref(), &access))?;
        Span::current().record("reservation_id", request.hold.reservation.as_str());
        let spent = self.pool.spend(&request).await;
        counts::holds("spend", request.hold.packages.len(), &spent);
        spent.map_err(pool_status)?;
        let outcomes = encode::done(&request.hold.packages);
        Ok(Response::new(v1::SpendReservationResponse { outcomes }))
    }

    async fn release_reservation(
        &self,
        request: Request<v1::ReleaseReservationRequest>,
    ) -> Result<Response<v1::ReleaseReservationResponse>, Status> {
        let access = Access::of(&request, Method::ReleaseReservation)?;
        let request = read(|fields| decode::release(fields, request.get_ref(), &access))?;
        Span::current().record("reservation_id", request.hold.reservation.as_str());
        let released = self.pool.release(&request).await;
        counts::holds("release", request.hold.packages.len(), &released);
        released.map_err(pool_status)?;
        let outcomes = encode::done(&request.hold.packages);
        Ok(Response::new(v1::ReleaseReservationResponse { outcomes }))
    }

    async fn extend_reservation(
        &self,
        request: Request<v1::ExtendReservationRequest>,
    ) -> Result<Response<v1::ExtendReservationResponse>, Status> {
        let access = Access::of(&request, Method::ExtendReservation)?;
        let request =
            read(|fields| decode::extend(fields, request.get_ref(), &access, &self.policy))?;
        Span::current().record("reservation_id", request.hold.reservation.as_str());
        let extended = self.pool.extend(&request).await;
        counts::holds("extend", request.hold.packages.len(), &extended);
        let expires_at = extended.map_err(pool_status)?;
        Ok(Response::new(v1::ExtendReservationResponse {
            expire_time: Some(encode::time(expires_at)),
            outcomes: encode::done(&request.hold.packages),
            service_time: Some(encode::time(self.pool.now())),
        }))
    }
}

/// The statuses of a watched pool, ended by UNAVAILABLE when the service stops.
fn statuses(
    watch: impl Statuses,
    permit: InFlightPermit,
) -> impl Stream<Item = Result<v1::WatchPoolResponse, Status>> + Send {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        WATCH_STREAMS.with([]).increment(1.0);
        follow(watch, sender).await;
        WATCH_STREAMS.with([]).decrement(1.0);
        drop(permit);
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

async fn follow(
    mut watch: impl Statuses,
    sender: tokio::sync::mpsc::Sender<Result<v1::WatchPoolResponse, Status>>,
) {
    loop {
        let next = tokio::select! {
            next = watch.next() => next,
            () = sender.closed() => return,
        };
        let (item, last) = match next {
            Some(Ok(status)) => {
                let pool_status = Some(encode::device_status(status));
                (Ok(v1::WatchPoolResponse { pool_status }), false)
            }
            Some(Err(error)) => (Err(pool_status(error)), true),
            None => (Err(pool_status(PoolError::ShuttingDown)), true),
        };
        if sender.send(item).await.is_err() || last {
            return;
        }
        WATCH_STATUSES.count([]);
    }
}

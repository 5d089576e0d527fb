//! A service that answers what a test tells it to.
#![allow(dead_code)] // Each test file uses its own part.

pub(crate) mod collector;
#[cfg(feature = "openmls")]
pub(crate) mod delivery;
#[cfg(feature = "openmls")]
pub(crate) mod device;
#[cfg(feature = "openmls")]
pub(crate) mod faulty;
#[cfg(feature = "openmls")]
pub(crate) mod keeper;
pub(crate) mod proxy;
pub(crate) mod relay;

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keypool_client::proto::v1::key_package_service_server::{
    KeyPackageService, KeyPackageServiceServer,
};
use keypool_client::proto::v1::*;
use keypool_client::{Client, ClientBuilder};
use prost::Message;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};
use tonic_types::pb;

/// The answers of one method, in order, and the requests that it got. Out of answers, it gives the
/// usual one; without that, it hangs.
pub(crate) struct Script<Req, Res> {
    answers: Mutex<VecDeque<Result<Res, Status>>>,
    usual: Mutex<Option<Result<Res, Status>>>,
    requests: Mutex<Vec<Req>>,
    headers: Mutex<Vec<MetadataMap>>,
    peers: Mutex<HashSet<SocketAddr>>,
    open: AtomicUsize,
}

impl<Req, Res> Default for Script<Req, Res> {
    fn default() -> Self {
        Self {
            answers: Mutex::default(),
            usual: Mutex::default(),
            requests: Mutex::default(),
            headers: Mutex::default(),
            peers: Mutex::default(),
            open: AtomicUsize::default(),
        }
    }
}

/// A request that is being answered, or whose caller has not left yet.
struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<Req: Clone, Res: Clone> Script<Req, Res> {
    pub(crate) fn answer(&self, answer: Result<Res, Status>) -> &Self {
        self.answers.lock().unwrap().push_back(answer);
        self
    }

    /// What to answer when there is nothing else to say.
    pub(crate) fn always(&self, answer: Result<Res, Status>) {
        *self.usual.lock().unwrap() = Some(answer);
    }

    /// Forgets the answers not given yet.
    pub(crate) fn clear(&self) {
        self.answers.lock().unwrap().clear();
    }

    pub(crate) fn requests(&self) -> Vec<Req> {
        self.requests.lock().unwrap().clone()
    }

    /// This header of each request, empty where there was none.
    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        let value = |headers: &MetadataMap| {
            headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        self.headers.lock().unwrap().iter().map(value).collect()
    }

    /// How many connections the requests came by.
    pub(crate) fn connections(&self) -> usize {
        self.peers.lock().unwrap().len()
    }

    /// How many requests wait for their answer.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    async fn play(&self, request: Request<Req>) -> Result<Response<Res>, Status> {
        self.open.fetch_add(1, Ordering::SeqCst);
        let _open = Open(&self.open);
        self.peers.lock().unwrap().extend(request.remote_addr());
        self.headers.lock().unwrap().push(request.metadata().clone());
        self.requests.lock().unwrap().push(request.into_inner());
        let answer = self.answers.lock().unwrap().pop_front();
        let answer = answer.or_else(|| self.usual.lock().unwrap().clone());
        match answer {
            Some(answer) => answer.map(Response::new),
            None => std::future::pending().await,
        }
    }
}

#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) upload: Script<UploadKeyPackagesRequest, UploadKeyPackagesResponse>,
    pub(crate) status: Script<GetPoolStatusRequest, GetPoolStatusResponse>,
    pub(crate) watch: Script<WatchPoolRequest, Vec<Result<WatchPoolResponse, Status>>>,
    pub(crate) reconcile: Script<ReconcilePoolRequest, ReconcilePoolResponse>,
    pub(crate) revoke: Script<RevokeKeyPackagesRequest, RevokeKeyPackagesResponse>,
    pub(crate) reserve: Script<ReserveKeyPackagesRequest, ReserveKeyPackagesResponse>,
    pub(crate) spend: Script<SpendReservationRequest, SpendReservationResponse>,
    pub(crate) release: Script<ReleaseReservationRequest, ReleaseReservationResponse>,
    pub(crate) extend: Script<ExtendReservationRequest, ExtendReservationResponse>,
}

impl Fake {
    /// Serves on a free port for as long as the test's runtime lives.
    pub(crate) async fn start() -> (Arc<Self>, ClientBuilder) {
        let (fake, endpoint) = Self::serve(Server::builder()).await;
        (fake, Client::builder(endpoint).timeout(Duration::from_secs(5)))
    }

    /// The same on a server of the test's own. Returns the endpoint.
    pub(crate) async fn serve(mut server: Server) -> (Arc<Self>, String) {
        let fake = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = KeyPackageServiceServer::from_arc(fake.clone());
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(server.add_service(service).serve_with_incoming(incoming));
        (fake, format!("http://{address}"))
    }
}

/// A fake that can be killed: its port then refuses, and its connections are gone.
pub(crate) struct Mortal {
    pub(crate) fake: Arc<Fake>,
    pub(crate) endpoint: String,
    runtime: Option<Runtime>,
}

impl Mortal {
    pub(crate) async fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
        let (fake, endpoint) = runtime.spawn(Fake::serve(Server::builder())).await.unwrap();
        Self { fake, endpoint, runtime: Some(runtime) }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An endpoint where nobody is, nor will be: the socket keeps its port, and does not listen.
pub(crate) fn nobody() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let endpoint = format!("http://{}", socket.local_addr().unwrap());
    (socket, endpoint)
}

/// A pool's status, which says nothing.
pub(crate) fn some_status() -> GetPoolStatusResponse {
    GetPoolStatusResponse { devices: vec![DevicePoolStatus::default()], ..Default::default() }
}

#[tonic::async_trait]
impl KeyPackageService for Fake {
    async fn upload_key_packages(
        &self,
        request: Request<UploadKeyPackagesRequest>,
    ) -> Result<Response<UploadKeyPackagesResponse>, Status> {
        let asked = request.get_ref().clone();
        let mut answer = self.upload.play(request).await?;
        fill_in(answer.get_mut().pool_status.as_mut(), &asked.user_id, &asked.device_id);
        #[cfg(feature = "openmls")]
        for (result, bytes) in answer.get_mut().results.iter_mut().zip(&asked.key_packages) {
            // Nor the refs of its packages.
            if result.key_package_ref.is_empty() {
                result.key_package_ref = device::hash_ref(bytes).unwrap_or_default();
            }
        }
        Ok(answer)
    }

    async fn get_pool_status(
        &self,
        request: Request<GetPoolStatusRequest>,
    ) -> Result<Response<GetPoolStatusResponse>, Status> {
        let asked = request.get_ref().clone();
        let mut answer = self.status.play(request).await?;
        fill_in(&mut answer.get_mut().devices, &asked.user_id, &asked.device_id);
        Ok(answer)
    }

    type WatchPoolStream =
        Pin<Box<dyn Stream<Item = Result<WatchPoolResponse, Status>> + Send + 'static>>;

    async fn watch_pool(
        &self,
        request: Request<WatchPoolRequest>,
    ) -> Result<Response<Self::WatchPoolStream>, Status> {
        let asked = request.get_ref().clone();
        let mut items = self.watch.play(request).await?.into_inner();
        let statuses = items.iter_mut().flatten().filter_map(|item| item.pool_status.as_mut());
        fill_in(statuses, &asked.user_id, &asked.device_id);
        Ok(Response::new(tokio_stream::iter(items).boxed_stream()))
    }

    async fn reconcile_pool(
        &self,
        request: Request<ReconcilePoolRequest>,
    ) -> Result<Response<ReconcilePoolResponse>, Status> {
        let asked = request.get_ref().clone();
        let mut answer = self.reconcile.play(request).await?;
        fill_in(answer.get_mut().pool_status.as_mut(), &asked.user_id, &asked.device_id);
        Ok(answer)
    }

    async fn revoke_key_packages(
        &self,
        request: Request<RevokeKeyPackagesRequest>,
    ) -> Result<Response<RevokeKeyPackagesResponse>, Status> {
        self.revoke.play(request).await
    }

    async fn reserve_key_packages(
        &self,
        request: Request<ReserveKeyPackagesRequest>,
    ) -> Result<Response<ReserveKeyPackagesResponse>, Status> {
        let asked = request.get_ref().clone();
        let mut answer = self.reserve.play(request).await?;
        // A test needn't know the id and the group.
        if let Some(reservation) = &mut answer.get_mut().reservation
            && reservation.reservation_id.is_empty()
        {
            reservation.reservation_id = asked.reservation_id;
            reservation.group_id = asked.group_id;
        }
        Ok(answer)
    }

    async fn spend_reservation(
        &self,
        request: Request<SpendReservationRequest>,
    ) -> Result<Response<SpendReservationResponse>, Status> {
        let asked = request.get_ref().packages.clone();
        let mut answer = self.spend.play(request).await?;
        all_done(&mut answer.get_mut().outcomes, asked);
        Ok(answer)
    }

    async fn release_reservation(
        &self,
        request: Request<ReleaseReservationRequest>,
    ) -> Result<Response<ReleaseReservationResponse>, Status> {
        let asked = request.get_ref().packages.clone();
        let mut answer = self.release.play(request).await?;
        let names = asked.into_iter().filter_map(|released| released.name);
        all_done(&mut answer.get_mut().outcomes, names);
        Ok(answer)
    }

    async fn extend_reservation(
        &self,
        request: Request<ExtendReservationRequest>,
    ) -> Result<Response<ExtendReservationResponse>, Status> {
        let asked = request.get_ref().packages.clone();
        let mut answer = self.extend.play(request).await?;
        all_done(&mut answer.get_mut().outcomes, asked);
        Ok(answer)
    }
}

/// The details of a failure of these packages of a call, by their positions, for these reasons.
pub(crate) fn failures(failed: &[(u32, i32)]) -> prost_types::Any {
    let failed = failed.iter().map(|&(index, reason)| KeyPackageFailure { index, reason });
    detail(
        "keypool.v1.KeyPackageErrorDetails",
        &KeyPackageErrorDetails { failures: failed.collect() },
    )
}

/// A test needn't know the device of a status.
fn fill_in<'a>(
    statuses: impl IntoIterator<Item = &'a mut DevicePoolStatus>,
    user_id: &str,
    device_id: &str,
) {
    for status in statuses.into_iter().filter(|status| status.user_id.is_empty()) {
        (status.user_id, status.device_id) = (user_id.to_owned(), device_id.to_owned());
    }
}

/// A test needn't list outcomes that are all the same.
fn all_done(
    outcomes: &mut Vec<KeyPackageOutcome>,
    names: impl IntoIterator<Item = KeyPackageName>,
) {
    if outcomes.is_empty() {
        outcomes.extend(names.into_iter().map(outcome));
    }
}

/// What became of a package with which all went well.
pub(crate) fn outcome(name: KeyPackageName) -> KeyPackageOutcome {
    KeyPackageOutcome { name: Some(name) }
}

trait Boxed: Stream + Sized + Send + 'static {
    fn boxed_stream(self) -> Pin<Box<dyn Stream<Item = Self::Item> + Send>> {
        // A watch never ends by itself.
        Box::pin(self.chain(tokio_stream::pending()))
    }
}

impl<S: Stream + Send + 'static> Boxed for S where S::Item: Send {}

/// A status as the service makes it.
pub(crate) fn failure(code: Code, reason: ErrorReason, details: Vec<prost_types::Any>) -> Status {
    let info = pb::ErrorInfo {
        reason: reason.as_reason().into(),
        domain: keypool_client::proto::ERROR_DOMAIN.into(),
        metadata: Default::default(),
    };
    let mut details = details;
    details.push(detail("google.rpc.ErrorInfo", &info));
    let status = pb::Status { code: code as i32, message: "words".into(), details };
    Status::with_details(code, "words", status.encode_to_vec().into())
}

pub(crate) fn detail(name: &str, message: &impl Message) -> prost_types::Any {
    let type_url = format!("type.googleapis.com/{name}");
    prost_types::Any { type_url, value: message.encode_to_vec() }
}

pub(crate) fn retry_info(delay: Duration) -> prost_types::Any {
    let retry_delay = Some(delay.try_into().unwrap());
    detail("google.rpc.RetryInfo", &pb::RetryInfo { retry_delay })
}

pub(crate) fn unavailable() -> Status {
    failure(Code::Unavailable, ErrorReason::DatabaseUnavailable, vec![])
}

pub(crate) fn name(user_id: &str, device_id: &str, key_package_ref: &[u8]) -> KeyPackageName {
    KeyPackageName {
        user_id: user_id.into(),
        device_id: device_id.into(),
        key_package_ref: key_package_ref.to_vec(),
    }
}

pub(crate) fn package(name: KeyPackageName, bytes: Vec<u8>) -> ReservedKeyPackage {
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    ReservedKeyPackage {
        name: Some(name),
        key_package: bytes,
        cipher_suite: 1,
        not_after_time: time(4_000_000_000),
        hold_expire_time: time(3_000_000_000),
        last_resort: false,
        spent: false,
    }
}

pub(crate) fn missing(user_id: &str, device_id: &str) -> MissingTarget {
    let (user_id, device_id) = (user_id.into(), device_id.into());
    let reason = ErrorReason::PoolExhausted.into();
    MissingTarget { user_id, device_id, reason, message: "none left".into(), ..Default::default() }
}

pub(crate) fn reserved(packages: Vec<ReservedKeyPackage>) -> ReserveKeyPackagesResponse {
    let reservation = Reservation { packages, ..Default::default() };
    ReserveKeyPackagesResponse { reservation: Some(reservation), missing: Vec::new() }
}

/// Waits until it holds, for things that happen in the background.
pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    eventually_async(async || holds()).await;
}

/// The same for what has to be asked for.
pub(crate) async fn eventually_async(mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came true");
}

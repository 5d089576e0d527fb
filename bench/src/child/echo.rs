//! A bare tonic server that answers every reserve with the same bytes: the ceiling of gRPC on this machine.

use super::Child;
use crate::error::{Error, Outcome};
use keypool_proto::v1::{
    self, ReserveKeyPackagesRequest, ReserveKeyPackagesResponse,
    key_package_service_server::{KeyPackageService, KeyPackageServiceServer},
};
use keypool_service::testing::process::leash;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use prost::Message;
use std::io::{self, Write};
use tokio::net::TcpListener;
use tokio_stream::Empty;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// Starts an echo that gives this answer, of keypool's making, so that both have the same size.
pub(crate) async fn start(answer: &ReserveKeyPackagesResponse) -> Result<Child, Error> {
    let answer = percent_encode(&answer.encode_to_vec(), NON_ALPHANUMERIC).to_string();
    Child::start("the echo", |command| {
        command.args(["serve-echo", "--answer"]).arg(answer);
    })
    .await
}

/// Is the echo.
pub(crate) async fn serve(answer: &str) -> Result<Outcome, Error> {
    leash(|_| {});
    let bytes: Vec<u8> = percent_decode_str(answer).collect();
    let answer = ReserveKeyPackagesResponse::decode(bytes.as_slice())
        .map_err(|error| Error::Usage(format!("--answer: {error}")))?;
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Error::io("listen"))?;
    let address = listener.local_addr().map_err(Error::io("listen"))?;
    let mut out = io::stdout();
    writeln!(out, "echo listening on {address}")
        .and_then(|()| out.flush())
        .map_err(Error::io("write"))?;
    Server::builder()
        .add_service(KeyPackageServiceServer::new(Echo { answer }))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
        .map_err(Error::Echo)?;
    Ok(Outcome::Kept)
}

/// The service that knows one answer.
#[derive(Debug)]
struct Echo {
    answer: ReserveKeyPackagesResponse,
}

/// Implements the service: the one method that an echo answers, the others by an error.
macro_rules! impl_echo {
    ($($other:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl KeyPackageService for Echo {
            type WatchPoolStream = Empty<Result<v1::WatchPoolResponse, Status>>;

            async fn reserve_key_packages(
                &self,
                _: Request<ReserveKeyPackagesRequest>,
            ) -> Result<Response<ReserveKeyPackagesResponse>, Status> {
                Ok(Response::new(self.answer.clone()))
            }

            async fn watch_pool(
                &self,
                _: Request<v1::WatchPoolRequest>,
            ) -> Result<Response<Self::WatchPoolStream>, Status> {
                Err(Status::unimplemented("an echo of reserves"))
            }

            $(
                async fn $other(
                    &self,
                    _: Request<v1::$request>,
                ) -> Result<Response<v1::$response>, Status> {
                    Err(Status::unimplemented("an echo of reserves"))
                }
            )*
        }
    };
}

impl_echo! {
    upload_key_packages(UploadKeyPackagesRequest) -> UploadKeyPackagesResponse;
    get_pool_status(GetPoolStatusRequest) -> GetPoolStatusResponse;
    reconcile_pool(ReconcilePoolRequest) -> ReconcilePoolResponse;
    revoke_key_packages(RevokeKeyPackagesRequest) -> RevokeKeyPackagesResponse;
    spend_reservation(SpendReservationRequest) -> SpendReservationResponse;
    release_reservation(ReleaseReservationRequest) -> ReleaseReservationResponse;
    extend_reservation(ExtendReservationRequest) -> ExtendReservationResponse;
}

//! The methods of the service: how each is sent, and how it is repeated.

use std::future::Future;

use keypool_proto::v1::audit_service_client::AuditServiceClient;
use keypool_proto::v1::key_package_service_client::KeyPackageServiceClient;
use keypool_proto::v1::*;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::retry::Repeated;

/// A hundred packages of 64 KiB, and some air.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// A method, known by its request.
pub(crate) trait Method: Clone + Send + Sync + 'static {
    type Answer: Send;

    /// Its name in the protocol, such as `ReserveKeyPackages`.
    const NAME: &'static str;
    const REPEATED: Repeated;

    /// The reservation that the call is about.
    fn reservation_id(&self) -> Option<&str> {
        None
    }

    fn send(
        channel: Channel,
        request: Request<Self>,
    ) -> impl Future<Output = Result<Response<Self::Answer>, Status>> + Send;
}

macro_rules! methods {
    ($($name:literal: $client:ident.$method:ident($request:ty) -> $answer:ty, $repeated:ident $(, $id:ident)?;)*) => {
        $(impl Method for $request {
            type Answer = $answer;
            const NAME: &'static str = $name;
            const REPEATED: Repeated = Repeated::$repeated;

            $(fn reservation_id(&self) -> Option<&str> {
                Some(&self.$id)
            })?

            async fn send(
                channel: Channel,
                request: Request<Self>,
            ) -> Result<Response<Self::Answer>, Status> {
                let client = $client::new(channel);
                client.max_decoding_message_size(MAX_MESSAGE_BYTES).$method(request).await
            }
        })*

        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];
    };
}

// All of them may be repeated word for word with the same effect. Only a watch has no end in time.
#[rustfmt::skip]
methods! {
    "UploadKeyPackages":  KeyPackageServiceClient.upload_key_packages(UploadKeyPackagesRequest)   -> UploadKeyPackagesResponse,    WithinDeadline;
    "GetPoolStatus":      KeyPackageServiceClient.get_pool_status(GetPoolStatusRequest)           -> GetPoolStatusResponse,        WithinDeadline;
    "WatchPool":          KeyPackageServiceClient.watch_pool(WatchPoolRequest)                    -> Streaming<WatchPoolResponse>, Endlessly;
    "ReconcilePool":      KeyPackageServiceClient.reconcile_pool(ReconcilePoolRequest)            -> ReconcilePoolResponse,        WithinDeadline;
    "RevokeKeyPackages":  KeyPackageServiceClient.revoke_key_packages(RevokeKeyPackagesRequest)   -> RevokeKeyPackagesResponse,    WithinDeadline;
    "ReserveKeyPackages": KeyPackageServiceClient.reserve_key_packages(ReserveKeyPackagesRequest) -> ReserveKeyPackagesResponse,   WithinDeadline, reservation_id;
    "SpendReservation":   KeyPackageServiceClient.spend_reservation(SpendReservationRequest)      -> SpendReservationResponse,     WithinDeadline, reservation_id;
    "ReleaseReservation": KeyPackageServiceClient.release_reservation(ReleaseReservationRequest)  -> ReleaseReservationResponse,   WithinDeadline, reservation_id;
    "ExtendReservation":  KeyPackageServiceClient.extend_reservation(ExtendReservationRequest)    -> ExtendReservationResponse,    WithinDeadline, reservation_id;
    "ListSpendLog":       AuditServiceClient.list_spend_log(ListSpendLogRequest)                  -> ListSpendLogResponse,         WithinDeadline;
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn every_method_of_the_api_has_its_row() {
        let set = prost_types::FileDescriptorSet::decode(keypool_proto::FILE_DESCRIPTOR_SET);
        let files = set.unwrap().file;
        let services = files.iter().filter(|file| file.package() == "keypool.v1");
        let methods = services.flat_map(|file| &file.service).flat_map(|service| &service.method);
        let mut served: Vec<_> = methods.map(|method| method.name()).collect();
        let mut known = NAMES.to_vec();
        served.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, served);
    }
}

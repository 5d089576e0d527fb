//! Connections to services.

use crate::error::Error;
use keypool_proto::v1::key_package_service_client::KeyPackageServiceClient;
use tonic::transport::{Channel, Endpoint};

/// A client of a service over one of its connections.
pub(crate) type Clients = KeyPackageServiceClient<Channel>;

/// A hundred packages of the largest size, and what is around them.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// HTTP/2 connections that calls are spread over.
#[derive(Debug, Clone)]
pub(crate) struct Channels(Vec<Channel>);

impl Channels {
    /// Connects to each endpoint as often as was asked for, but not more often than there are calls in flight.
    pub(crate) async fn connect(
        endpoints: &[&str],
        connections: u32,
        in_flight: u32,
    ) -> Result<Self, Error> {
        let mut channels = Vec::new();
        for _ in 0..connections.min(in_flight).max(1) {
            for endpoint in endpoints {
                let failed = |source| Error::Connect { endpoint: (*endpoint).to_owned(), source };
                let channel = Endpoint::from_shared((*endpoint).to_owned()).map_err(failed)?;
                channels.push(channel.tcp_nodelay(true).connect().await.map_err(failed)?);
            }
        }
        Ok(Self(channels))
    }

    /// The client of a caller, by the caller's number.
    pub(crate) fn client(&self, caller: usize) -> Clients {
        let channel = self.0[caller % self.0.len()].clone();
        KeyPackageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}

//! stand-in
#![allow(missing_docs)]
use std::{net::SocketAddr, sync::Arc};
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    pub certificate: Option<Arc<ClientCertificate>>,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    pub uris: Vec<String>,
    pub dns_names: Vec<String>,
}

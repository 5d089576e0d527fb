//! A network that fails on demand: proxies between clients and service, and between service and database.

mod link;
mod pipe;

pub(crate) use link::{Link, Upstream};

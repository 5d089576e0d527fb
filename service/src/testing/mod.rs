//! Support for tests, those of applications included: a private PostgreSQL with a database for each test, real
//! KeyPackages, an issuer of tokens, and a whole service with a clock that can be moved. Start with [`server::TestServer`].

pub mod database;
pub(crate) mod forge;
pub mod hostile;
pub mod issuer;
pub mod model;
pub mod packages;
pub mod process;
pub mod requests;
pub mod server;

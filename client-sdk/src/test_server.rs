//! A keypool for an application's own tests.

use std::time::Duration;

use keypool_service::testing::server::TestServer as Server;

use crate::{Client, ClientBuilder};

/// A real keypool on a real PostgreSQL database of its own, for an application's tests. Feature
/// `test-server`, for `[dev-dependencies]`.
///
/// ```no_run
/// # #[tokio::main]
/// # async fn main() -> keypool_client::Result<()> {
/// let server = keypool_client::TestServer::start().await;
/// let client = server.client();
/// assert!(client.pool_status("bob", "phone").await.is_err());
/// # Ok(())
/// # }
/// ```
///
/// PostgreSQL 15 or newer must be installed; it need not run. It is started once for each test process,
/// in a temporary folder, and stopped when the process ends. Every server has a database of its own,
/// so tests may run side by side.
#[derive(Debug)]
pub struct TestServer(Server);

impl TestServer {
    /// Starts a keypool with the default configuration on an empty database.
    ///
    /// # Panics
    ///
    /// If it can't, as when PostgreSQL is not installed: a test has no use for the error.
    pub async fn start() -> Self {
        Self(Server::start().await)
    }

    /// One more keypool on the same database, with the same clock.
    ///
    /// # Panics
    ///
    /// If it can't be started.
    pub async fn replica(&self) -> Self {
        Self(self.0.replica().await)
    }

    /// Where it serves, as in `http://127.0.0.1:1234`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    /// A builder for clients of it.
    #[must_use]
    pub fn client_builder(&self) -> ClientBuilder {
        Client::builder(self.endpoint())
    }

    /// A client of it. Must be called within a Tokio runtime.
    ///
    /// # Panics
    ///
    /// Never, as its endpoint is well-formed.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_builder().connect_lazy().expect("a test server has a well-formed endpoint")
    }

    /// Moves its clock forward: holds lapse, packages expire. OpenMLS goes by the machine's clock.
    pub fn advance(&self, by: Duration) {
        let by = by.try_into().unwrap_or(jiff::SignedDuration::MAX);
        self.0.clock().advance(by);
    }

    /// Drains and stops it. One that is dropped just ends with the test.
    ///
    /// # Panics
    ///
    /// If it doesn't stop as it should.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

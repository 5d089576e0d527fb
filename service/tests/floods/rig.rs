use super::support::{
    Client,
    calls::eventually,
    process::{DataDir, Keypool},
};
use keypool_proto::v1::{
    GetPoolStatusRequest, key_package_service_client::KeyPackageServiceClient,
};
use keypool_service::testing::issuer::TestIssuer;
use std::{fs, net::SocketAddr, time::Duration};
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::{Request, Status, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// How long an answer may take under an attack: far longer than it does.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most memory that the service may take under any attack, in KiB.
const MOST: u64 = 300 * 1024;

/// A service that wants tokens, in a process of its own.
pub struct Rig {
    pub keypool: Keypool,
    pub issuer: TestIssuer,
    _data: DataDir,
    _config: TempDir,
}

impl Rig {
    /// With these settings beside those of tokens.
    pub async fn start(settings: &str) -> Self {
        let (issuer, data, folder) =
            (TestIssuer::new(), DataDir::new(), tempfile::tempdir().unwrap());
        let file = folder.path().join("keypool.toml");
        // The honest call asks for a pool that is not there.
        let rates = "[limits.rates]\nrefused = { burst = 1, every = \"0s\" }";
        fs::write(&file, format!("{}\n{settings}\n{rates}\n", issuer.toml())).unwrap();
        let directory = data.path();
        let flags = ["--config", file.to_str().unwrap(), "--data-dir", directory.to_str().unwrap()];
        let keypool = Keypool::start(&flags).await;
        let rig = Self { keypool, issuer, _data: data, _config: folder };
        eventually("it is ready", async || rig.is_healthy().await).await;
        rig
    }

    pub fn address(&self) -> SocketAddr {
        self.keypool.endpoint().strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// What is in memory now, in KiB.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that was, in KiB.
    fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.keypool.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    async fn is_healthy(&self) -> bool {
        let Ok(channel) = self.endpoint().connect().await else { return false };
        let check = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        check.is_ok_and(|answer| answer.into_inner().status == 1)
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(self.keypool.endpoint().to_owned()).unwrap()
    }

    /// A connection for calls of a user's application, on a connection of its own.
    pub async fn client(&self) -> Result<Client, tonic::transport::Error> {
        Ok(KeyPackageServiceClient::new(self.endpoint().connect().await?))
    }

    /// A request of a user's application.
    pub fn as_user<T>(&self, user: &str, message: T) -> Request<T> {
        let token = self.issuer.user(user, Some("phone"), &["device", "inviter"]);
        super::support::by(&token, message)
    }

    /// Asks for the status of an honest user's pool.
    pub async fn honest_call(&self) -> Result<(), Status> {
        let mut client = self.client().await.map_err(|error| Status::from_error(error.into()))?;
        let request = GetPoolStatusRequest { user_id: "honest".into(), device_id: "phone".into() };
        match client.get_pool_status(self.as_user("honest", request)).await {
            Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Checks that under an attack others are served, and that the service takes no more memory than it may.
    pub async fn holds_out(&self, attack: &str) {
        for _ in 0..5 {
            assert!(timeout(PATIENCE, self.is_healthy()).await.unwrap(), "{attack}: health");
            timeout(PATIENCE, self.honest_call()).await.unwrap().unwrap();
        }
        let peak = self.peak();
        println!("{attack}: at most {} MiB", peak / 1024);
        assert!(peak < MOST, "{attack}: {peak} KiB");
    }

    /// Checks that the memory that an attack took is given back.
    pub async fn recovers(&self, before: u64) {
        eventually("memory is given back", async || self.memory() < before + 64 * 1024).await;
        println!("{} MiB before, {} MiB afterwards", before / 1024, self.memory() / 1024);
    }
}

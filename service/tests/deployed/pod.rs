//! A pod on this machine: its files are in a folder, and its ports are free ones.

use super::{
    certificates::write_certificates,
    manifests::{Container, Manifests},
    support::http,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    net::SocketAddr,
    path::Path,
    process::{ExitStatus, Stdio},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// Where the chart mounts files.
const MOUNTED: &str = "/etc/keypool/";

/// What pods of an example mount, and their Secrets.
pub struct Node {
    manifests: Manifests,
    files: TempDir,
    /// The value of each Secret with a URL of the database.
    secret: Box<dyn Fn(&str) -> String>,
}

/// A service that runs. Killed when dropped.
pub struct Pod {
    container: Container,
    child: Child,
    pub grpc: SocketAddr,
    admin: SocketAddr,
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Node {
    /// Puts the files of an example where its pods look for them.
    pub fn new(manifests: Manifests, secret: impl Fn(&str) -> String + 'static) -> Self {
        let files = tempfile::tempdir().unwrap();
        write_certificates(&files.path().join("tls"));
        let toml = manifests.configurations()[0].replace(MOUNTED, &mounted(files.path()));
        let folder = files.path().join("config");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("keypool.toml"), toml).unwrap();
        Self { manifests, files, secret: Box::new(secret) }
    }

    /// Changes a line of the configuration.
    pub fn with_setting(self, line: &str, other: &str) -> Self {
        let file = self.files.path().join("config/keypool.toml");
        let toml = std::fs::read_to_string(&file).unwrap();
        assert!(toml.contains(line), "{toml}");
        std::fs::write(file, toml.replace(line, other)).unwrap();
        self
    }

    /// The certificate of who signed the service's.
    pub fn ca(&self) -> String {
        std::fs::read_to_string(self.files.path().join("tls/ca.crt")).unwrap()
    }

    /// The command of a container, as a runtime would start it.
    fn command(&self, container: &Container) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keypool"));
        let mounted = mounted(self.files.path());
        for argument in container.arguments() {
            command.arg(argument.replace(MOUNTED, &mounted));
        }
        let environment = container.environment(&self.secret).into_iter();
        let environment = environment.map(|(name, value)| (name, value.replace(MOUNTED, &mounted)));
        command.env_clear().envs(environment);
        command.kill_on_drop(true);
        command
    }

    /// Runs the migration as its Job does.
    pub async fn migrate(&self) -> ExitStatus {
        self.command(&self.manifests.container("Job")).status().await.unwrap()
    }

    /// Starts a replica as its Deployment does, but on other ports: those of the chart may be taken here.
    pub async fn start(&self) -> Pod {
        let container = self.manifests.container("Deployment");
        let mut child = self
            .command(&container)
            .env("KEYPOOL_LISTEN", "0.0.0.0:0")
            .env("KEYPOOL_ADMIN_LISTEN", "0.0.0.0:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = async || stdout.next_line().await.unwrap().expect("keypool starts");
        let grpc = next().await;
        let admin = next().await;
        let grpc = grpc.strip_prefix("keypool listening on ").unwrap();
        let admin = admin.split("http://").nth(1).unwrap().split('/').next().unwrap();
        let reach = |address: &str| {
            let address: SocketAddr = address.parse().unwrap();
            SocketAddr::from(([127, 0, 0, 1], address.port()))
        };
        Pod { grpc: reach(grpc), admin: reach(admin), container, child, _stdout: stdout }
    }
}

impl Pod {
    /// Whether a probe succeeds, called as the kubelet does.
    pub async fn probe(&self, name: &str) -> bool {
        let status = http::get(self.admin, self.container.probe(name)).await.status;
        (200..400).contains(&status)
    }

    /// Ends it as the kubelet does, and returns how it ended.
    pub async fn terminate(mut self) -> ExitStatus {
        let pid = self.child.id().unwrap().cast_signed();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        self.child.wait().await.unwrap()
    }
}

fn mounted(folder: &Path) -> String {
    format!("{}/", folder.display())
}

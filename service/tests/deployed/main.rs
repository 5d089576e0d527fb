//! What the Helm chart makes, run with the real program: its command lines, its configuration, its probes.

#![allow(unreachable_pub, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod manifests;
mod pod;

use keypool_service::testing::database::TestDatabase;
use manifests::Manifests;
use pod::{Node, Pod};
use std::process::Stdio;
use support::{
    calls::eventually,
    locks::{Ended, connect},
};
use tokio::process::Command;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// The role that a production service runs as.
const ROLE: &str = "deployed_runtime";

#[tokio::test]
async fn every_rendered_configuration_is_one() {
    let mut count = 0;
    for (example, manifests) in Manifests::all() {
        for configuration in manifests.configurations() {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), configuration).unwrap();
            let output = Command::new(env!("CARGO_BIN_EXE_keypool"))
                .args(["check-config", "--config", file.path().to_str().unwrap()])
                .env_clear()
                .stdout(Stdio::null())
                .output()
                .await
                .unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{example}: {error}\n{configuration}");
            count += 1;
        }
    }
    assert!(count >= 8, "{count}");
}

#[tokio::test]
async fn the_chart_s_ports_are_those_of_its_configuration() {
    for (example, manifests) in Manifests::all() {
        let container = manifests.container("Deployment");
        for (port, setting) in [("grpc", "listen"), ("admin", "admin_listen")] {
            let (begin, end) = (format!("{setting} = "), format!(":{}\"", container.port(port)));
            let is_it = |line: &str| line.starts_with(&begin) && line.ends_with(&end);
            let configuration = manifests.configurations()[0];
            assert!(configuration.lines().any(is_it), "{example}: {setting} is not {end}");
        }
    }
}

/// What a kubelet asks for, in its order.
async fn probe(pod: &Pod) {
    for name in ["startupProbe", "livenessProbe", "readinessProbe"] {
        eventually(name, async || pod.probe(name).await).await;
    }
}

async fn is_serving(channel: Channel) -> bool {
    let mut health = HealthClient::new(channel);
    let answer = health.check(HealthCheckRequest { service: String::new() }).await.unwrap();
    answer.into_inner().status() == ServingStatus::Serving
}

#[tokio::test]
async fn a_small_installation_migrates_serves_and_ends() {
    let database = TestDatabase::create().await;
    let url = database.url();
    let node = Node::new(Manifests::of("small"), move |_| url.clone());
    assert!(node.migrate().await.success());
    let pod = node.start().await;
    probe(&pod).await;
    let channel = Endpoint::from_shared(format!("http://{}", pod.grpc)).unwrap();
    assert!(is_serving(channel.connect().await.unwrap()).await);
    assert!(pod.terminate().await.success());
}

#[tokio::test]
async fn production_has_two_roles_and_tls() {
    let database = TestDatabase::create().await;
    // The example's role is the owner of the test's database.
    let owner = connect(&database.config()).await;
    let create = format!("CREATE ROLE {ROLE} LOGIN PASSWORD 'secret'");
    owner.batch_execute(&create).await.unwrap();
    let (of_owner, of_runtime) = (database.url(), database.url_as(ROLE, "secret"));
    let secret = move |name: &str| match name {
        "keypool-database" => of_runtime.clone(),
        "keypool-database-owner" => of_owner.clone(),
        other => panic!("no Secret {other}"),
    };
    let node = Node::new(Manifests::of("production"), secret)
        .with_setting("runtime_role = \"keypool\"", &format!("runtime_role = \"{ROLE}\""));
    assert!(node.migrate().await.success());
    let pod = node.start().await;
    probe(&pod).await;

    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(node.ca()));
    let tls = tls.domain_name("localhost");
    let channel = Endpoint::from_shared(format!("https://{}", pod.grpc)).unwrap();
    let channel = channel.tls_config(tls).unwrap().connect().await.unwrap();
    assert!(is_serving(channel).await);

    // Liveness asks for nothing that a restart would not mend.
    let name = database.config().get_dbname().unwrap().to_owned();
    let admin = connect(database.config().dbname("postgres")).await;
    admin.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await.unwrap();
    let elsewhere = database.config().dbname("postgres").clone();
    let ended = Ended::sessions(&elsewhere, &format!("datname = '{name}'")).await;
    eventually("it is not ready", async || !pod.probe("readinessProbe").await).await;
    drop(ended);
    assert!(pod.probe("livenessProbe").await);
    admin.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await.unwrap();
    eventually("it is ready again", async || pod.probe("readinessProbe").await).await;
    assert!(pod.terminate().await.success());
}

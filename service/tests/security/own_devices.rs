//! A device that is new joins all groups of its user at once: a user is limited less on its own devices than on others'.

use super::support::{Client, by, client, device, reason, reserve_request, upload_request};
use jiff::SignedDuration;
use keypool_proto::v1::{ErrorReason, ReserveKeyPackagesRequest};
use keypool_service::{
    config::Config,
    limits::Rate,
    testing::{issuer::TestIssuer, packages::PackageMaker, server::TestServer},
};
use tonic::Status;
use tonic_types::StatusExt;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

struct Rig {
    server: TestServer,
    issuer: TestIssuer,
    client: Client,
}

impl Rig {
    /// A user's tablet with 64 packages, as many as a pool has by default.
    async fn start(configure: impl FnOnce(&mut Config)) -> Self {
        let issuer = TestIssuer::new();
        let server = TestServer::start_with(|config| {
            config.auth = issuer.config();
            configure(config);
        })
        .await;
        let mut client = client(&server).await;
        let tablet = issuer.user("alice", Some("tablet"), &["device"]);
        let packages = PackageMaker::new("alice", "tablet").make_many(64);
        let upload = by(&tablet, upload_request("alice", "tablet", packages));
        client.upload_key_packages(upload).await.unwrap();
        Self { server, issuer, client }
    }

    async fn add_to_group(&mut self, inviter: &str, group: usize) -> Result<(), Status> {
        let token = self.issuer.user(inviter, Some("phone"), &["inviter"]);
        let request = ReserveKeyPackagesRequest {
            group_id: format!("group {group}").into_bytes(),
            ..reserve_request(&format!("{inviter} {group}"), vec![device("alice", "tablet")])
        };
        self.client.reserve_key_packages(by(&token, request)).await.map(drop)
    }

    async fn refused(&mut self, inviter: &str, group: usize) -> String {
        let status = self.add_to_group(inviter, group).await.unwrap_err();
        assert_eq!(reason(&status), ErrorReason::RateLimited, "{status:?}");
        status.get_error_details().error_info().unwrap().metadata["limit"].clone()
    }
}

#[tokio::test]
async fn a_linked_device_joins_sixty_groups_at_once() {
    let mut rig = Rig::start(|config| {
        // What its own user takes is not charged to the device: others still get one.
        config.limits.rates.device = Rate::new(1, MINUTE);
    })
    .await;
    for group in 0..60 {
        rig.add_to_group("alice", group).await.unwrap_or_else(|error| panic!("{group}: {error}"));
    }
    rig.add_to_group("bob", 60).await.unwrap();
    assert_eq!(rig.refused("carol", 61).await, "device");
}

#[tokio::test]
async fn the_same_is_not_allowed_to_another_user() {
    let mut rig = Rig::start(|_| {}).await;
    // "Alice" and "alice" are two users.
    for stranger in ["bob", "Alice"] {
        for group in 0..8 {
            rig.add_to_group(stranger, group).await.unwrap();
        }
        assert_eq!(rig.refused(stranger, 8).await, "holds");
    }
}

#[tokio::test]
async fn its_own_devices_have_limits_of_their_own() {
    let mut rig = Rig::start(|config| {
        config.limits.rates.own_devices = Rate::new(4, MINUTE);
        config.limits.rates.holder_and_device = Rate::new(1, MINUTE);
    })
    .await;
    for group in 0..4 {
        rig.add_to_group("alice", group).await.unwrap();
    }
    assert_eq!(rig.refused("alice", 4).await, "own_devices");
    rig.server.clock().advance(MINUTE);
    rig.add_to_group("alice", 4).await.unwrap();
}

#[tokio::test]
async fn live_holds_on_its_own_devices_are_capped() {
    let mut rig = Rig::start(|config| config.limits.holds_of_own_devices = 5).await;
    for group in 0..5 {
        rig.add_to_group("alice", group).await.unwrap();
    }
    assert_eq!(rig.refused("alice", 5).await, "holds");
}

//! Who has never held a package learns nothing of it, and can't stand in another's way.

use super::support::{
    Client,
    calls::{extend_request, named, packages, release_request},
    client, device, package_details, reason, reserve_request, spend_request, upload_request,
};
use keypool_proto::v1::{ErrorReason, KeyPackageName, ReservedKeyPackage, UnusableReason};
use keypool_service::testing::{issuer::TestIssuer, packages::PackageMaker, server::TestServer};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

struct Stage {
    _server: TestServer,
    issuer: TestIssuer,
    client: Client,
}

impl Stage {
    async fn new() -> Self {
        let issuer = TestIssuer::new();
        let server = TestServer::start_with(|config| config.auth = issuer.config()).await;
        let client = client(&server).await;
        let stage = Self { _server: server, issuer, client };
        let upload =
            upload_request("carol", "phone", PackageMaker::new("carol", "phone").make_many(16));
        stage.client.clone().upload_key_packages(stage.by("chat", upload)).await.unwrap();
        stage
    }

    fn by<T>(&self, caller: &str, message: T) -> Request<T> {
        let token = match caller {
            "chat" => self.issuer.service("chat", &["backend"]),
            user => self.issuer.user(user, Some("phone"), &["inviter"]),
        };
        super::support::by(&token, message)
    }

    async fn reserve(&self, by: &str, reservation: &str) -> Result<ReservedKeyPackage, Status> {
        let request = reserve_request(reservation, vec![device("carol", "phone")]);
        let answer = self.client.clone().reserve_key_packages(self.by(by, request)).await?;
        Ok(packages(answer.get_ref())[0].clone())
    }

    async fn spend(
        &self,
        by: &str,
        reservation: &str,
        names: Vec<KeyPackageName>,
    ) -> Result<(), Status> {
        let request = spend_request(reservation, names);
        self.client.clone().spend_reservation(self.by(by, request)).await.map(drop)
    }

    /// All that a stranger can find out about a package, under a reservation id.
    async fn poll(&self, by: &str, reservation: &str, names: &[KeyPackageName]) -> Vec<String> {
        let spend = self.spend(by, reservation, names.to_vec()).await.unwrap_err();
        let request = extend_request(reservation, names.to_vec());
        let extend = self.client.clone().extend_reservation(self.by(by, request)).await;
        let extend = extend.unwrap_err();
        for status in [&spend, &extend] {
            assert_eq!(status.code(), Code::NotFound, "{status:?}");
            let failures = package_details(status).failures;
            assert_eq!(failures[0].reason(), ErrorReason::ReservationNotFound);
        }
        let request = release_request(reservation, names.to_vec(), UnusableReason::Unspecified);
        let release = self.client.clone().release_reservation(self.by(by, request)).await;
        vec![told(&spend), told(&extend), format!("{:?}", release.unwrap().get_ref())]
    }
}

/// All that a refusal says.
fn told(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    let metadata: std::collections::BTreeMap<_, _> = info.metadata.iter().collect();
    let reason = &info.reason;
    format!("{} {reason} {metadata:?} {:?}", status.message(), package_details(status))
}

#[tokio::test]
async fn a_stranger_is_told_the_same_whatever_became_of_a_package() {
    let stage = Stage::new().await;
    let package = stage.reserve("alice", "r").await.unwrap();
    let polls = async || {
        let mut told = Vec::new();
        for (by, reservation) in [("mallory", "r"), ("mallory", "x"), ("chat", "r"), ("chat", "x")]
        {
            told.push(stage.poll(by, reservation, &named(&package)).await);
        }
        told
    };
    let held = polls().await;
    stage.spend("alice", "r", named(&package)).await.unwrap();
    assert_eq!(polls().await, held, "spent");

    let package = stage.reserve("alice", "s").await.unwrap();
    let polls = async || stage.poll("mallory", "s", &named(&package)).await;
    let held = polls().await;
    let release = release_request("s", named(&package), UnusableReason::Unspecified);
    stage.client.clone().release_reservation(stage.by("alice", release)).await.unwrap();
    assert_eq!(polls().await, held, "given back");
    let all = super::support::calls::revoke_request(
        "carol",
        "phone",
        keypool_proto::v1::revoke_key_packages_request::Selector::All(
            keypool_proto::v1::AllKeyPackages {},
        ),
    );
    stage.client.clone().revoke_key_packages(stage.by("chat", all)).await.unwrap();
    assert_eq!(polls().await, held, "revoked");

    // Of one that has never been the same is said.
    let mut never = named(&package);
    never[0].key_package_ref = vec![7; 32];
    let hex = |name: &KeyPackageName| {
        name.key_package_ref.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let told = stage.poll("mallory", "s", &never).await.concat();
    assert!(told.contains(&hex(&never[0])));
}

#[tokio::test]
async fn who_held_a_package_is_told_what_became_of_it() {
    let stage = Stage::new().await;
    let package = stage.reserve("alice", "r").await.unwrap();
    stage.spend("alice", "r", named(&package)).await.unwrap();
    // Again, as after a lost answer.
    stage.spend("alice", "r", named(&package)).await.unwrap();
}

#[tokio::test]
async fn nobody_occupies_the_reservation_ids_of_others() {
    let stage = Stage::new().await;
    for n in 0..4 {
        let mine = stage.reserve("mallory", &format!("r{n}")).await.unwrap();
        let other = reserve_request(&format!("r{n}"), vec![device("carol", "phone")]);
        let other =
            keypool_proto::v1::ReserveKeyPackagesRequest { group_id: b"another".into(), ..other };
        let answer = stage.client.clone().reserve_key_packages(stage.by("alice", other)).await;
        let hers = packages(answer.unwrap().get_ref())[0].clone();
        assert_ne!(mine.name, hers.name);
        let spend = keypool_proto::v1::SpendReservationRequest {
            group_id: b"another".into(),
            ..spend_request(&format!("r{n}"), named(&hers))
        };
        stage.client.clone().spend_reservation(stage.by("alice", spend)).await.unwrap();
        stage.spend("mallory", &format!("r{n}"), named(&mine)).await.unwrap();
    }
    // For a group of one's own, an id is used once.
    let again = stage.reserve("alice", "r0").await.unwrap_err();
    assert_eq!(reason(&again), ErrorReason::ReservationIdReused);
}

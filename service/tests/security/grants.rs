//! A deployer says whom an inviter may add: by a claim of its token, asked before anything is looked up.

use super::support::{
    Client, by,
    calls::{extend_request, named, packages, release_request},
    client, device, reason, reserve_request, spend_request, upload_request, user,
};
use keypool_proto::v1::{
    ErrorReason, ReserveKeyPackagesRequest, ReservedKeyPackage, Target, UnusableReason,
};
use keypool_service::testing::{issuer::TestIssuer, packages::PackageMaker, server::TestServer};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const CLAIM: &str = "keypool_grant";

/// Devices that have packages.
const DEVICES: [(&str, &str); 7] = [
    ("alice", "laptop"),
    ("bob", "phone"),
    ("carol", "phone"),
    ("carol", "laptop"),
    ("team-a:dave", "phone"),
    ("team-b:erin", "phone"),
    ("/x", "b"),
];

struct Rig {
    _server: TestServer,
    issuer: TestIssuer,
    client: Client,
    reserves: usize,
}

impl Rig {
    async fn start() -> Self {
        let issuer = TestIssuer::new();
        let server = TestServer::start_with(|config| {
            config.auth = issuer.config();
            config.auth.tokens.as_mut().unwrap().grant_claim = Some(CLAIM.to_owned());
        })
        .await;
        let mut client = client(&server).await;
        let backend = issuer.service("chat", &["backend"]);
        for (user, device) in DEVICES {
            let packages = PackageMaker::new(user, device).make_many(16);
            let upload = by(&backend, upload_request(user, device, packages));
            client.upload_key_packages(upload).await.unwrap();
        }
        Self { _server: server, issuer, client, reserves: 0 }
    }

    /// A token of alice's, which may invite, with a grant or without one.
    fn alice(&self, grant: Option<Value>) -> String {
        let mut claims = TestIssuer::claims("alice", &["device", "inviter"]);
        claims["device_id"] = "phone".into();
        if let Some(grant) = grant {
            claims[CLAIM] = grant;
        }
        self.issuer.token(claims)
    }

    async fn request(
        &mut self,
        token: &str,
        request: ReserveKeyPackagesRequest,
    ) -> Result<Vec<ReservedKeyPackage>, Status> {
        let response = self.client.reserve_key_packages(by(token, request)).await?;
        Ok(packages(&response.into_inner()).to_vec())
    }

    /// Reserves under a reservation of its own.
    async fn reserve(
        &mut self,
        token: &str,
        targets: Vec<Target>,
    ) -> Result<Vec<ReservedKeyPackage>, Status> {
        self.reserves += 1;
        let request = reserve_request(&format!("r{}", self.reserves), targets);
        self.request(token, request).await
    }
}

/// The field that a refusal names.
fn refused_field(refused: Result<Vec<ReservedKeyPackage>, Status>) -> String {
    let status = refused.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert_eq!(reason(&status), ErrorReason::PermissionDenied);
    let field = status.get_error_details().error_info().unwrap().metadata["field"].clone();
    assert!(status.message().contains(&field), "{status:?}");
    field
}

#[tokio::test]
async fn an_inviter_reserves_of_those_whom_its_token_names() {
    let mut rig = Rig::start().await;
    let alice = rig.alice(Some(json!({
        "users": ["bob"],
        "devices": [{ "user": "carol", "device": "phone" }, { "user": "/x", "device": "b" }],
        "prefixes": ["team-a:"],
    })));
    for target in [
        user("bob"),
        device("bob", "phone"),
        device("carol", "phone"),
        device("/x", "b"),
        user("team-a:dave"),
        device("team-a:dave", "phone"),
    ] {
        let reserved = rig.reserve(&alice, vec![target.clone()]).await;
        assert_eq!(reserved.unwrap_or_else(|error| panic!("{target:?} {error}")).len(), 1);
    }
    for target in [
        user("carol"), // only her phone
        device("carol", "laptop"),
        device("bob2", "phone"),
        user("Bob"),
        user("b\u{43e}b"), // with a Cyrillic o
        user("bob\u{200b}"),
        user(" bob"),
        user("team-a"),
        user("Team-a:dave"),
        user("team-b:erin"),
        device("x", "b"),
        device("/x/b", "b"),
        user("/x"),
        user("nobody"),
    ] {
        let refused = rig.reserve(&alice, vec![target]).await;
        assert_eq!(refused_field(refused), "targets[0]");
    }
}

#[tokio::test]
async fn one_target_too_many_refuses_the_call_and_tells_nothing_about_the_others() {
    let mut rig = Rig::start().await;
    let alice = rig.alice(Some(json!({ "users": ["bob", "nobody"] })));
    // The same answer, whether the user exists or not.
    let mut answers = Vec::new();
    for stranger in ["carol", "unknown"] {
        let targets = vec![user("bob"), user("nobody"), user(stranger), user("team-a:dave")];
        let refused = rig.reserve(&alice, targets).await;
        answers.push(refused.as_ref().unwrap_err().details().to_vec());
        assert_eq!(refused_field(refused), "targets[2]");
    }
    assert_eq!(answers[0], answers[1]);
    // Nothing was held: all of bob's packages can be had.
    let backend = rig.issuer.service("chat", &["backend"]);
    for _ in 0..16 {
        rig.reserve(&backend, vec![user("bob")]).await.unwrap();
    }
    // It weighs more than what is wrong with the request.
    let wrong = ReserveKeyPackagesRequest {
        group_id: Vec::new(),
        ..reserve_request("wrong", vec![user("carol")])
    };
    assert_eq!(refused_field(rig.request(&alice, wrong).await), "targets[0]");
}

#[tokio::test]
async fn without_a_grant_only_its_own_devices() {
    let mut rig = Rig::start().await;
    for grant in [None, Some(json!({})), Some(json!({ "users": [] }))] {
        let alice = rig.alice(grant);
        assert_eq!(rig.reserve(&alice, vec![user("alice")]).await.unwrap().len(), 1);
        assert_eq!(rig.reserve(&alice, vec![device("alice", "laptop")]).await.unwrap().len(), 1);
        let both = vec![user("alice"), user("bob")];
        assert_eq!(refused_field(rig.reserve(&alice, both).await), "targets[1]");
    }
}

#[tokio::test]
async fn a_grant_that_can_not_be_read_makes_no_caller() {
    let mut rig = Rig::start().await;
    for (grant, said) in [
        (json!(null), "must be an object"),
        (json!("bob"), "must be an object"),
        (json!({ "devices": ["carol/phone"] }), "must be an object"),
        (json!({ "users": ["bob"], "groups": ["all"] }), "must be an object"),
        (json!({ "prefixes": [""] }), "\"prefixes\" that must not be empty"),
        (json!({ "users": ["bob", ""] }), "\"users\" that must not be empty"),
        (json!({ "users": vec!["bob"; 129] }), "at most 128 entries, has 129"),
    ] {
        let alice = rig.alice(Some(grant));
        let refused = rig.reserve(&alice, vec![user("alice")]).await.unwrap_err();
        assert_eq!(reason(&refused), ErrorReason::Unauthenticated, "{refused:?}");
        assert!(refused.message().contains(said), "{}", refused.message());
    }
}

#[tokio::test]
async fn what_was_reserved_is_finished_without_the_grant() {
    let mut rig = Rig::start().await;
    let granted = rig.alice(Some(json!({ "users": ["bob"] })));
    let renewed = rig.alice(None);
    let reserve = |reservation| reserve_request(reservation, vec![user("bob")]);
    let [spent, released] = ["spent", "released"];
    let to_spend = rig.request(&granted, reserve(spent)).await.unwrap();
    let to_release = rig.request(&granted, reserve(released)).await.unwrap();

    assert_eq!(refused_field(rig.request(&renewed, reserve(spent)).await), "targets[0]");
    let extend = by(&renewed, extend_request(spent, named(&to_spend[0])));
    rig.client.extend_reservation(extend).await.unwrap();
    let spend = by(&renewed, spend_request(spent, named(&to_spend[0])));
    rig.client.spend_reservation(spend).await.unwrap();
    let release = release_request(released, named(&to_release[0]), UnusableReason::Unspecified);
    rig.client.release_reservation(by(&renewed, release)).await.unwrap();
}

#[tokio::test]
async fn a_back_end_needs_no_grant_for_whomever_it_acts() {
    let mut rig = Rig::start().await;
    let backend = rig.issuer.service("chat", &["backend"]);
    for (n, holder) in ["", "alice"].into_iter().enumerate() {
        let request = ReserveKeyPackagesRequest {
            on_behalf_of: holder.to_owned(),
            ..reserve_request(&format!("backend {n}"), vec![user("team-b:erin")])
        };
        assert_eq!(rig.request(&backend, request).await.unwrap().len(), 1);
    }
    // The inviter itself gains nothing by naming itself.
    let alice = rig.alice(None);
    let request = ReserveKeyPackagesRequest {
        on_behalf_of: "alice".to_owned(),
        ..reserve_request("of alice", vec![user("bob")])
    };
    assert_eq!(refused_field(rig.request(&alice, request).await), "targets[0]");
}

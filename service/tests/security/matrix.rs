//! The policy over gRPC: every method of the API, called in every role, about the caller's own and about another's.

use super::support::{raw, reason};
use keypool_proto::v1::{self, ErrorReason, revoke_key_packages_request::Selector};
use keypool_service::testing::{issuer::TestIssuer, server::TestServer};
use prost::Message;
use tonic::{Code, transport::Channel};

/// What may be called: about the caller's own, about another device of the same user, about another user.
type Cells = [bool; 3];

const NONE: Cells = [false, false, false];
const OWN: Cells = [true, false, false];
const USER: Cells = [true, true, false];
const ALL: Cells = [true, true, true];

/// The policy as it was meant. In the order of the roles: device, inviter, backend, admin. A call about reservations is
/// about a user and no device; so is a release of an admin, which names nobody.
fn meant(method: &str) -> [Cells; 4] {
    match method {
        "UploadKeyPackages" | "GetPoolStatus" | "WatchPool" | "ReconcilePool" => {
            [OWN, NONE, ALL, NONE]
        }
        "RevokeKeyPackages" => [OWN, NONE, ALL, ALL],
        "ReserveKeyPackages" | "SpendReservation" | "ExtendReservation" => [NONE, USER, ALL, NONE],
        "ReleaseReservation" => [NONE, USER, ALL, USER],
        "ListSpendLog" => [NONE, NONE, NONE, ALL],
        new => panic!("{new} is new: say here who may call it"),
    }
}

const ROLES: [&str; 4] = ["device", "inviter", "backend", "admin"];

/// Whom a call is about: the user and device of a pool, and the user that reservations are made for.
const SUBJECTS: [(&str, &str, &str); 3] =
    [("alice", "phone", ""), ("alice", "laptop", ""), ("bob", "phone", "bob")];

/// A valid request of a method about somebody.
pub(super) fn request(method: &str, (user, device, holder): (&str, &str, &str)) -> Vec<u8> {
    let (user_id, device_id) = (user.to_owned(), device.to_owned());
    let on_behalf_of = holder.to_owned();
    let (reservation_id, group_id) = (format!("reservation of {holder}"), b"group".to_vec());
    let name = v1::KeyPackageName {
        user_id: "carol".into(),
        device_id: "phone".into(),
        key_package_ref: vec![7; 32],
    };
    match method {
        "UploadKeyPackages" => {
            v1::UploadKeyPackagesRequest { user_id, device_id, key_packages: vec![vec![0]] }
                .encode_to_vec()
        }
        "GetPoolStatus" => v1::GetPoolStatusRequest { user_id, device_id }.encode_to_vec(),
        "WatchPool" => v1::WatchPoolRequest { user_id, device_id }.encode_to_vec(),
        "ReconcilePool" => {
            v1::ReconcilePoolRequest { user_id, device_id, key_package_refs: vec![], as_of: None }
                .encode_to_vec()
        }
        "RevokeKeyPackages" => {
            let selector = Some(Selector::All(v1::AllKeyPackages {}));
            v1::RevokeKeyPackagesRequest { user_id, device_id, selector }.encode_to_vec()
        }
        "ReserveKeyPackages" => v1::ReserveKeyPackagesRequest {
            reservation_id,
            group_id,
            targets: vec![v1::Target { user_id: "carol".into(), ..v1::Target::default() }],
            on_behalf_of,
            ..v1::ReserveKeyPackagesRequest::default()
        }
        .encode_to_vec(),
        "SpendReservation" => {
            let packages = vec![name];
            v1::SpendReservationRequest { reservation_id, group_id, packages, on_behalf_of }
                .encode_to_vec()
        }
        "ReleaseReservation" => {
            let package = v1::ReleasedKeyPackage { name: Some(name), unusable_reason: 0 };
            let packages = vec![package];
            v1::ReleaseReservationRequest { reservation_id, packages, on_behalf_of }.encode_to_vec()
        }
        "ExtendReservation" => {
            let packages = vec![name];
            v1::ExtendReservationRequest { reservation_id, packages, ttl: None, on_behalf_of }
                .encode_to_vec()
        }
        "ListSpendLog" => v1::ListSpendLogRequest::default().encode_to_vec(),
        new => panic!("{new} is new: say here how it is called"),
    }
}

/// Every method of the API, as `Service/Method`.
pub(super) fn methods() -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(keypool_proto::FILE_DESCRIPTOR_SET).unwrap();
    let services = set.file.iter().filter(|file| file.package() == "keypool.v1");
    let services = services.flat_map(|file| &file.service);
    let names = |service: &prost_types::ServiceDescriptorProto| {
        let name = service.name().to_owned();
        service
            .method
            .iter()
            .map(move |method| format!("{name}/{}", method.name()))
            .collect::<Vec<_>>()
    };
    services.flat_map(names).collect()
}

async fn server() -> (TestServer, TestIssuer, Channel) {
    let issuer = TestIssuer::new();
    let server = TestServer::start_with(|config| config.auth = issuer.config()).await;
    let channel = Channel::from_shared(server.endpoint()).unwrap().connect().await.unwrap();
    (server, issuer, channel)
}

fn token(issuer: &TestIssuer, role: &str) -> String {
    match role {
        "device" | "inviter" => issuer.user("alice", Some("phone"), &[role]),
        _ => issuer.service("chat", &[role]),
    }
}

#[tokio::test]
async fn every_method_in_every_role_about_everybody() {
    let (_server, issuer, channel) = server().await;
    let mut wrong = Vec::new();
    let mut cells = 0;
    for method in methods() {
        let (_, name) = method.split_once('/').unwrap();
        for (role, meant) in ROLES.into_iter().zip(meant(name)) {
            let token = token(&issuer, role);
            for (subject, meant) in SUBJECTS.into_iter().zip(meant) {
                let answer =
                    raw::call_as(&channel, Some(&token), &method, request(name, subject)).await;
                let allowed = match &answer {
                    Err(status) if status.code() == Code::PermissionDenied => {
                        assert_eq!(reason(status), ErrorReason::PermissionDenied, "{status:?}");
                        false
                    }
                    Err(status) => {
                        let expected = [Code::NotFound, Code::FailedPrecondition];
                        assert!(expected.contains(&status.code()), "{method}: {status:?}");
                        true
                    }
                    Ok(_) => true,
                };
                if allowed != meant {
                    wrong.push(format!("{method} as {role} about {subject:?}: allowed {allowed}"));
                }
                cells += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(cells, 10 * 4 * 3);
}

#[tokio::test]
async fn nobody_calls_anything_without_credentials() {
    let (_server, issuer, channel) = server().await;
    let other_issuer = TestIssuer::new();
    let forged = other_issuer.service("chat", &["backend"]);
    let no_role = issuer.service("chat", &[]);
    for method in methods() {
        let (_, name) = method.split_once('/').unwrap();
        for token in [None, Some(forged.as_str()), Some("x"), Some(""), Some(no_role.as_str())] {
            let request = request(name, SUBJECTS[0]);
            let refused = raw::call_as(&channel, token, &method, request).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated, "{method}: {refused:?}");
            assert_eq!(reason(&refused), ErrorReason::Unauthenticated);
        }
    }
}

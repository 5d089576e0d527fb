//! Every kind of call has a rate, and calls that are refused have a lower one.

use super::{
    charges::limit,
    holders::inviter,
    matrix::{methods, request},
    support::{
        Client, by,
        calls::{
            eventually, extend, extend_request, named, packages, release, release_request,
            reserve_one,
        },
        client, device, fill,
        locks::connect,
        names, package_details, pool, raw, reason, reserve_request, spend, spend_request,
        upload_request, user,
    },
};
use jiff::SignedDuration;
use keypool_proto::v1::{
    ErrorReason, GetPoolStatusRequest, KeyPackageName, ReserveKeyPackagesRequest, UnusableReason,
};
use keypool_service::{
    config::Config,
    limits::{Rate, Rates},
    testing::{issuer::TestIssuer, packages::PackageMaker, server::TestServer},
};
use prost::Message;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

async fn started(configure: impl FnOnce(&mut Config)) -> (TestServer, TestIssuer, Channel) {
    let issuer = TestIssuer::new();
    let server = TestServer::start_with(|config| {
        config.auth = issuer.config();
        configure(config);
    })
    .await;
    let channel = Channel::from_shared(server.endpoint()).unwrap().connect().await.unwrap();
    (server, issuer, channel)
}

/// Waits as long as a refusal says.
fn wait_out(server: &TestServer, refused: &Status) {
    let wait = refused.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    server.clock().advance(SignedDuration::try_from(wait).unwrap());
}

#[tokio::test]
async fn a_stranger_polls_a_ref_that_it_once_saw_only_so_often() {
    let (_server, issuer, channel) =
        started(|config| config.limits.rates.refused.every = DAY).await;
    let mut client = Client::new(channel);
    let backend = issuer.service("chat", &["backend"]);
    let package = PackageMaker::new("carol", "phone").make();
    client
        .upload_key_packages(by(&backend, upload_request("carol", "phone", vec![package])))
        .await
        .unwrap();
    let [alice, mallory] = ["alice", "mallory"].map(|user| inviter(&issuer, user));
    let reserve = by(&alice, reserve_request("r", vec![device("carol", "phone")]));
    let held =
        named(&packages(&client.reserve_key_packages(reserve).await.unwrap().into_inner())[0]);
    let mut answered = 0;
    for _ in 0..1000 {
        let poll = by(&mallory, spend_request("mine", held.clone()));
        let refused = client.spend_reservation(poll).await.unwrap_err();
        if reason(&refused) == ErrorReason::RateLimited {
            assert_eq!(limit(&refused), "refused");
        } else {
            answered += 1;
        }
    }
    assert_eq!(answered, 100);
    client.spend_reservation(by(&alice, spend_request("r", held))).await.unwrap();
}

#[tokio::test]
async fn many_refs_in_one_call_and_for_many_users_are_as_many_polls() {
    let server = TestServer::start_with(|config| {
        config.limits.rates.hold_changes.every = DAY;
    })
    .await;
    let mut client = client(&server).await;
    let refs = (0..50).map(|n| KeyPackageName {
        user_id: "carol".into(),
        device_id: "phone".into(),
        key_package_ref: vec![n; 32],
    });
    let refs: Vec<_> = refs.collect();
    for user in ["mallory", "trudy"] {
        let mut answered = 0;
        for _ in 0..40 {
            let mut poll = spend_request("mine", refs.clone());
            poll.on_behalf_of = user.into();
            let refused = client.spend_reservation(poll).await.unwrap_err();
            if reason(&refused) == ErrorReason::RateLimited {
                assert_eq!(limit(&refused), "hold_changes");
            } else {
                answered += package_details(&refused).failures.len();
            }
        }
        assert_eq!(answered, 200);
    }
}

/// A call that is refused, and by which code.
type Refused = (&'static str, &'static str, Vec<u8>, Code);

/// Calls of an inviter that are refused for what they ask.
fn refused_calls() -> Vec<Refused> {
    let status = |user: &str, device: &str| {
        GetPoolStatusRequest { user_id: user.into(), device_id: device.into() }.encode_to_vec()
    };
    let reserve = |reservation: &str, target: &str, on_behalf_of: &str| {
        let request = reserve_request(reservation, vec![device(target, "phone")]);
        ReserveKeyPackagesRequest { on_behalf_of: on_behalf_of.into(), ..request }.encode_to_vec()
    };
    let name = KeyPackageName {
        user_id: "carol".into(),
        device_id: "phone".into(),
        key_package_ref: vec![7; 32],
    };
    let name = || vec![name.clone()];
    vec![
        (
            "another's pool",
            "KeyPackageService/GetPoolStatus",
            status("carol", "phone"),
            Code::PermissionDenied,
        ),
        ("a method of other roles", "AuditService/ListSpendLog", vec![], Code::PermissionDenied),
        (
            "for another",
            "KeyPackageService/ReserveKeyPackages",
            reserve("r", "carol", "bob"),
            Code::PermissionDenied,
        ),
        (
            "an invalid field",
            "KeyPackageService/ReserveKeyPackages",
            reserve("", "carol", ""),
            Code::InvalidArgument,
        ),
        (
            "no protobuf",
            "KeyPackageService/SpendReservation",
            vec![0xff; 20],
            Code::InvalidArgument,
        ),
        (
            "too many bytes",
            "KeyPackageService/GetPoolStatus",
            vec![0; 100_000],
            Code::InvalidArgument,
        ),
        (
            "an unknown user",
            "KeyPackageService/ReserveKeyPackages",
            reserve("r", "ghost", ""),
            Code::NotFound,
        ),
        (
            "a package that is not held",
            "KeyPackageService/SpendReservation",
            spend_request("r", name()).encode_to_vec(),
            Code::NotFound,
        ),
        (
            "the same, extended",
            "KeyPackageService/ExtendReservation",
            extend_request("r", name()).encode_to_vec(),
            Code::NotFound,
        ),
        ("no method", "KeyPackageService/Nonsense", vec![], Code::Unimplemented),
    ]
}

#[tokio::test]
async fn calls_that_are_refused_are_counted_whatever_is_wrong_with_them() {
    let (server, issuer, channel) =
        started(|config| config.limits.rates.refused = Rate::new(2, MINUTE)).await;
    for (number, (what, method, request, code)) in refused_calls().into_iter().enumerate() {
        let user = format!("alice-{number}");
        let token = issuer.user(&user, Some("phone"), &["device", "inviter"]);
        let honest = async || {
            let package = PackageMaker::new(&user, "phone").make();
            let upload = upload_request(&user, "phone", vec![package]).encode_to_vec();
            raw::call_as(&channel, Some(&token), "KeyPackageService/UploadKeyPackages", upload)
                .await
        };
        for _ in 0..2 {
            honest().await.unwrap();
            let refused = raw::call_as(&channel, Some(&token), method, request.clone()).await;
            assert_eq!(refused.unwrap_err().code(), code, "{what}");
        }
        let refused = raw::call_as(&channel, Some(&token), method, request.clone()).await;
        assert_eq!(limit(&refused.unwrap_err()), "refused", "{what}");
        let refused = honest().await.unwrap_err();
        assert_eq!(limit(&refused), "refused", "{what}");
        wait_out(&server, &refused);
        honest().await.unwrap();
        honest().await.unwrap();
    }
    let backend = issuer.service("chat", &["backend"]);
    for _ in 0..10 {
        let refused = spend_request("r", vec![]).encode_to_vec();
        let refused =
            raw::call_as(&channel, Some(&backend), "KeyPackageService/SpendReservation", refused)
                .await;
        assert_eq!(
            refused.unwrap_err().code(),
            Code::InvalidArgument,
            "a back end stands for many"
        );
    }
}

#[tokio::test]
async fn a_device_that_is_refused_too_often_keeps_no_other_device_of_its_user_from_calling() {
    let (_server, issuer, channel) =
        started(|config| config.limits.rates.refused = Rate::new(2, DAY)).await;
    let mut client = Client::new(channel);
    let mut status = async |caller: &str, of: &str| {
        let token = issuer.user("carol", Some(caller), &["device"]);
        let request = GetPoolStatusRequest { user_id: "carol".into(), device_id: of.into() };
        client.get_pool_status(by(&token, request)).await.map(drop).map_err(|it| reason(&it))
    };
    for _ in 0..2 {
        status("phone", "laptop").await.unwrap_err();
    }
    assert_eq!(status("phone", "phone").await, Err(ErrorReason::RateLimited));
    assert_eq!(status("laptop", "laptop").await, Err(ErrorReason::UnknownUser));
}

#[tokio::test]
async fn every_method_counts_as_a_call_of_its_principal() {
    let (server, issuer, channel) =
        started(|config| config.limits.rates.principal = Rate::new(2, MINUTE)).await;
    for method in methods() {
        let (_, name) = method.split_once('/').unwrap();
        let user = format!("user of {name}");
        let token = match name {
            "ListSpendLog" => issuer.service("audit", &["admin"]),
            _ => issuer.user(&user, Some("phone"), &["device", "inviter"]),
        };
        let call =
            || raw::call_as(&channel, Some(&token), &method, request(name, (&user, "phone", "")));
        for _ in 0..2 {
            if let Err(status) = call().await {
                assert_ne!(status.code(), Code::ResourceExhausted, "{method}: {status:?}");
            }
        }
        let refused = call().await.unwrap_err();
        assert_eq!(limit(&refused), "principal", "{method}");
        wait_out(&server, &refused);
        if let Err(status) = call().await {
            assert_ne!(status.code(), Code::ResourceExhausted, "{method}: {status:?}");
        }
        let backend = issuer.service("chat", &["backend"]);
        for _ in 0..4 {
            let call = raw::call_as(
                &channel,
                Some(&backend),
                &method,
                request(name, (&user, "phone", "")),
            );
            assert!(call.await.err().is_none_or(|status| status.code() != Code::ResourceExhausted));
        }
    }
}

/// A service where a holder may change three holds, and alice's client, who holds a package of each of bob's devices.
async fn three_changes() -> (TestServer, Client, Vec<KeyPackageName>) {
    let server = TestServer::start_with(|config| {
        config.limits.rates =
            Rates { hold_changes: Rate::new(3, SignedDuration::from_secs(10)), ..Rates::UNLIMITED };
    })
    .await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 4).await;
    fill(&mut client, "bob", "tablet", 1).await;
    let request = ReserveKeyPackagesRequest {
        on_behalf_of: "alice".into(),
        ..reserve_request("r", vec![user("bob")])
    };
    let reserved = client.reserve_key_packages(request).await.unwrap().into_inner();
    (server, client, names(&reserved))
}

/// Spends, releases or extends for alice.
async fn change(client: &mut Client, how: &str, names: &[KeyPackageName]) -> Result<(), Status> {
    let (alice, names) = ("alice".to_owned(), names.to_vec());
    match how {
        "extend" => {
            let mut request = extend_request("r", names);
            request.on_behalf_of = alice;
            client.extend_reservation(request).await.map(drop)
        }
        "spend" => {
            let mut request = spend_request("r", names);
            request.on_behalf_of = alice;
            client.spend_reservation(request).await.map(drop)
        }
        _ => {
            let mut request = release_request("r", names, UnusableReason::Unspecified);
            request.on_behalf_of = alice;
            client.release_reservation(request).await.map(drop)
        }
    }
}

#[tokio::test]
async fn a_change_of_a_hold_that_is_limited_does_nothing_and_is_let_in_later() {
    for how in ["spend", "release", "extend"] {
        let (server, mut client, names) = three_changes().await;
        let names = &names[..1];
        for _ in 0..3 {
            change(&mut client, "extend", names).await.unwrap();
        }
        let before = pool(&mut client, "bob", "phone").await;
        let refused = change(&mut client, how, names).await.unwrap_err();
        assert_eq!(reason(&refused), ErrorReason::RateLimited, "{how}");
        assert_eq!(limit(&refused), "hold_changes", "{how}");
        assert_eq!(pool(&mut client, "bob", "phone").await, before, "{how}");
        wait_out(&server, &refused);
        change(&mut client, how, names).await.unwrap();
        // A back end that names nobody is not limited.
        for n in 0..5 {
            let own = reserve_one(&mut client, &format!("own {n}"), "bob", "phone").await.unwrap();
            extend(&mut client, &format!("own {n}"), named(&own)).await.unwrap();
            release(&mut client, &format!("own {n}"), named(&own)).await.unwrap();
        }
        let own = reserve_one(&mut client, "own", "bob", "phone").await.unwrap();
        spend(&mut client, "own", named(&own)).await.unwrap();
    }
}

#[tokio::test]
async fn each_package_counts_and_a_call_that_fails_does_not() {
    let (server, mut client, names) = three_changes().await;
    let database = connect(&server.database().config()).await;
    for how in ["spend", "release", "extend"] {
        database.batch_execute("ALTER TABLE one_time RENAME TO gone").await.unwrap();
        for _ in 0..3 {
            let failed = change(&mut client, how, &names).await.unwrap_err();
            assert_ne!(reason(&failed), ErrorReason::RateLimited, "{how}");
        }
        database.batch_execute("ALTER TABLE gone RENAME TO one_time").await.unwrap();
    }
    eventually("the database serves", async || match change(&mut client, "extend", &names).await {
        Ok(()) => true,
        Err(failed) => {
            assert_ne!(reason(&failed), ErrorReason::RateLimited);
            false
        }
    })
    .await;
    let refused = change(&mut client, "extend", &names).await.unwrap_err();
    assert_eq!(limit(&refused), "hold_changes");
    change(&mut client, "spend", &names[..1]).await.unwrap();
}

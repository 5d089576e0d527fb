//! Whoever tries ids learns of few of them whether they are users, and those who mistype some go on.

use super::{
    charges::limit,
    holders::inviter,
    support::{
        Client, by, calls::packages, client, device, fill, locks::connect, reason, reserve_request,
        upload_request, user,
    },
};
use jiff::SignedDuration;
use keypool_proto::v1::{
    ErrorReason, ReserveKeyPackagesRequest, ReserveKeyPackagesResponse, Target,
};
use keypool_service::{
    config::Config,
    limits::{Rate, Rates},
    testing::{issuer::TestIssuer, packages::PackageMaker, server::TestServer},
};
use tokio::task::JoinSet;
use tonic::Status;
use tonic_types::StatusExt;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Of the ids that a prober tries, every so many is a user.
const KNOWN_EACH: usize = 47;

fn id(number: usize) -> String {
    format!("user-{number}")
}

/// Nothing comes back while a test runs, however slow the machine is.
fn bursts(config: &mut Config) {
    config.limits.rates.unknown.every = DAY;
    config.limits.rates.refused.every = DAY;
}

/// A service with tokens and the default bursts, and some users.
async fn started() -> (TestServer, TestIssuer, Client) {
    let issuer = TestIssuer::new();
    let server = TestServer::start_with(|config| {
        config.auth = issuer.config();
        bursts(config);
    })
    .await;
    let mut client = client(&server).await;
    let backend = issuer.service("chat", &["backend"]);
    for number in (0..987).step_by(KNOWN_EACH) {
        let packages = PackageMaker::new(&id(number), "phone").make_many(6);
        let upload = by(&backend, upload_request(&id(number), "phone", packages));
        client.upload_key_packages(upload).await.unwrap();
    }
    (server, issuer, client)
}

/// How many of the targets of a call were told to be unknown.
fn told_unknown(answer: Result<ReserveKeyPackagesResponse, Status>, targets: usize) -> usize {
    match answer {
        Ok(reserved) => reserved.missing.len(),
        Err(status) if reason(&status) == ErrorReason::UnknownUser => targets,
        Err(status) => {
            assert_eq!(reason(&status), ErrorReason::RateLimited, "{status:?}");
            0
        }
    }
}

#[tokio::test]
async fn a_thousand_ids_take_hours_to_probe() {
    let (_server, issuer, client) = started().await;
    for targets in [1, 10, 100] {
        let prober = inviter(&issuer, &format!("prober-{targets}"));
        let calls: Vec<_> = (0..987).step_by(targets).collect();
        let mut told = 0;
        for calls in calls.chunks(50) {
            let at_once: JoinSet<_> = calls
                .iter()
                .map(|&first| {
                    let (mut client, ids) = (client.clone(), first..(first + targets).min(987));
                    let users = ids.clone().map(|number| user(&id(number))).collect();
                    let request =
                        by(&prober, reserve_request(&format!("r-{targets}-{first}"), users));
                    async move {
                        let answer = client.reserve_key_packages(request).await;
                        told_unknown(answer.map(tonic::Response::into_inner), ids.len())
                    }
                })
                .collect();
            told += at_once.join_all().await.into_iter().sum::<usize>();
        }
        assert!((1..=200).contains(&told), "calls of {targets} targets: {told}");
    }
}

#[tokio::test]
async fn who_has_probed_too_much_can_not_tell_users_from_others() {
    let issuer = TestIssuer::new();
    let server = TestServer::start_with(|config| {
        config.auth = issuer.config();
        config.limits.rates.unknown = Rate::new(2, SignedDuration::from_hours(1));
    })
    .await;
    let mut client = client(&server).await;
    let backend = issuer.service("chat", &["backend"]);
    let packages = PackageMaker::new("carol", "phone").make_many(16);
    client
        .upload_key_packages(by(&backend, upload_request("carol", "phone", packages)))
        .await
        .unwrap();
    let prober = inviter(&issuer, "prober");
    let mut probe = async |reservation: &str, target: Target| {
        client.reserve_key_packages(by(&prober, reserve_request(reservation, vec![target]))).await
    };
    for (n, target) in [user("ghost"), device("carol", "ghost")].into_iter().enumerate() {
        let unknown = probe(&format!("unknown-{n}"), target).await.unwrap_err();
        assert_eq!(unknown.code(), tonic::Code::NotFound, "{unknown:?}");
    }
    for target in [
        user("carol"),
        device("carol", "phone"),
        user("ghost"),
        device("carol", "ghost"),
        user("other"),
    ] {
        let refused = probe("r", target).await.unwrap_err();
        assert_eq!(
            (reason(&refused), limit(&refused).as_str()),
            (ErrorReason::RateLimited, "unknown")
        );
        let details = refused.get_error_details();
        assert_eq!(details.error_info().unwrap().metadata.len(), 1, "the limit, and no id");
        assert!(details.precondition_failure().is_none());
    }
    // Nothing is looked up for it.
    let database = connect(&server.database().config()).await;
    database.batch_execute("ALTER TABLE one_time RENAME TO gone").await.unwrap();
    assert_eq!(limit(&probe("r", user("carol")).await.unwrap_err()), "unknown");
    database.batch_execute("ALTER TABLE gone RENAME TO one_time").await.unwrap();
    // As RetryInfo says, and others are not concerned.
    let wait = probe("r", user("carol")).await.unwrap_err();
    let wait = wait.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    server.clock().advance(SignedDuration::try_from(wait).unwrap());
    probe("r", user("carol")).await.unwrap();
    probe("again", user("carol")).await.unwrap();
    client
        .reserve_key_packages(by(&backend, reserve_request("b", vec![user("ghost")])))
        .await
        .map(drop)
        .inspect_err(|status| assert_eq!(reason(status), ErrorReason::UnknownUser))
        .unwrap_err();
}

#[tokio::test]
async fn who_mistypes_some_ids_invites_all_others_also_at_the_same_time() {
    let server = TestServer::start_with(|config| {
        config.limits.rates = Rates { unknown: Rate::new(4, DAY), ..Rates::UNLIMITED };
        config.limits.holds_per_holder_and_device = 1000;
    })
    .await;
    let mut client = client(&server).await;
    for user in ["bob", "carol"] {
        fill(&mut client, user, "phone", 50).await;
    }
    let request = |reservation: &str, targets| ReserveKeyPackagesRequest {
        on_behalf_of: "alice".into(),
        ..reserve_request(reservation, targets)
    };
    let mistyped = request("mistyped", vec![user("bob"), user("bbo"), device("carol", "fone")]);
    let reserved = client.reserve_key_packages(mistyped).await.unwrap().into_inner();
    assert_eq!((packages(&reserved).len(), reserved.missing.len()), (1, 2));
    let mut calls = JoinSet::new();
    for number in 0..40 {
        let (mut client, request) =
            (client.clone(), request(&format!("r-{number}"), vec![user("bob"), user("carol")]));
        calls.spawn(async move {
            let reserved = client.reserve_key_packages(request).await.unwrap().into_inner();
            assert_eq!(packages(&reserved).len(), 2);
        });
    }
    calls.join_all().await;
}

#[tokio::test]
async fn what_was_held_before_stays_held_when_a_call_may_learn_no_more() {
    let server = TestServer::start_with(|config| {
        config.limits.rates = Rates { unknown: Rate::new(3, DAY), ..Rates::UNLIMITED };
    })
    .await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let mut reserve = async |targets| {
        let on_behalf_of = "alice".into();
        let request = ReserveKeyPackagesRequest { on_behalf_of, ..reserve_request("r", targets) };
        client.reserve_key_packages(request).await.map(tonic::Response::into_inner)
    };
    let held = reserve(vec![user("bob"), user("ghost")]).await.unwrap();
    let refused = reserve(vec![user("bob"), user("ghost"), user("other")]).await.unwrap_err();
    assert_eq!(limit(&refused), "unknown");
    let again = reserve(vec![user("bob")]).await.unwrap();
    assert_eq!(packages(&again)[0].name, packages(&held)[0].name);
}

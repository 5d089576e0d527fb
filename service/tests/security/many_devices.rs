//! Users with many devices: there are only so many, one user's don't delay another's calls, and answers stay small.

use super::support::{
    Client, calls::packages, client, device, fill, reason, reserve_details, reserve_request,
    upload_request, user,
};
use jiff::SignedDuration;
use keypool_proto::v1::{ErrorReason, ReserveKeyPackagesRequest, Target};
use keypool_service::{
    limits::{Rate, Rates},
    testing::{packages::PackageMaker, server::TestServer},
};
use tonic::Code;

async fn server(max_devices: u32) -> TestServer {
    TestServer::start_with(move |config| {
        config.limits.rates = Rates::UNLIMITED;
        config.pool.max_devices = max_devices;
    })
    .await
}

/// Gives a user devices with a package each.
async fn with_devices(client: &mut Client, user: &str, count: usize) {
    for number in 0..count {
        fill(client, user, &format!("device-{number}"), 1).await;
    }
}

#[tokio::test]
async fn a_user_has_only_so_many_devices() {
    let server = server(3).await;
    let mut client = client(&server).await;
    with_devices(&mut client, "mallory", 3).await;
    let package = PackageMaker::new("mallory", "one-more").make();
    let one_more = upload_request("mallory", "one-more", vec![package]);
    let refused = client.upload_key_packages(one_more.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(reason(&refused), ErrorReason::TooManyDevices);
    // Those that are there go on, and others are not concerned.
    fill(&mut client, "mallory", "device-0", 1).await;
    fill(&mut client, "alice", "phone", 1).await;
    // A device whose packages have all expired does not count.
    let database = super::support::locks::connect(&server.database().config()).await;
    let long_ago = "UPDATE device SET last_upload_at = '2020-01-01' WHERE device_id = 'device-1'";
    database.batch_execute(long_ago).await.unwrap();
    client.upload_key_packages(one_more).await.unwrap();
}

#[tokio::test]
async fn new_devices_at_the_same_moment_are_counted_too() {
    let server = TestServer::start_with(|config| {
        config.limits.rates = Rates::UNLIMITED;
        config.pool.max_devices = 3;
        config.lanes.upload = 1;
    })
    .await;
    let client = client(&server).await;
    let uploads: tokio::task::JoinSet<_> = (0..20)
        .map(|number| {
            let (mut client, device) = (client.clone(), format!("device-{number}"));
            async move {
                let package = PackageMaker::new("mallory", &device).make();
                let upload = upload_request("mallory", &device, vec![package]);
                client.upload_key_packages(upload).await.is_ok()
            }
        })
        .collect();
    let stored = uploads.join_all().await.into_iter().filter(|stored| *stored).count();
    assert_eq!(stored, 3);
}

#[tokio::test]
async fn all_devices_of_a_user_are_reserved_however_many_there_are() {
    let server = server(1000).await;
    let mut client = client(&server).await;
    with_devices(&mut client, "bob", 30).await;
    let excluding = Target {
        user_id: "bob".into(),
        excluded_device_ids: vec!["device-0".into(), "device-29".into()],
        ..Target::default()
    };
    let request = reserve_request("r", vec![excluding, device("bob", "device-5")]);
    for _ in 0..2 {
        let reserved = client.reserve_key_packages(request.clone()).await.unwrap().into_inner();
        assert_eq!((packages(&reserved).len(), reserved.missing.len()), (28, 0));
    }
    let rest = client.reserve_key_packages(reserve_request("rest", vec![user("bob")])).await;
    let rest = rest.unwrap().into_inner();
    assert_eq!((packages(&rest).len(), rest.missing.len()), (2, 28));
}

#[tokio::test]
async fn each_device_counts_as_a_target_of_its_holder() {
    let server = TestServer::start_with(|config| {
        config.limits.rates = Rates::UNLIMITED;
        config.limits.rates.holder = Rate::new(20, SignedDuration::from_hours(1));
    })
    .await;
    let mut client = client(&server).await;
    with_devices(&mut client, "bob", 30).await;
    let request = ReserveKeyPackagesRequest {
        on_behalf_of: "mallory".into(),
        ..reserve_request("r", vec![user("bob")])
    };
    let reserved = client.reserve_key_packages(request).await.unwrap().into_inner();
    assert_eq!(packages(&reserved).len(), 8, "the first come with the user");
    assert_eq!(reserved.missing.len(), 22);
    let limited =
        |missing: &keypool_proto::v1::MissingTarget| missing.reason() == ErrorReason::RateLimited;
    assert!(reserved.missing.iter().all(limited));
}

#[tokio::test]
async fn an_error_does_not_list_thousands_of_devices() {
    let server = server(10_000).await;
    let mut client = client(&server).await;
    with_devices(&mut client, "mallory", 130).await;
    client.reserve_key_packages(reserve_request("all", vec![user("mallory")])).await.unwrap();
    let none = client.reserve_key_packages(reserve_request("none", vec![user("mallory")])).await;
    let error = none.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::PoolExhausted);
    let details = reserve_details(&error);
    assert_eq!((details.missing.len(), details.omitted_count), (100, 30));
}

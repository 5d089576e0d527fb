use super::{
    support::{client, device, fields, user},
    table::Table,
};
use keypool_proto::v1::{
    ExtendReservationRequest, KeyPackageName, ReleaseReservationRequest, ReleasedKeyPackage,
    ReserveKeyPackagesRequest, SpendReservationRequest, Target,
};
use keypool_service::testing::server::TestServer;
use prost_types::Duration;

const DAYS_90: i64 = 90 * 24 * 60 * 60;

fn reserve() -> ReserveKeyPackagesRequest {
    ReserveKeyPackagesRequest {
        reservation_id: "r".into(),
        group_id: b"group".to_vec(),
        targets: vec![device("bob", "phone"), user("carol")],
        cipher_suites: vec![1, 65535],
        ttl: Some(Duration { seconds: 600, nanos: 0 }),
        min_remaining_lifetime: Some(Duration { seconds: DAYS_90, nanos: 0 }),
        ..ReserveKeyPackagesRequest::default()
    }
}

fn excluding(excluded: Vec<String>) -> Target {
    Target { excluded_device_ids: excluded, ..user("bob") }
}

#[tokio::test]
async fn reserve_key_packages_names_the_bad_field() {
    let server = TestServer::start().await;
    let client = client(&server).await;
    Table::of(reserve())
        .id("reservation_id", |request, id| request.reservation_id = id)
        .group("group_id", |request, group| request.group_id = group)
        .with("targets", |request| request.targets.clear())
        .with("targets", |request| request.targets = vec![user("bob"); 101])
        .id("targets[0].user_id", |request, id| request.targets[0].user_id = id)
        .optional_id("targets[1].device_id", |request, id| request.targets[1].device_id = id)
        .id("targets[0].excluded_device_ids[1]", |request, id| {
            request.targets[0] = excluding(vec!["phone".into(), id]);
        })
        .with("targets[0].excluded_device_ids", |request| {
            request.targets[0] = excluding(vec!["phone".into(); 101]);
        })
        .with("targets[0].excluded_device_ids", |request| {
            request.targets[0].excluded_device_ids = vec!["laptop".into()];
        })
        .with("cipher_suites[0]", |request| request.cipher_suites = vec![0])
        .with("cipher_suites[1]", |request| request.cipher_suites = vec![1, 65536])
        .with("cipher_suites", |request| request.cipher_suites = vec![1; 17])
        .ttl("ttl", |request, ttl| request.ttl = Some(ttl))
        .with("min_remaining_lifetime", |request| {
            request.min_remaining_lifetime = Some(Duration { seconds: 0, nanos: -1 });
        })
        .with("min_remaining_lifetime", |request| {
            request.min_remaining_lifetime = Some(Duration { seconds: DAYS_90, nanos: 1 });
        })
        .optional_id("on_behalf_of", |request, id| request.on_behalf_of = id)
        .check(&server, async |request| client.clone().reserve_key_packages(request).await)
        .await;
}

fn name(device: &str) -> KeyPackageName {
    KeyPackageName { user_id: "bob".into(), device_id: device.into(), key_package_ref: vec![7; 32] }
}

/// A hundred names and one.
fn too_many() -> Vec<KeyPackageName> {
    (0..101).map(|n| name(&n.to_string())).collect()
}

#[tokio::test]
async fn spend_reservation_names_the_bad_field() {
    let server = TestServer::start().await;
    let client = client(&server).await;
    let good = SpendReservationRequest {
        reservation_id: "r".into(),
        group_id: b"group".to_vec(),
        packages: vec![name("phone"), name("laptop")],
        on_behalf_of: "alice".into(),
    };
    Table::of(good)
        .id("reservation_id", |request, id| request.reservation_id = id)
        .group("group_id", |request, group| request.group_id = group)
        .with("packages", |request| request.packages.clear())
        .with("packages", |request| request.packages = too_many())
        .with("packages[1]", |request| request.packages[1] = name("phone"))
        .id("packages[1].user_id", |request, id| request.packages[1].user_id = id)
        .id("packages[1].device_id", |request, id| request.packages[1].device_id = id)
        .reference("packages[1].key_package_ref", |request, one| {
            request.packages[1].key_package_ref = one;
        })
        .optional_id("on_behalf_of", |request, id| request.on_behalf_of = id)
        .check(&server, async |request| client.clone().spend_reservation(request).await)
        .await;
}

fn released(name: KeyPackageName) -> ReleasedKeyPackage {
    ReleasedKeyPackage { name: Some(name), unusable_reason: 0 }
}

#[tokio::test]
async fn release_reservation_names_the_bad_field() {
    let server = TestServer::start().await;
    let client = client(&server).await;
    let good = ReleaseReservationRequest {
        reservation_id: "r".into(),
        packages: vec![released(name("phone")), released(name("laptop"))],
        on_behalf_of: "alice".into(),
    };
    let second = |request: &mut ReleaseReservationRequest, change: &dyn Fn(&mut KeyPackageName)| {
        change(request.packages[1].name.as_mut().unwrap());
    };
    Table::of(good)
        .id("reservation_id", |request, id| request.reservation_id = id)
        .with("packages", |request| request.packages.clear())
        .with("packages", |request| {
            request.packages = too_many().into_iter().map(released).collect();
        })
        .with("packages[1].name", |request| request.packages[1].name = None)
        .with("packages[1].name", |request| {
            request.packages[1] = released(name("phone"));
        })
        .id("packages[1].name.user_id", |request, id| {
            second(request, &|name| name.user_id.clone_from(&id));
        })
        .id("packages[1].name.device_id", |request, id| {
            second(request, &|name| name.device_id.clone_from(&id));
        })
        .reference("packages[1].name.key_package_ref", |request, one| {
            second(request, &|name| name.key_package_ref.clone_from(&one));
        })
        .with("packages[0].unusable_reason", |request| {
            request.packages[0].unusable_reason = 99;
        })
        .with("packages[0].unusable_reason", |request| {
            request.packages[0].unusable_reason = -1;
        })
        .optional_id("on_behalf_of", |request, id| request.on_behalf_of = id)
        .check(&server, async |request| client.clone().release_reservation(request).await)
        .await;
}

#[tokio::test]
async fn extend_reservation_names_the_bad_field() {
    let server = TestServer::start().await;
    let client = client(&server).await;
    let good = ExtendReservationRequest {
        reservation_id: "r".into(),
        packages: vec![name("phone"), name("laptop")],
        ttl: Some(Duration { seconds: 1, nanos: 0 }),
        on_behalf_of: "alice".into(),
    };
    Table::of(good)
        .id("reservation_id", |request, id| request.reservation_id = id)
        .with("packages", |request| request.packages.clear())
        .with("packages", |request| request.packages = too_many())
        .with("packages[1]", |request| request.packages[1] = name("phone"))
        .id("packages[1].user_id", |request, id| request.packages[1].user_id = id)
        .id("packages[1].device_id", |request, id| request.packages[1].device_id = id)
        .reference("packages[1].key_package_ref", |request, one| {
            request.packages[1].key_package_ref = one;
        })
        .ttl("ttl", |request, ttl| request.ttl = Some(ttl))
        .optional_id("on_behalf_of", |request, id| request.on_behalf_of = id)
        .check(&server, async |request| client.clone().extend_reservation(request).await)
        .await;
}

#[tokio::test]
async fn several_bad_fields_are_reported_at_once() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let request = ReserveKeyPackagesRequest {
        targets: vec![user("bob"), user(""), device("carol", "\n")],
        cipher_suites: vec![0, 1, 65536],
        ttl: Some(Duration::default()),
        on_behalf_of: "\0".into(),
        ..ReserveKeyPackagesRequest::default()
    };
    let mut found = fields(&client.reserve_key_packages(request).await.unwrap_err());
    found.sort();
    assert_eq!(
        found,
        [
            "cipher_suites[0]",
            "cipher_suites[2]",
            "group_id",
            "on_behalf_of",
            "reservation_id",
            "targets[1].user_id",
            "targets[2].device_id",
            "ttl",
        ]
    );
}

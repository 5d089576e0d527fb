use super::{
    DAY, HOUR, assert_unknown,
    support::{
        Client, assert_balanced,
        calls::{ending_in, named, refs, reserve_one, revoke_all, revoke_request},
        client, fill, fill_last_resort, pool, reason, spend, upload,
    },
    use_one,
};
use keypool_proto::v1::{
    AllKeyPackages, CredentialSelector, ErrorReason, KeyPackageRefs,
    revoke_key_packages_request::Selector,
};
use keypool_service::testing::{packages::PackageMaker, server::TestServer};

async fn revoke(client: &mut Client, user: &str, device: &str, selector: Selector) -> u32 {
    let request = revoke_request(user, device, selector);
    client.revoke_key_packages(request).await.unwrap().into_inner().revoked_count
}

fn by_refs(key_package_refs: &[Vec<u8>]) -> Selector {
    Selector::Refs(KeyPackageRefs { key_package_refs: key_package_refs.to_vec() })
}

fn by_credential(credential: Vec<u8>, signature_key: Vec<u8>) -> Selector {
    Selector::Credential(CredentialSelector { credential, signature_key })
}

/// A basic credential as RFC 9420, section 5.3, encodes it.
fn basic(identity: &str) -> Vec<u8> {
    let length = u8::try_from(identity.len()).unwrap();
    [&[0, 1, length], identity.as_bytes()].concat()
}

#[tokio::test]
async fn by_refs_just_these_are_revoked() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let one_time = refs(&fill(&mut client, "bob", "phone", 4).await);
    let last_resort = refs(&fill_last_resort(&mut client, "bob", "phone").await);
    let selected = [&one_time[..2], &last_resort, &[vec![7; 32]]].concat();
    assert_eq!(revoke(&mut client, "bob", "phone", by_refs(&selected)).await, 3);
    assert_eq!(revoke(&mut client, "bob", "phone", by_refs(&selected)).await, 0);
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.available, pool.revoked, &pool.last_resort), (2, 2, &None));
    assert_balanced(&pool);
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    assert!(one_time[2..].contains(&held.name.unwrap().key_package_ref));
}

#[tokio::test]
async fn refs_of_another_device_are_left_alone() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let phones = refs(&fill(&mut client, "bob", "phone", 2).await);
    fill(&mut client, "bob", "laptop", 1).await;
    fill(&mut client, "carol", "phone", 1).await;
    assert_eq!(revoke(&mut client, "bob", "laptop", by_refs(&phones)).await, 0);
    assert_eq!(revoke(&mut client, "carol", "", by_refs(&phones)).await, 0);
    assert_eq!(revoke(&mut client, "bob", "", by_refs(&phones[..1])).await, 1);
    assert_eq!(pool(&mut client, "bob", "phone").await.available, 1);
}

#[tokio::test]
async fn by_signature_key_the_packages_before_its_rotation_are_revoked() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let (old, new) = (PackageMaker::new("bob", "phone"), PackageMaker::new("bob", "phone"));
    upload(&mut client, "bob", "phone", old.make_many(3)).await;
    upload(&mut client, "bob", "phone", new.make_many(2)).await;
    let old_key = by_credential(vec![], old.signer().public().to_vec());
    assert_eq!(revoke(&mut client, "bob", "phone", old_key.clone()).await, 3);
    assert_eq!(revoke(&mut client, "bob", "phone", old_key).await, 0);
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.available, pool.revoked), (2, 3));
}

#[tokio::test]
async fn by_credential_the_packages_of_every_key_under_it_are_revoked() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    fill(&mut client, "bob", "phone", 1).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    fill(&mut client, "bob", "laptop", 1).await;
    let of_phone = by_credential(basic("bob/phone"), vec![]);
    assert_eq!(revoke(&mut client, "bob", "", of_phone).await, 3);
    assert_eq!(pool(&mut client, "bob", "laptop").await.available, 1);
}

#[tokio::test]
async fn credential_and_signature_key_must_both_match() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let maker = PackageMaker::new("bob", "phone");
    upload(&mut client, "bob", "phone", maker.make_many(2)).await;
    fill(&mut client, "bob", "phone", 1).await;
    let key = maker.signer().public().to_vec();
    let other_credential = by_credential(basic("bob/laptop"), key.clone());
    assert_eq!(revoke(&mut client, "bob", "phone", other_credential).await, 0);
    let both = by_credential(basic("bob/phone"), key);
    assert_eq!(revoke(&mut client, "bob", "phone", both).await, 2);
}

#[tokio::test]
async fn all_packages_of_one_device_or_of_all_are_revoked() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    for device in ["phone", "laptop"] {
        fill(&mut client, "bob", device, 2).await;
        fill_last_resort(&mut client, "bob", device).await;
    }
    fill(&mut client, "carol", "phone", 1).await;
    assert_eq!(revoke_all(&mut client, "bob", "laptop").await, 3);
    assert_eq!(pool(&mut client, "bob", "phone").await.available, 2);
    assert_eq!(revoke_all(&mut client, "bob", "").await, 3, "the laptop's are not counted again");
    assert_eq!(revoke_all(&mut client, "bob", "").await, 0);
    for device in ["phone", "laptop"] {
        let none = reserve_one(&mut client, device, "bob", device).await.unwrap_err();
        assert_eq!(reason(&none), ErrorReason::PoolExhausted);
        assert_balanced(&pool(&mut client, "bob", device).await);
    }
    assert_eq!(pool(&mut client, "carol", "phone").await.available, 1);
}

#[tokio::test]
async fn what_is_spent_or_expired_is_not_revoked() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let short = ending_in("bob", "phone", HOUR);
    upload(&mut client, "bob", "phone", short.make_many(2)).await;
    server.clock().advance(2 * HOUR);
    fill(&mut client, "bob", "phone", 3).await;
    use_one(&mut client, "r").await;
    assert_eq!(revoke_all(&mut client, "bob", "phone").await, 2);
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.expired, pool.spent, pool.revoked), (2, 1, 2));
    assert_balanced(&pool);
}

#[tokio::test]
async fn holds_made_before_may_be_spent_for_a_day() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 2).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let mut held = Vec::new();
    for reservation in ["in time", "late", "last resort in time", "last resort late"] {
        held.push(reserve_one(&mut client, reservation, "bob", "phone").await.unwrap());
    }
    assert_eq!(revoke_all(&mut client, "bob", "phone").await, 3);
    server.clock().advance(DAY - HOUR);
    spend(&mut client, "in time", named(&held[0])).await.unwrap();
    spend(&mut client, "last resort in time", named(&held[2])).await.unwrap();
    server.clock().advance(2 * HOUR);
    for (reservation, held) in [("late", &held[1]), ("last resort late", &held[3])] {
        let late = spend(&mut client, reservation, named(held)).await.unwrap_err();
        assert_eq!(reason(&late), ErrorReason::KeyPackageRevoked);
    }
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.spent, pool.revoked), (1, 1));
    assert_balanced(&pool);
}

#[tokio::test]
async fn unknown_users_and_devices_are_told_apart() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    for (user, device) in [("carol", ""), ("carol", "phone"), ("bob", "laptop")] {
        let request = revoke_request(user, device, Selector::All(AllKeyPackages {}));
        let status = client.revoke_key_packages(request).await.unwrap_err();
        match user {
            "carol" => assert_unknown(&status, ErrorReason::UnknownUser, user, None),
            _ => assert_unknown(&status, ErrorReason::UnknownDevice, user, Some(device)),
        }
    }
}

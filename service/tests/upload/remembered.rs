//! Packages that are rejected for what became of them before, or of another with their init key.

use super::{
    bob, outcomes, rejection, send, send_bobs, start_with_user_credentials,
    support::{
        assert_balanced,
        calls::{named, rejections, reserve_one, revoke_all},
        client, fill,
        forge::with_init_key_of,
        pool, spend, upload,
    },
};
use keypool_proto::v1::{
    RejectionReason as Reason,
    UploadOutcome::{Accepted, AlreadyPresent},
};
use keypool_service::{
    testing::{packages::PackageMaker, server::TestServer},
    types::{Bucket, UserId},
};

#[tokio::test]
async fn a_spent_package_does_not_come_back() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let package = bob().make();
    upload(&mut client, "bob", "phone", vec![package.clone()]).await;
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    let while_held = send_bobs(&mut client, vec![package.clone()]).await;
    assert_eq!(outcomes(&while_held), [AlreadyPresent]);

    spend(&mut client, "r", named(&held)).await.unwrap();
    let response = send_bobs(&mut client, vec![package.clone(), package]).await;
    assert_eq!(rejections(&response), [Reason::AlreadySpent; 2]);
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.accepted, pool.available, pool.spent), (1, 0, 1));
    assert_balanced(&pool);
}

#[tokio::test]
async fn a_revoked_package_does_not_come_back() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let packages = vec![bob().make(), bob().last_resort().make()];
    upload(&mut client, "bob", "phone", packages.clone()).await;
    assert_eq!(revoke_all(&mut client, "bob", "phone").await, 2);
    let response = send_bobs(&mut client, packages).await;
    assert_eq!(rejections(&response), [Reason::Revoked; 2]);
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.available, pool.revoked), (0, 1));
    assert!(pool.last_resort.is_none());
}

#[tokio::test]
async fn a_package_revoked_while_held_and_then_spent_counts_as_spent() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let package = bob().make();
    upload(&mut client, "bob", "phone", vec![package.clone()]).await;
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    revoke_all(&mut client, "bob", "phone").await;
    assert_eq!(rejection(&send_bobs(&mut client, vec![package.clone()]).await), Reason::Revoked);
    spend(&mut client, "r", named(&held)).await.unwrap();
    assert_eq!(rejection(&send_bobs(&mut client, vec![package]).await), Reason::AlreadySpent);
}

#[tokio::test]
async fn an_init_key_is_accepted_once_whatever_became_of_it() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let maker = bob();
    let first = maker.make();
    let again = async |client: &mut _| {
        let forged = with_init_key_of(&maker, &first);
        let promoted = with_init_key_of(&bob().last_resort(), &first);
        let response = send_bobs(client, vec![forged, promoted]).await;
        assert_eq!(rejections(&response), [Reason::InitKeyReused; 2], "{response:?}");
    };
    upload(&mut client, "bob", "phone", vec![first.clone()]).await;
    again(&mut client).await;
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    again(&mut client).await;
    spend(&mut client, "r", named(&held)).await.unwrap();
    again(&mut client).await;
    assert!(pool(&mut client, "bob", "phone").await.last_resort.is_none());
}

#[tokio::test]
async fn the_init_key_of_a_revoked_package_is_not_accepted() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let first = bob().last_resort().make();
    upload(&mut client, "bob", "phone", vec![first.clone()]).await;
    revoke_all(&mut client, "bob", "phone").await;
    let forged = with_init_key_of(&bob(), &first);
    assert_eq!(rejection(&send_bobs(&mut client, vec![forged]).await), Reason::InitKeyReused);
}

#[tokio::test]
async fn an_init_key_is_accepted_once_in_an_upload() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let first = bob().make();
    let forged = with_init_key_of(&bob(), &first);
    let response = send_bobs(&mut client, vec![first, forged.clone(), bob().make(), forged]).await;
    assert_eq!(
        rejections(&response),
        [Reason::Unspecified, Reason::InitKeyReused, Reason::Unspecified, Reason::InitKeyReused]
    );
}

#[tokio::test]
async fn an_init_key_is_accepted_once_for_all_devices_of_a_user() {
    let server = start_with_user_credentials().await;
    let mut client = client(&server).await;
    let maker = PackageMaker::for_identity("bob");
    let first = maker.make();
    upload(&mut client, "bob", "phone", vec![first.clone()]).await;
    let forged = with_init_key_of(&maker, &first);
    let response = send(&mut client, "bob", "laptop", vec![forged, maker.make()]).await;
    assert_eq!(rejections(&response), [Reason::InitKeyReused, Reason::Unspecified]);
}

/// Somebody who has seen a package learns nothing by its init key, and takes nothing from its user.
#[tokio::test]
async fn an_init_key_of_another_user_is_no_matter() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let first = bob().make();
    send_bobs(&mut client, vec![first.clone()]).await;
    let bucket = |user: &str| Bucket::of(&UserId::new(user).unwrap());
    let neighbour =
        (0..).map(|n| format!("mallory-{n}")).find(|user| bucket(user) == bucket("bob")).unwrap();
    let copied = with_init_key_of(&PackageMaker::new(&neighbour, "phone"), &first);
    let response = send(&mut client, &neighbour, "phone", vec![copied]).await;
    assert_eq!(outcomes(&response), [Accepted]);
    let response = send_bobs(&mut client, vec![with_init_key_of(&bob(), &first)]).await;
    assert_eq!(rejections(&response), [Reason::InitKeyReused]);
}

#[tokio::test]
async fn a_package_that_comes_twice_in_an_upload_is_stored_once() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let (one, other) = (bob().make(), bob().make());
    let sent = vec![one.clone(), other, one.clone(), one];
    let response = send_bobs(&mut client, sent).await;
    assert_eq!(outcomes(&response), [Accepted, Accepted, AlreadyPresent, AlreadyPresent]);
    assert_eq!(response.results[0].key_package_ref, response.results[3].key_package_ref);
    let pool = &response.pool_status.unwrap().pools[0];
    assert_eq!((pool.accepted, pool.available), (2, 2));
}

#[tokio::test]
async fn a_repeated_upload_has_the_same_effect() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let sent = vec![bob().make(), bob().last_resort().make()];
    let first = upload(&mut client, "bob", "phone", sent.clone()).await;
    let second = send_bobs(&mut client, sent).await;
    assert_eq!(outcomes(&second), [AlreadyPresent; 2]);
    let refs = |response: &super::UploadKeyPackagesResponse| super::support::calls::refs(response);
    assert_eq!(refs(&first), refs(&second));
    assert_eq!(first.pool_status.unwrap().pools, second.pool_status.unwrap().pools);
}

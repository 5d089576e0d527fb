use super::{
    bob, outcomes, send_bobs,
    support::{
        calls::{reference, refs, reserve_one},
        client, pool, upload,
    },
};
use keypool_proto::v1::UploadOutcome::AlreadyPresent;
use keypool_service::testing::server::TestServer;

#[tokio::test]
async fn a_new_last_resort_takes_the_place_of_the_one_before() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let old = bob().last_resort().make();
    let old_ref = refs(&upload(&mut client, "bob", "phone", vec![old.clone()]).await);
    let used = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    assert!(used.last_resort);
    assert_eq!(reference(&used), old_ref[0]);

    let new = upload(&mut client, "bob", "phone", vec![bob().last_resort().make()]).await;
    let status = new.pool_status.as_ref().unwrap().pools[0].last_resort.clone().unwrap();
    assert_eq!((status.key_package_ref, status.use_count), (refs(&new)[0].clone(), 0));
    let used = reserve_one(&mut client, "r2", "bob", "phone").await.unwrap();
    assert_eq!(reference(&used), refs(&new)[0]);

    // The old one is still known, and does not come back.
    assert_eq!(outcomes(&send_bobs(&mut client, vec![old]).await), [AlreadyPresent]);
    let used = reserve_one(&mut client, "r3", "bob", "phone").await.unwrap();
    assert_eq!(reference(&used), refs(&new)[0]);
}

#[tokio::test]
async fn of_two_in_one_upload_the_later_counts() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let response = upload(
        &mut client,
        "bob",
        "phone",
        vec![bob().last_resort().make(), bob().last_resort().make()],
    )
    .await;
    let status = pool(&mut client, "bob", "phone").await;
    assert_eq!(status.last_resort.unwrap().key_package_ref, refs(&response)[1]);
    assert_eq!((status.accepted, status.available), (0, 0), "last resorts are not counted");
    let used = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    assert_eq!(reference(&used), refs(&response)[1]);
}

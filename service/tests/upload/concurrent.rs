use super::{
    bob, count, outcomes, send, send_bobs, start_with_user_credentials,
    support::{assert_balanced, client, forge::with_init_key_of, pool},
};
use keypool_proto::v1::{RejectionReason as Reason, UploadKeyPackagesResponse, UploadOutcome};
use keypool_service::testing::{packages::PackageMaker, server::TestServer};
use tokio::task::JoinSet;

fn accepted(responses: &[UploadKeyPackagesResponse]) -> usize {
    let outcomes = responses.iter().flat_map(outcomes);
    outcomes.filter(|outcome| *outcome == UploadOutcome::Accepted).count()
}

#[tokio::test]
async fn two_replicas_together_fill_a_pool_to_its_cap_and_no_further() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let mut uploads = JoinSet::new();
    for server in [&server, &replica, &server, &replica] {
        let (mut client, packages) = (client(server).await, bob().make_many(25));
        uploads.spawn(async move { send_bobs(&mut client, packages).await });
    }
    let responses = uploads.join_all().await;
    assert_eq!(accepted(&responses), 64);
    let full: usize = responses.iter().map(|response| count(response, Reason::PoolFull)).sum();
    assert_eq!(full, 36);
    let pool = pool(&mut client(&server).await, "bob", "phone").await;
    assert_eq!((pool.accepted, pool.available), (64, 64));
    assert_balanced(&pool);
}

#[tokio::test]
async fn the_same_upload_many_times_at_once_is_stored_once() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let packages = bob().make_many(10);
    let mut uploads = JoinSet::new();
    for server in [&server, &replica].into_iter().cycle().take(8) {
        let (mut client, packages) = (client(server).await, packages.clone());
        uploads.spawn(async move { send_bobs(&mut client, packages).await });
    }
    let responses = uploads.join_all().await;
    assert_eq!(accepted(&responses), 10);
    for response in &responses {
        assert!(!outcomes(response).contains(&UploadOutcome::Rejected), "{response:?}");
    }
    let pool = pool(&mut client(&server).await, "bob", "phone").await;
    assert_eq!((pool.accepted, pool.available), (10, 10));
}

#[tokio::test]
async fn of_devices_that_upload_one_package_at_once_one_has_it() {
    let server = start_with_user_credentials().await;
    let maker = PackageMaker::for_identity("bob");
    for round in 0..5 {
        let package = maker.make();
        let mut uploads = JoinSet::new();
        for device in 0..4 {
            let (mut client, packages) = (client(&server).await, vec![package.clone()]);
            let device = format!("device {round} {device}");
            uploads.spawn(async move { send(&mut client, "bob", &device, packages).await });
        }
        let responses = uploads.join_all().await;
        assert_eq!(accepted(&responses), 1);
        let others = responses.iter().map(|one| count(one, Reason::BelongsToOtherDevice));
        assert_eq!(others.sum::<usize>(), 3);
    }
}

#[tokio::test]
async fn of_devices_that_upload_one_init_key_at_once_one_has_it() {
    let server = start_with_user_credentials().await;
    let maker = PackageMaker::for_identity("bob");
    for round in 0..5 {
        let first = maker.make();
        let mut uploads = JoinSet::new();
        for device in 0..4 {
            let packages = vec![with_init_key_of(&maker, &first), maker.make()];
            let mut client = client(&server).await;
            let device = format!("device {round} {device}");
            uploads.spawn(async move { send(&mut client, "bob", &device, packages).await });
        }
        let responses = uploads.join_all().await;
        assert_eq!(accepted(&responses), 5, "four of their own, and one with the key");
        let others = responses.iter().map(|one| count(one, Reason::InitKeyReused));
        assert_eq!(others.sum::<usize>(), 3);
    }
}

use super::{
    support::{client, fields},
    table::Table,
};
use keypool_proto::v1::{
    AllKeyPackages, CredentialSelector, GetPoolStatusRequest, KeyPackageRefs, ReconcilePoolRequest,
    RevokeKeyPackagesRequest, UploadKeyPackagesRequest, WatchPoolRequest,
    revoke_key_packages_request::Selector,
};
use keypool_service::testing::server::TestServer;

const KIB_64: usize = 64 * 1024;

#[tokio::test]
async fn upload_names_the_bad_field() {
    let server = TestServer::start().await;
    let client = client(&server).await;
    let good = UploadKeyPackagesRequest {
        user_id: "bob".into(),
        device_id: "phone".into(),
        key_packages: vec![b"rejected, but in an answer".to_vec()],
    };
    Table::of(good)
        .id("user_id", |request, id| request.user_id = id)
        .id("device_id", |request, id| request.device_id = id)
        .with("key_packages", |request| request.key_packages.clear())
        .with("key_packages", |request| request.key_packages = vec![vec![]; 101])
        .check(&server, async |request| client.clone().upload_key_packages(request).await)
        .await;
}

#[tokio::test]
async fn get_pool_status_names_the_bad_field() {
    let server = TestServer::start().await;
    let client = client(&server).await;
    Table::of(GetPoolStatusRequest { user_id: "bob".into(), device_id: "phone".into() })
        .id("user_id", |request, id| request.user_id = id)
        .optional_id("device_id", |request, id| request.device_id = id)
        .check(&server, async |request| client.clone().get_pool_status(request).await)
        .await;
}

#[tokio::test]
async fn watch_pool_names_the_bad_field() {
    let server = TestServer::start().await;
    let client = client(&server).await;
    Table::of(WatchPoolRequest { user_id: "bob".into(), device_id: "phone".into() })
        .id("user_id", |request, id| request.user_id = id)
        .id("device_id", |request, id| request.device_id = id)
        .check(&server, async |request| client.clone().watch_pool(request).await)
        .await;
}

#[tokio::test]
async fn reconcile_pool_names_the_bad_field() {
    let server = TestServer::start().await;
    let client = client(&server).await;
    let good = ReconcilePoolRequest {
        user_id: "bob".into(),
        device_id: "phone".into(),
        key_package_refs: vec![vec![7; 32]; 2],
        as_of: None,
    };
    Table::of(good)
        .id("user_id", |request, id| request.user_id = id)
        .id("device_id", |request, id| request.device_id = id)
        .reference("key_package_refs[1]", |request, one| request.key_package_refs[1] = one)
        .with("key_package_refs", |request| request.key_package_refs = vec![vec![7; 32]; 1001])
        .with("as_of", |request| {
            request.as_of = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
        })
        .check(&server, async |request| client.clone().reconcile_pool(request).await)
        .await;
}

fn revoke(selector: Selector) -> RevokeKeyPackagesRequest {
    RevokeKeyPackagesRequest {
        user_id: "bob".into(),
        device_id: "phone".into(),
        selector: Some(selector),
    }
}

fn refs(key_package_refs: Vec<Vec<u8>>) -> Option<Selector> {
    Some(Selector::Refs(KeyPackageRefs { key_package_refs }))
}

fn credential(credential: usize, signature_key: usize) -> Option<Selector> {
    Some(Selector::Credential(CredentialSelector {
        credential: vec![7; credential],
        signature_key: vec![7; signature_key],
    }))
}

#[tokio::test]
async fn revoke_key_packages_names_the_bad_field() {
    let server = TestServer::start().await;
    let client = client(&server).await;
    Table::of(revoke(Selector::All(AllKeyPackages {})))
        .id("user_id", |request, id| request.user_id = id)
        .optional_id("device_id", |request, id| request.device_id = id)
        .with("selector", |request| request.selector = None)
        .with("refs.key_package_refs", |request| request.selector = refs(vec![]))
        .with("refs.key_package_refs", |request| request.selector = refs(vec![vec![7; 32]; 1001]))
        .reference("refs.key_package_refs[1]", |request, one| {
            request.selector = refs(vec![vec![7; 32], one]);
        })
        .with("credential", |request| request.selector = credential(0, 0))
        .with("credential.credential", |request| request.selector = credential(KIB_64 + 1, 0))
        .with("credential.signature_key", |request| request.selector = credential(1, KIB_64 + 1))
        .check(&server, async |request| client.clone().revoke_key_packages(request).await)
        .await;
}

#[tokio::test]
async fn several_bad_fields_are_reported_at_once() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let upload = client.upload_key_packages(UploadKeyPackagesRequest::default()).await;
    assert_eq!(fields(&upload.unwrap_err()), ["user_id", "device_id", "key_packages"]);
    let revoke = client.revoke_key_packages(RevokeKeyPackagesRequest {
        user_id: String::new(),
        device_id: "\n".into(),
        selector: credential(KIB_64 + 1, KIB_64 + 1),
    });
    assert_eq!(
        fields(&revoke.await.unwrap_err()),
        ["user_id", "device_id", "credential.credential", "credential.signature_key"]
    );
    let request = ReconcilePoolRequest {
        user_id: "bob".into(),
        device_id: "phone".into(),
        key_package_refs: vec![vec![], vec![7; 32], vec![7]],
        as_of: None,
    };
    let reconcile = client.reconcile_pool(request).await.unwrap_err();
    assert_eq!(fields(&reconcile), ["key_package_refs[0]", "key_package_refs[2]"]);
}

//! Calls that take effect although their reply never arrives, and are repeated.

use crate::support::{
    Client, calls::*, client, device, fill, pool, proxy::Proxy, reason, reserve_request, spend,
    spend_request, upload_request,
};
use keypool_proto::v1::{CipherSuitePool, ErrorReason, UploadOutcome};
use keypool_service::testing::{packages::PackageMaker, server::TestServer};
use tonic::{Response, Status};

/// A service behind a network that loses replies: with a client on this side of it, and one on the other.
struct Behind {
    _server: TestServer,
    proxy: Proxy,
    far: Client,
    near: Client,
}

impl Behind {
    async fn start() -> Self {
        let server = TestServer::start().await;
        let mut near = client(&server).await;
        fill(&mut near, "bob", "phone", 4).await;
        let proxy = Proxy::before(&server.endpoint()).await;
        let mut far = Client::connect(proxy.endpoint()).await.unwrap();
        devices(&mut far, "bob").await; // the connection stands
        Self { _server: server, proxy, far, near }
    }

    /// Makes a call, breaks the connection when the call has taken effect, and makes the call again.
    async fn repeat<T: Send + 'static>(
        &mut self,
        call: impl AsyncFn(Client) -> Result<Response<T>, Status> + Clone + 'static,
        effect: impl Fn(&CipherSuitePool) -> bool,
    ) -> T {
        self.proxy.lose_replies();
        let near = &mut self.near;
        let cut = async {
            eventually("the call takes effect", async || {
                effect(&pool(&mut near.clone(), "bob", "phone").await)
            })
            .await;
            self.proxy.cut();
        };
        let (lost, ()) = tokio::join!(call(self.far.clone()), cut);
        assert!(lost.is_err(), "the reply was lost");
        call(self.far.clone()).await.unwrap().into_inner()
    }
}

#[tokio::test]
async fn a_reserve_whose_reply_was_lost_returns_the_package_that_it_took() {
    let mut behind = Behind::start().await;
    let reserve = async |mut client: Client| {
        let request = reserve_request("r1", vec![device("bob", "phone")]);
        client.reserve_key_packages(request).await
    };
    let got = behind.repeat(reserve, |pool| pool.reserved == 1).await;
    assert_eq!(packages(&got).len(), 1);
    let pool = pool(&mut behind.near, "bob", "phone").await;
    assert_eq!((pool.available, pool.reserved), (3, 1));
    spend(&mut behind.near, "r1", named(&packages(&got)[0])).await.unwrap();
}

#[tokio::test]
async fn a_spend_whose_reply_was_lost_is_done_once() {
    let mut behind = Behind::start().await;
    let held = reserve_one(&mut behind.near, "r1", "bob", "phone").await.unwrap();
    let names = named(&held);
    let call = async move |mut client: Client| {
        client.spend_reservation(spend_request("r1", names.clone())).await
    };
    let got = behind.repeat(call, |pool| pool.spent == 1).await;
    assert_eq!(got.outcomes.len(), 1);
    assert_eq!(pool(&mut behind.near, "bob", "phone").await.spent, 1);
    let error = spend(&mut behind.near, "r2", named(&held)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::KeyPackageAlreadySpent);
}

#[tokio::test]
async fn an_upload_whose_reply_was_lost_adds_its_packages_once() {
    let mut behind = Behind::start().await;
    let packages = PackageMaker::new("bob", "phone").make_many(2);
    let call = async move |mut client: Client| {
        client.upload_key_packages(upload_request("bob", "phone", packages.clone())).await
    };
    let got = behind.repeat(call, |pool| pool.accepted == 6).await;
    let outcomes = got.results.iter().map(|result| result.outcome());
    assert!(outcomes.into_iter().all(|outcome| outcome == UploadOutcome::AlreadyPresent));
    assert_eq!(pool(&mut behind.near, "bob", "phone").await.available, 6);
}

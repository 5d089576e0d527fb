//! A device that keeps its pool over a network that fails.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use keypool_client::mls::PackageState;
use keypool_client::{Client, PoolKeeper, RetryPolicy};
use support::device::SUITE;
use support::keeper::{Keeper, Phone};
use support::proxy::{FAULTS, Fault, Proxy};

struct Stage {
    phone: Phone,
    proxy: Proxy,
    /// Through the proxy.
    client: Client,
}

impl Stage {
    async fn set() -> Self {
        let phone = Phone::new().await;
        let proxy = Proxy::start(phone.server.endpoint()).await;
        let retry = RetryPolicy::default().min_delay(Duration::from_millis(1));
        let client = Client::builder(proxy.endpoint()).retry(retry).connect_lazy().unwrap();
        Self { phone, proxy, client }
    }

    /// A keeper that has just been started, behind the proxy.
    fn keeper(&self) -> Keeper<'_> {
        let device = &self.phone.device;
        PoolKeeper::builder(self.client.clone(), "bob", &device.device_id, [SUITE])
            .store(device.store.clone())
            .build(&device.provider, device.credential.clone(), &device.signer)
    }

    /// A device whose pool is in use: some packages are spent, and the last resort has been handed out.
    async fn used_pool(&mut self, device_id: &str) {
        self.phone.replace_device(device_id);
        self.phone.keeper().refresh().await.unwrap();
        for group in 0..3 {
            self.phone.invite(&format!("group {group}"), true).await;
        }
        self.proxy.heal();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_network_breaks_no_refresh() {
    let mut stage = Stage::set().await;
    stage.used_pool("phone").await;
    stage.keeper().refresh().await.unwrap();
    let calls = stage.proxy.calls().len();
    assert!(calls >= 2, "{calls}");

    for call in 0..calls {
        for fault in FAULTS {
            stage.used_pool(&format!("phone-{call}-{fault:?}")).await;
            stage.proxy.fail(call, fault);
            let refreshed = stage.keeper().refresh().await;
            let refreshed = refreshed.unwrap_or_else(|error| panic!("{call} {fault:?}: {error:?}"));
            assert_eq!(refreshed.problems, [], "{call} {fault:?}");
            stage.phone.check_full().await;
            assert_eq!(stage.phone.count(PackageState::Spent), 3, "{call} {fault:?}");
            assert_eq!(stage.phone.pool().await.revoked, 0, "{call} {fault:?}");
        }
    }
    stage.phone.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_an_answer_leaves_what_the_next_refresh_finishes() {
    let mut stage = Stage::set().await;
    stage.used_pool("phone").await;
    stage.keeper().refresh().await.unwrap();
    let calls = stage.proxy.calls().len();

    for call in 0..calls {
        for arrives in [false, true] {
            stage.used_pool(&format!("phone-{call}-{arrives}")).await;
            match arrives {
                true => stage.proxy.fail(call, Fault::HoldReply),
                false => stage.proxy.die(call),
            }
            tokio::select! {
                done = async { stage.keeper().refresh().await } => panic!("{done:?}"),
                () = stage.proxy.stuck() => {}
            }
            stage.phone.check().await;
            stage.proxy.heal();
            let refreshed = stage.keeper().refresh().await.unwrap();
            assert_eq!(refreshed.problems, [], "{call} {arrives}");
            stage.phone.check_full().await;
            assert_eq!(stage.phone.count(PackageState::Created), 0, "{call} {arrives}");
            assert_eq!(stage.phone.pool().await.revoked, 0, "nothing is wasted");
        }
    }
    stage.phone.server.stop().await;
}

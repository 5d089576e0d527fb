use super::{attacker::Attacker, rig::Rig, support::calls::eventually};
use tokio::task::JoinSet;

const FEW: &str = "[limits]\nconnections = 50";

/// So many connections, of those that are not refused.
async fn connect(rig: &Rig, count: usize) -> Vec<Attacker> {
    let address = rig.address();
    let attempts: JoinSet<_> = (0..count).map(|_| Attacker::connect(address, 65_535)).collect();
    attempts.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_only_stay_make_room() {
    let rig = Rig::start(FEW).await;
    let mut silent = connect(&rig, 200).await;
    for _ in 0..20 {
        rig.honest_call().await.unwrap();
        rig.holds_out("connections that are silent").await;
    }
    eventually("they are closed", async || {
        for attacker in &mut silent {
            if attacker.is_open().await {
                return false;
            }
        }
        true
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_watch_health_make_room() {
    let rig = Rig::start(FEW).await;
    let mut watching = connect(&rig, 200).await;
    for attacker in &mut watching {
        attacker.call("/grpc.health.v1.Health/Watch", &[], false).await;
        attacker.send_message(b"").await;
    }
    rig.holds_out("connections that watch health").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_leaves_room_for_others() {
    let rig = Rig::start(FEW).await;
    let token = format!("Bearer {}", rig.issuer.user("mallory", Some("phone"), &["device"]));
    let mut known = Vec::new();
    for _ in 0..200 {
        if let Some(mut attacker) = Attacker::connect(rig.address(), 65_535).await {
            let path = "/keypool.v1.KeyPackageService/GetPoolStatus";
            attacker.call(path, &[("authorization", &token)], false).await;
            attacker.send_message(b"").await;
            known.push(attacker);
        }
    }
    rig.holds_out("connections of one account").await;
    drop(known);
}

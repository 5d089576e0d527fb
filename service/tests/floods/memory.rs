use super::{
    attacker::{Attacker, beginning},
    rig::Rig,
    support::{reserve_request, upload_request, user},
};
use keypool_proto::v1::ReserveKeyPackagesRequest;
use keypool_service::testing::packages::PackageMaker;
use prost::{Message, bytes::Bytes};
use std::time::Duration;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::timeout};

const HEALTH: &str = "/grpc.health.v1.Health/Check";
const API: &str = "/keypool.v1.KeyPackageService/";
const WINDOW: u32 = 65_535;

/// Goes on with an attack as long as the service takes it, and no longer than it matters.
async fn attack(attackers: JoinSet<Option<Attacker>>) -> Vec<Attacker> {
    attackers.join_all().await.into_iter().flatten().collect()
}

/// Sends, unless the service takes nothing for a while.
async fn press(attacker: &mut Attacker, bytes: &Bytes) {
    let _ended = timeout(Duration::from_secs(2), attacker.send(bytes.clone())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_never_end_what_they_send() {
    let rig = Rig::start("").await;
    let before = rig.memory();
    let address = rig.address();
    let body: Bytes = vec![7; 4 * 1024 * 1024 - 6].into();
    let mut attackers = JoinSet::new();
    for path in [HEALTH, HEALTH, "/nowhere.v1.Else/Call", "/keypool.v1.KeyPackageService/Upload"] {
        let body = body.clone();
        attackers.spawn(async move {
            let mut attacker = Attacker::connect(address, WINDOW).await?;
            for _ in 0..256 {
                if attacker.call(path, &[], false).await {
                    press(&mut attacker, &beginning(4 * 1024 * 1024)).await;
                    press(&mut attacker, &body).await;
                }
            }
            Some(attacker)
        });
    }
    let attackers = attack(attackers).await;
    rig.holds_out("unfinished bodies of strangers").await;
    drop(attackers);
    rig.recovers(before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_with_large_headers() {
    let rig = Rig::start("").await;
    let (before, address) = (rig.memory(), rig.address());
    let mut attackers = JoinSet::new();
    for _ in 0..20 {
        attackers.spawn(async move {
            let mut attacker = Attacker::connect(address, WINDOW).await?;
            let padding = "x".repeat(14 * 1024);
            for _ in 0..256 {
                let headers = [("x-padding", &*padding)];
                let called = attacker.call(HEALTH, &headers, false);
                let _ended = timeout(Duration::from_secs(2), called).await;
            }
            Some(attacker)
        });
    }
    let attackers = attack(attackers).await;
    rig.holds_out("large headers of strangers").await;
    drop(attackers);
    rig.recovers(before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_by_grpc_web() {
    let rig = Rig::start("").await;
    let (before, address) = (rig.memory(), rig.address());
    let mut open = Vec::new();
    let chunk = [&b"10000\r\n"[..], &[7; 0x10000], b"\r\n"].concat();
    for _ in 0..200 {
        let Ok(mut stream) = TcpStream::connect(address).await else { continue };
        let head = format!(
            "POST {HEALTH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/grpc-web\r\n\
             transfer-encoding: chunked\r\n\r\n5\r\n\x00\x00\x40\x00\x00\r\n"
        );
        let _refused = stream.write_all(head.as_bytes()).await;
        for _ in 0..64 {
            let pressed = timeout(Duration::from_secs(1), stream.write_all(&chunk)).await;
            if !matches!(pressed, Ok(Ok(()))) {
                break;
            }
        }
        open.push(stream);
    }
    rig.holds_out("unfinished bodies by gRPC-Web").await;
    drop(open);
    rig.recovers(before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_of_one_account_that_never_end() {
    let rig = Rig::start("").await;
    let (before, address) = (rig.memory(), rig.address());
    let token = format!("Bearer {}", rig.issuer.user("mallory", Some("phone"), &["device"]));
    let body: Bytes = vec![7; 4 * 1024 * 1024 - 6].into();
    let mut attackers = JoinSet::new();
    for _ in 0..4 {
        let (token, body) = (token.clone(), body.clone());
        attackers.spawn(async move {
            let mut attacker = Attacker::connect(address, WINDOW).await?;
            let path = format!("{API}UploadKeyPackages");
            for _ in 0..64 {
                if attacker.call(&path, &[("authorization", &token)], false).await {
                    press(&mut attacker, &beginning(4 * 1024 * 1024)).await;
                    press(&mut attacker, &body).await;
                }
            }
            Some(attacker)
        });
    }
    let attackers = attack(attackers).await;
    rig.holds_out("unfinished uploads of one account").await;
    drop(attackers);
    rig.recovers(before).await;
}

/// Fills the pool of a user's devices with packages of ten kilobytes, and reserves one of each.
async fn large_reserve(rig: &Rig, devices: usize) -> ReserveKeyPackagesRequest {
    let mut client = rig.client().await.unwrap();
    let service = format!("Bearer {}", rig.issuer.service("filler", &["backend"]));
    for number in 0..devices {
        let device = format!("device-{number}");
        let package = PackageMaker::new("bob", &device).application_data(vec![7; 10 * 1024]).make();
        let upload = upload_request("bob", &device, vec![package]);
        let mut request = tonic::Request::new(upload);
        request.metadata_mut().insert("authorization", service.parse().unwrap());
        client.upload_key_packages(request).await.unwrap();
    }
    let reserve = reserve_request("large", vec![user("bob")]);
    let answer =
        client.reserve_key_packages(rig.as_user("mallory", reserve.clone())).await.unwrap();
    assert_eq!(answer.into_inner().reservation.unwrap().packages.len(), devices);
    reserve
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_one_account_does_not_take() {
    for window in [0, 1] {
        let rig = Rig::start("").await;
        let reserve = large_reserve(&rig, 40).await.encode_to_vec();
        let (before, address) = (rig.memory(), rig.address());
        let token = rig.issuer.user("mallory", Some("phone"), &["inviter"]);
        let token = format!("Bearer {token}");
        let mut attackers = JoinSet::new();
        for _ in 0..10 {
            let (token, reserve) = (token.clone(), reserve.clone());
            attackers.spawn(async move {
                let mut attacker = Attacker::connect(address, window).await?;
                let path = format!("{API}ReserveKeyPackages");
                for _ in 0..100 {
                    if attacker.call(&path, &[("authorization", &token)], false).await {
                        attacker.send_message(&reserve).await;
                        attacker.answered().await;
                    }
                }
                Some(attacker)
            });
        }
        let attackers = attack(attackers).await;
        rig.holds_out(&format!("answers to a window of {window}")).await;
        drop(attackers);
        rig.recovers(before).await;
    }
}

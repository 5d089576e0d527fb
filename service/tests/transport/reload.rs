use super::{
    authority::{Authority, client, serve, shown},
    support::{calls::eventually, fill, http},
};
use jiff::SignedDuration;
use keypool_proto::v1::WatchPoolRequest;
use rustls::version::TLS13;
use std::os::unix::fs::symlink;

#[tokio::test]
async fn new_connections_get_the_new_certificate_while_old_ones_go_on() {
    let authority = Authority::new("servers");
    let (old, new) = (authority.issue("localhost"), authority.issue("localhost"));
    let (server, files) = serve(&authority, |files, _, tls| {
        // As Kubernetes does it: files are links into a folder that is a link, and that is swapped.
        for (name, pair) in [("old", &old), ("new", &new)] {
            std::fs::create_dir(files.path(name)).unwrap();
            files.write(&format!("{name}/tls.crt"), &pair.certificate);
            files.write(&format!("{name}/tls.key"), &pair.key);
        }
        symlink("old", files.path("data")).unwrap();
        tls.certificate = files.path("data/tls.crt");
        tls.key = files.path("data/tls.key");
        tls.reload_interval = SignedDuration::from_millis(20);
    })
    .await;
    let mut client = client(&server, authority.trusted()).await;
    let request = WatchPoolRequest { user_id: "bob".into(), device_id: "phone".into() };
    let mut watch = client.watch_pool(request).await.unwrap().into_inner();
    let empty = watch.message().await.unwrap().unwrap().pool_status.unwrap();
    assert!(empty.pools.is_empty());
    let before = shown(&authority.handshake(&server, &TLS13).await.unwrap());

    symlink("new", files.path("swap")).unwrap();
    std::fs::rename(files.path("swap"), files.path("data")).unwrap();
    eventually("the new certificate is served", async || {
        let now = shown(&authority.handshake(&server, &TLS13).await.unwrap());
        now != before && contains(&now, &new.public)
    })
    .await;
    let metrics = http::get(server.server().admin_address(), "/metrics").await;
    assert!(metrics.text().contains("keypool_tls_reloads_total{result=\"ok\"}"));
    assert!(metrics.text().contains("keypool_tls_certificate_expiry_timestamp_seconds"));

    // The watch is a call on the old connection; what makes it speak is done on the same.
    fill(&mut client, "bob", "phone", 1).await;
    let told = watch.message().await.unwrap().unwrap().pool_status.unwrap();
    assert_eq!(told.pools[0].available, 1);
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

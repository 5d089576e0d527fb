//! What is stored is bounded: the bytes of a package go when nobody can be handed them again, and a user has a quota.

use super::support::{
    Client, assert_balanced,
    calls::{
        extend, named, reconcile, refs, rejections, release_request, reserve_one, revoke_all,
        revoke_request,
    },
    client, device, fill, fill_last_resort,
    forge::with_init_key_of,
    locks::connect,
    names, pool, reserve, spend, upload, upload_request,
};
use jiff::SignedDuration;
use keypool_proto::v1::{
    KeyPackageRefs, RejectionReason as Reason, ReservedKeyPackage, UnusableReason,
    revoke_key_packages_request::Selector,
};
use keypool_service::{
    config::Config,
    limits::Rates,
    testing::{packages::PackageMaker, server::TestServer},
};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// A server that counts no rates, so that a test can do much at once.
async fn unlimited(configure: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::start_with(|config| {
        config.limits.rates = Rates::UNLIMITED;
        configure(config);
    })
    .await
}

/// How many bytes of packages, and of what is in them, are stored.
async fn stored(server: &TestServer) -> i64 {
    let client = connect(&server.database().config()).await;
    let bytes = "SELECT COALESCE(sum(octet_length(key_package)), 0) FROM key_package";
    client.query_one(bytes, &[]).await.unwrap().get(0)
}

async fn sweep(server: &TestServer) -> u64 {
    server.server().pool().sweep().await.unwrap().emptied
}

/// Lets the time pass for which spent packages keep their bytes.
fn pass(server: &TestServer) {
    server.clock().advance(61 * MINUTE);
}

async fn send(client: &mut Client, packages: Vec<Vec<u8>>) -> Vec<Reason> {
    let request = upload_request("bob", "phone", packages);
    rejections(&client.upload_key_packages(request).await.unwrap().into_inner())
}

async fn reserve_bobs(client: &mut Client, reservation: &str) -> ReservedKeyPackage {
    reserve_one(client, reservation, "bob", "phone").await.unwrap()
}

fn by_refs(refs: Vec<Vec<u8>>) -> Selector {
    Selector::Refs(KeyPackageRefs { key_package_refs: refs })
}

async fn report_unusable(client: &mut Client, reservation: &str) {
    let held = reserve_bobs(client, reservation).await;
    let reason = UnusableReason::Other;
    client.release_reservation(release_request(reservation, named(&held), reason)).await.unwrap();
}

/// A way to be done with packages.
#[derive(Debug, Clone, Copy)]
enum Way {
    RevokeAll,
    RevokeRefs,
    RevokeHeld,
    Reconcile,
    ReportUnusable,
    Spend,
    SpendRevoked,
}

impl Way {
    const ALL: [Self; 7] = [
        Self::RevokeAll,
        Self::RevokeRefs,
        Self::RevokeHeld,
        Self::Reconcile,
        Self::ReportUnusable,
        Self::Spend,
        Self::SpendRevoked,
    ];

    /// Uploads some packages, gets rid of them, and returns them.
    async fn go(self, server: &TestServer, client: &mut Client) -> Vec<Vec<u8>> {
        let packages = PackageMaker::new("bob", "phone").make_many(3);
        let uploaded = upload(client, "bob", "phone", packages.clone()).await;
        match self {
            Self::RevokeAll => {
                revoke_all(client, "bob", "phone").await;
            }
            Self::RevokeRefs => {
                let request = revoke_request("bob", "phone", by_refs(refs(&uploaded)));
                client.revoke_key_packages(request).await.unwrap();
            }
            Self::RevokeHeld => {
                reserve_bobs(client, "held").await;
                revoke_all(client, "bob", "phone").await;
            }
            Self::Reconcile => {
                reconcile(client, "bob", "phone", Vec::new()).await.unwrap();
            }
            Self::ReportUnusable => {
                for reservation in ["a", "b", "c"] {
                    report_unusable(client, reservation).await;
                }
            }
            Self::Spend | Self::SpendRevoked => {
                let mut held = Vec::new();
                for reservation in ["a", "b", "c"] {
                    held.push((reservation, reserve_bobs(client, reservation).await));
                }
                if matches!(self, Self::SpendRevoked) {
                    revoke_all(client, "bob", "phone").await;
                }
                for (reservation, package) in held {
                    spend(client, reservation, named(&package)).await.unwrap();
                }
                pass(server);
                sweep(server).await;
            }
        }
        packages
    }
}

#[tokio::test]
async fn a_package_that_nobody_can_be_handed_leaves_no_bytes() {
    for way in Way::ALL {
        let server = unlimited(|_| {}).await;
        let mut client = client(&server).await;
        let gone = way.go(&server, &mut client).await;
        assert_eq!(stored(&server).await, 0, "{way:?}");
        // It can't come back all the same, nor its init key.
        let is_spent = matches!(way, Way::Spend | Way::SpendRevoked);
        let reason = if is_spent { Reason::AlreadySpent } else { Reason::Revoked };
        assert_eq!(send(&mut client, gone.clone()).await, [reason; 3], "{way:?}");
        let maker = PackageMaker::new("bob", "phone");
        let forged = gone.iter().map(|one| with_init_key_of(&maker, one)).collect();
        assert_eq!(send(&mut client, forged).await, [Reason::InitKeyReused; 3], "{way:?}");
        assert_balanced(&pool(&mut client, "bob", "phone").await);
        // Nor does it take any of the quota.
        fill(&mut client, "bob", "phone", 3).await;
    }
}

#[tokio::test]
async fn upload_and_revoke_again_and_again_leaves_no_bytes() {
    let server = unlimited(|_| {}).await;
    let mut client = client(&server).await;
    for _ in 0..3 {
        let one_time = PackageMaker::new("bob", "phone").application_data(vec![7; 8000]);
        let mut packages = one_time.make_many(20);
        packages.push(PackageMaker::new("bob", "phone").last_resort().make());
        upload(&mut client, "bob", "phone", packages).await;
        assert_eq!(revoke_all(&mut client, "bob", "phone").await, 21);
        assert_eq!(stored(&server).await, 0);
    }
}

#[tokio::test]
async fn a_reserve_can_be_repeated_for_a_while_after_its_spend() {
    let server = unlimited(|_| {}).await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 2).await;
    let held = reserve_bobs(&mut client, "r").await;
    spend(&mut client, "r", named(&held)).await.unwrap();
    let spent = ReservedKeyPackage { spent: true, hold_expire_time: None, ..held.clone() };

    server.clock().advance(59 * MINUTE);
    assert_eq!(sweep(&server).await, 0);
    assert_eq!(reserve_bobs(&mut client, "r").await, spent);

    server.clock().advance(2 * MINUTE);
    assert_eq!(sweep(&server).await, 1);
    let without_bytes = ReservedKeyPackage { key_package: Vec::new(), ..spent };
    assert_eq!(reserve_bobs(&mut client, "r").await, without_bytes);
    spend(&mut client, "r", named(&held)).await.unwrap();
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.available, pool.spent), (1, 1));
    assert_balanced(&pool);
}

#[tokio::test]
async fn a_package_that_was_spent_long_after_its_entry_was_logged_keeps_its_bytes_as_long() {
    let server = unlimited(|_| {}).await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 2).await;
    let owner = connect(&server.database().config()).await;
    let log_earlier = "UPDATE spend_log SET logged_at = logged_at - interval '10 days' WHERE spent_at = logged_at";
    for reservation in ["first", "second"] {
        // The sweep has passed its place in the log when it is spent.
        let held = reserve_bobs(&mut client, reservation).await;
        spend(&mut client, reservation, named(&held)).await.unwrap();
        owner.batch_execute(log_earlier).await.unwrap();
        server.clock().advance(59 * MINUTE);
        assert_eq!(sweep(&server).await, 0);
        assert_eq!(reserve_bobs(&mut client, reservation).await.key_package, held.key_package);
        server.clock().advance(2 * MINUTE);
        assert_eq!(sweep(&server).await, 1);
    }
    assert_eq!(stored(&server).await, 0);
}

#[tokio::test]
async fn a_hold_on_a_superseded_last_resort_keeps_its_bytes() {
    let server = unlimited(|_| {}).await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let old = reserve_bobs(&mut client, "old").await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let newer = reserve_bobs(&mut client, "newer").await;
    assert_ne!(old.name, newer.name);

    for _ in 0..8 {
        server.clock().advance(9 * MINUTE);
        extend(&mut client, "old", named(&old)).await.unwrap();
    }
    assert_eq!(sweep(&server).await, 0);
    assert_eq!(reserve_bobs(&mut client, "old").await.key_package, old.key_package);

    pass(&server);
    server.clock().advance(10 * MINUTE);
    assert_eq!(sweep(&server).await, 1);
    assert_eq!(stored(&server).await, i64::try_from(newer.key_package.len()).unwrap());
    // Whoever was handed it may still spend it. A reserve is answered with one that has bytes.
    extend(&mut client, "old", named(&old)).await.unwrap();
    assert_eq!(reserve_bobs(&mut client, "old").await.key_package, newer.key_package);
    spend(&mut client, "old", named(&old)).await.unwrap();
    let spent = reserve_bobs(&mut client, "old").await;
    assert!(spent.spent && spent.key_package.is_empty(), "{spent:?}");
}

#[tokio::test]
async fn a_revocation_by_credential_finds_a_superseded_last_resort_without_bytes() {
    let server = unlimited(|_| {}).await;
    let mut client = client(&server).await;
    let maker = PackageMaker::new("bob", "phone").last_resort();
    upload(&mut client, "bob", "phone", vec![maker.make()]).await;
    upload(&mut client, "bob", "phone", vec![maker.make()]).await;
    pass(&server);
    assert_eq!(sweep(&server).await, 1);
    let signature_key = maker.signer().public().to_vec();
    let by_key = keypool_proto::v1::CredentialSelector { credential: Vec::new(), signature_key };
    let request = revoke_request("bob", "phone", Selector::Credential(by_key));
    let revoked = client.revoke_key_packages(request).await.unwrap().into_inner().revoked_count;
    assert_eq!(revoked, 2);
    assert_eq!(stored(&server).await, 0);
}

#[tokio::test]
async fn replicas_that_sweep_at_once_leave_nothing_of_many_packages_spent_at_one_moment() {
    let server = unlimited(|config| config.limits.holds_per_holder_and_device = 1000).await;
    let replica = server.replica().await;
    let mut client = client(&server).await;
    let devices = ["a", "b", "c", "d"];
    for device in devices {
        fill(&mut client, "bob", device, 60).await;
    }
    for n in 0..60 {
        let reservation = n.to_string();
        let targets = devices.map(|one| device("bob", one)).to_vec();
        let held = reserve(&mut client, &reservation, targets).await.unwrap();
        spend(&mut client, &reservation, names(&held)).await.unwrap();
    }
    let owner = connect(&server.database().config()).await;
    let at_once = "UPDATE spend_log SET logged_at = (SELECT min(logged_at) FROM spend_log)";
    owner.batch_execute(at_once).await.unwrap();
    fill(&mut client, "bob", "a", 1).await;
    let kept = stored(&server).await / 241;
    pass(&server);
    let (one, other) = tokio::join!(sweep(&server), sweep(&replica));
    assert_eq!(one + other, 240);
    assert!((stored(&server).await - kept).abs() < 16, "one package is in the pool");
    assert_eq!(sweep(&server).await, 0);
}

#[tokio::test]
async fn a_user_has_a_quota_of_bytes_for_all_its_devices() {
    let of = |device: &str| PackageMaker::new("bob", device).application_data(vec![7; 4000]);
    let bytes = of("phone").make().len();
    let server = unlimited(|config| {
        config.pool.max_bytes_per_user = u64::try_from(5 * bytes).unwrap() + 100;
        config.validation.max_bytes = bytes + 100;
    })
    .await;
    let mut client = client(&server).await;
    let request = |device, packages| upload_request("bob", device, packages);

    let packages = of("phone").make_many(4);
    let first = client.upload_key_packages(request("phone", packages)).await.unwrap();
    assert_eq!(rejections(&first.into_inner()), [Reason::Unspecified; 4]);
    let packages = of("laptop").make_many(3);
    let sent = client.upload_key_packages(request("laptop", packages.clone())).await.unwrap();
    let (fits, beyond) = (Reason::Unspecified, Reason::QuotaExceeded);
    assert_eq!(rejections(&sent.into_inner()), [fits, beyond, beyond]);
    // A last resort counts as well, and what is there already does not count again.
    let again = vec![of("laptop").last_resort().make(), packages[0].clone()];
    let sent = client.upload_key_packages(request("laptop", again)).await.unwrap();
    assert_eq!(rejections(&sent.into_inner()), [beyond, fits]);
    // Others have a quota of their own.
    fill(&mut client, "alice", "phone", 3).await;

    let held = reserve_bobs(&mut client, "r").await;
    let full = client.upload_key_packages(request("laptop", packages.clone())).await.unwrap();
    assert_eq!(rejections(&full.into_inner()), [fits, beyond, beyond], "held packages count");
    spend(&mut client, "r", named(&held)).await.unwrap();
    let room = client.upload_key_packages(request("laptop", packages.clone())).await.unwrap();
    assert_eq!(rejections(&room.into_inner()), [fits, fits, beyond]);
    revoke_all(&mut client, "bob", "phone").await;
    let room = client.upload_key_packages(request("laptop", packages)).await.unwrap();
    assert_eq!(rejections(&room.into_inner()), [fits; 3]);
}

#[tokio::test]
async fn packages_that_an_older_version_stored_count_too() {
    let bytes = PackageMaker::new("bob", "phone").make().len();
    let server = unlimited(|config| {
        config.pool.max_bytes_per_user = 2 * 1024;
        config.validation.max_bytes = 2 * 1024;
    })
    .await;
    let mut client = client(&server).await;
    let fit = 2 * 1024 / bytes - 1;
    fill(&mut client, "bob", "phone", fit).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let owner = connect(&server.database().config()).await;
    owner.batch_execute("UPDATE one_time SET bytes = NULL").await.unwrap();
    owner.batch_execute("UPDATE last_resort SET bytes = NULL").await.unwrap();
    let more = PackageMaker::new("bob", "phone").make_many(fit);
    assert_eq!(send(&mut client, more).await.last(), Some(&Reason::QuotaExceeded));
    assert_eq!(revoke_all(&mut client, "bob", "phone").await as usize, fit + 1);
    let more = PackageMaker::new("bob", "phone").make_many(fit);
    assert_eq!(send(&mut client, more).await, vec![Reason::Unspecified; fit]);
}

//! The invite flow, against a service with scripted answers, some of them lies.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keypool_client::mls::{
    CredentialVerifier, Invite, InviteJournal, InviteRecord, MemoryJournal, RejectedPackage,
    WrongIdentity,
};
use keypool_client::proto::v1::*;
use keypool_client::{
    BasicIdentity, Client, Error, InviteError, Invited, Inviter, PackageFault, PublishError, Target,
};
use keypool_service::clock::{Clock, SystemClock};
use keypool_service::pool::validation::RejectionReason as Reason;
use keypool_service::testing::hostile::{hostile, odd};
use openmls::prelude::{
    Capabilities, Ciphersuite, Credential, Extension, ExtensionType, Extensions, KeyPackage,
    Lifetime, MlsGroup, RequiredCapabilitiesExtension, SignaturePublicKey,
};
use support::device::{Device, hash_ref};
use support::*;
use tonic::Code;

struct Stage {
    fake: Arc<Fake>,
    client: Client,
    alice: Device,
    bob: Device,
}

impl Stage {
    async fn set() -> Self {
        let (fake, client) = Fake::start().await;
        let client = client.connect().await.unwrap();
        let (alice, bob) = (Device::new("alice", "laptop"), Device::new("bob", "phone"));
        Self { fake, client, alice, bob }
    }

    fn inviter(&self) -> Inviter<BasicIdentity> {
        Inviter::new(self.client.clone(), BasicIdentity::default()).own_device("alice", "laptop")
    }

    async fn invite(&self, group: &mut MlsGroup) -> Result<Invited, InviteError> {
        let targets = [Target::user("bob"), Target::user("alice")];
        let (provider, signer) = (&self.alice.provider, &self.alice.signer);
        let publish = async |_: Invite| Ok::<_, PublishError>(());
        self.inviter().invite(group, provider, signer, targets, publish).await
    }

    /// What the inviter says about a package, and what it tells the service.
    async fn judge(&self, group: &mut MlsGroup, package: ReservedKeyPackage) -> Verdict {
        let exhausted = failure(Code::FailedPrecondition, ErrorReason::PoolExhausted, vec![]);
        self.fake.reserve.answer(Ok(reserved(vec![package]))).answer(Err(exhausted));
        self.fake.release.answer(Ok(ReleaseReservationResponse::default()));
        let error = self.invite(group).await.unwrap_err();
        // There is no second reserve for a package that is just given back.
        self.fake.reserve.clear();
        match error {
            InviteError::Incomplete { mut unusable, .. } => {
                let RejectedPackage { fault, .. } = unusable.pop().unwrap();
                let release = self.fake.release.requests().pop().unwrap();
                (fault, release.packages[0].unusable_reason())
            }
            error => panic!("{error:?}"),
        }
    }
}

impl Stage {
    /// As `judge`, of packages that may be good: those are not spent, so that the group stays as it is.
    async fn try_out(
        &self,
        group: &mut MlsGroup,
        package: ReservedKeyPackage,
    ) -> (Option<PackageFault>, UnusableReason) {
        let exhausted = failure(Code::FailedPrecondition, ErrorReason::PoolExhausted, vec![]);
        self.fake.reserve.answer(Ok(reserved(vec![package]))).answer(Err(exhausted));
        let lost = failure(Code::Aborted, ErrorReason::ReservationLost, vec![]);
        self.fake.spend.answer(Err(lost));
        self.fake.release.answer(Ok(ReleaseReservationResponse::default()));
        let fault = match self.invite(group).await.unwrap_err() {
            InviteError::Incomplete { mut unusable, .. } => Some(unusable.pop().unwrap().fault),
            InviteError::Spend { .. } | InviteError::Commit(_) => None,
            error => panic!("{error:?}"),
        };
        self.fake.reserve.clear();
        self.fake.spend.clear();
        let release = self.fake.release.requests().pop().unwrap();
        (fault, release.packages[0].unusable_reason())
    }
}

type Verdict = (PackageFault, UnusableReason);

#[tokio::test]
async fn bob_is_added_and_joins() {
    let stage = Stage::set().await;
    stage.fake.reserve.answer(Ok(reserved(vec![stage.bob.fresh()])));
    stage.fake.spend.answer(Ok(SpendReservationResponse::default()));
    let mut group = stage.alice.group();
    let published = Mutex::new(None);

    let publish = async |invite: Invite| {
        // The fence: nothing goes out before the package is spent.
        assert_eq!(stage.fake.spend.requests().len(), 1);
        *published.lock().unwrap() = Some(invite);
        Ok::<_, PublishError>(())
    };
    let targets = [Target::user("bob"), Target::user("alice"), Target::device("alice", "laptop")];
    let invited = stage
        .inviter()
        .invite(&mut group, &stage.alice.provider, &stage.alice.signer, targets, publish)
        .await
        .unwrap();

    assert_eq!(invited.added[0].user_id, "bob");
    assert!(group.pending_commit().is_none());
    let bobs_group = stage.bob.join(&published.lock().unwrap().take().unwrap().welcome);
    assert_eq!(bobs_group.members().count(), 2);
    assert_eq!(bobs_group.epoch_authenticator().as_slice(), group.epoch_authenticator().as_slice());

    let request = &stage.fake.reserve.requests()[0];
    assert_eq!(request.cipher_suites, [1]);
    let own = request.targets.iter().find(|target| target.user_id == "alice").unwrap();
    assert_eq!(own.excluded_device_ids, ["laptop"]);
    assert_eq!(request.targets.len(), 2);
}

#[tokio::test]
async fn a_refused_spend_leaves_the_group_as_it_was() {
    let stage = Stage::set().await;
    stage.fake.reserve.answer(Ok(reserved(vec![stage.bob.fresh()])));
    stage.fake.spend.answer(Err(failure(Code::Aborted, ErrorReason::ReservationLost, vec![])));
    stage.fake.release.answer(Ok(ReleaseReservationResponse::default()));
    let mut group = stage.alice.group();
    let epoch = group.epoch();

    let error = stage.invite(&mut group).await.unwrap_err();

    let InviteError::Spend { source } = error else { panic!("{error:?}") };
    assert_eq!(source.reason(), Some(ErrorReason::ReservationLost));
    assert!(group.pending_commit().is_none());
    assert_eq!(group.epoch(), epoch);
    assert_eq!(stage.fake.release.requests().len(), 1);
}

#[tokio::test]
async fn what_was_not_published_can_be_published_again() {
    let stage = Stage::set().await;
    stage.fake.reserve.answer(Ok(reserved(vec![stage.bob.fresh()])));
    stage.fake.spend.answer(Ok(SpendReservationResponse::default()));
    let mut group = stage.alice.group();
    let (provider, signer) = (&stage.alice.provider, &stage.alice.signer);

    let publish = async |_: Invite| Err(PublishError::Later("no network".into()));
    let targets = [Target::user("bob")];
    let error =
        stage.inviter().invite(&mut group, provider, signer, targets, publish).await.unwrap_err();

    let InviteError::Publish { invite, source } = error else { panic!("{error:?}") };
    assert_eq!(source.to_string(), "no network");
    let again = stage.invite(&mut group).await.unwrap_err();
    assert!(matches!(again, InviteError::GroupNotReady), "{again:?}");
    group.merge_pending_commit(provider).unwrap();
    assert_eq!(stage.bob.join(&invite.welcome).epoch(), group.epoch());
    assert_eq!(stage.fake.release.requests().len(), 0);
}

#[tokio::test]
async fn an_unusable_package_is_replaced_once() {
    let stage = Stage::set().await;
    let mut broken = stage.bob.fresh();
    broken.key_package.pop();
    let good = stage.bob.fresh();
    stage.fake.reserve.answer(Ok(reserved(vec![broken]))).answer(Ok(reserved(vec![good.clone()])));
    stage.fake.release.answer(Ok(ReleaseReservationResponse::default()));
    stage.fake.spend.answer(Ok(SpendReservationResponse::default()));
    let mut group = stage.alice.group();

    let invited = stage.invite(&mut group).await.unwrap();

    assert_eq!(Some(&invited.added[0]), good.name.as_ref());
    assert_eq!(invited.unusable[0].fault, PackageFault::Malformed);
    let [first, second] = &stage.fake.reserve.requests()[..] else { panic!("two reserves") };
    assert_eq!(first, second);
    let spend = &stage.fake.spend.requests()[0];
    assert_eq!(spend.packages, invited.added);
}

#[tokio::test]
async fn what_turns_out_to_be_spent_with_a_replacement_is_not_forgotten() {
    let stage = Stage::set().await;
    let mut broken = stage.bob.fresh();
    broken.key_package.pop();
    let tablet = Device::new("bob", "tablet").fresh();
    let mut spent = tablet.clone();
    (spent.spent, spent.hold_expire_time) = (true, None);
    stage.fake.reserve.answer(Ok(reserved(vec![broken, tablet])));
    stage.fake.reserve.answer(Ok(reserved(vec![stage.bob.fresh(), spent])));
    let refusal = failure(Code::PermissionDenied, ErrorReason::PermissionDenied, vec![]);
    stage.fake.spend.answer(Err(refusal));
    stage.fake.release.always(Ok(ReleaseReservationResponse::default()));
    let journal = Arc::new(MemoryJournal::default());
    let mut group = stage.alice.group();
    let (provider, signer) = (&stage.alice.provider, &stage.alice.signer);

    let publish = async |_: Invite| Ok::<_, PublishError>(());
    let targets = [Target::user("bob")];
    let inviter = stage.inviter().journal(journal.clone());
    let error = inviter.invite(&mut group, provider, signer, targets, publish).await.unwrap_err();

    assert!(matches!(error, InviteError::Spend { .. }), "{error:?}");
    // Another commit can still use what is spent.
    let record = journal.load(group.group_id().as_slice()).unwrap();
    assert!(record.is_some());
}

#[tokio::test]
async fn what_needs_all_targets_adds_nobody_else() {
    let stage = Stage::set().await;
    let mut broken = Device::new("carol", "phone").fresh();
    broken.key_package.pop();
    stage.fake.reserve.answer(Ok(reserved(vec![stage.bob.fresh(), broken])));
    let details =
        ReserveErrorDetails { missing: vec![missing("carol", "phone")], omitted_count: 0 };
    let details = vec![detail("keypool.v1.ReserveErrorDetails", &details)];
    let exhausted = failure(Code::FailedPrecondition, ErrorReason::PoolExhausted, details);
    stage.fake.reserve.answer(Err(exhausted));
    stage.fake.release.always(Ok(ReleaseReservationResponse::default()));
    let mut group = stage.alice.group();
    let (provider, signer) = (&stage.alice.provider, &stage.alice.signer);

    let targets = [Target::user("bob"), Target::user("carol")];
    let publish = async |_: Invite| Ok::<_, PublishError>(());
    let inviter = stage.inviter().require_all();
    let error = inviter.invite(&mut group, provider, signer, targets, publish).await.unwrap_err();

    assert!(matches!(error, InviteError::Reserve(Error::PoolExhausted(_))), "{error:?}");
    let released = stage.fake.release.requests().into_iter().flat_map(|release| release.packages);
    let released: Vec<_> = released.filter_map(|one| Some(one.name?.user_id)).collect();
    assert_eq!(released, ["carol", "bob"]);
    assert_eq!(stage.fake.spend.requests().len(), 0);
}

#[tokio::test]
async fn a_spent_package_without_bytes_is_neither_used_nor_reported() {
    let stage = Stage::set().await;
    let forgotten = ReservedKeyPackage {
        key_package: Vec::new(),
        hold_expire_time: None,
        spent: true,
        ..stage.bob.fresh()
    };
    stage.fake.reserve.answer(Ok(reserved(vec![forgotten])));
    let mut group = stage.alice.group();
    let (provider, signer) = (&stage.alice.provider, &stage.alice.signer);

    let publish = async |_: Invite| Ok::<_, PublishError>(());
    let targets = [Target::user("bob")];
    let error =
        stage.inviter().invite(&mut group, provider, signer, targets, publish).await.unwrap_err();

    let InviteError::Incomplete { unusable, .. } = error else { panic!("{error:?}") };
    assert_eq!(unusable[0].fault, PackageFault::Forgotten);
    assert_eq!(stage.fake.reserve.requests().len(), 1);
    assert_eq!(stage.fake.release.requests().len(), 0);
    assert!(group.pending_commit().is_none());
}

#[tokio::test]
async fn what_every_client_must_find_is_reported() {
    let stage = Stage::set().await;
    let (alice, bob) = (&stage.alice, &stage.bob);
    let mut group = alice.group();

    let mut trailing = bob.fresh();
    trailing.key_package.push(0);
    let verdict = stage.judge(&mut group, trailing).await;
    assert_eq!(verdict, (PackageFault::Malformed, UnusableReason::Malformed));

    let mut forged = bob.fresh();
    *forged.key_package.last_mut().unwrap() ^= 1;
    let verdict = stage.judge(&mut group, forged).await;
    assert_eq!(verdict, (PackageFault::InvalidSignature, UnusableReason::InvalidSignature));

    let mut misnamed = bob.fresh();
    misnamed.name.as_mut().unwrap().key_package_ref = vec![7; 32];
    let verdict = stage.judge(&mut group, misnamed).await;
    assert_eq!(verdict, (PackageFault::WrongRef, UnusableReason::Other));

    let suite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;
    let builder = KeyPackage::builder();
    let other = builder.build(suite, &bob.provider, &bob.signer, bob.credential.clone()).unwrap();
    let mislabelled = bob.hand_out(other.key_package());
    let verdict = stage.judge(&mut group, mislabelled).await;
    assert_eq!(verdict, (PackageFault::WrongCipherSuite, UnusableReason::Other));

    let shared = ReservedKeyPackage { last_resort: true, ..bob.fresh() };
    let verdict = stage.judge(&mut group, shared).await;
    assert_eq!(verdict, (PackageFault::WrongLastResort, UnusableReason::Other));

    assert!(group.pending_commit().is_none());
}

#[tokio::test]
async fn what_others_may_be_able_to_use_is_just_given_back() {
    let stage = Stage::set().await;
    let (alice, bob) = (&stage.alice, &stage.bob);
    let mut group = alice.group();

    // The rule for identities is the application's, and may differ from the service's.
    let mut mallorys = Device::new("mallory", "phone").fresh();
    mallorys.name.as_mut().unwrap().user_id = "bob".into();
    let (fault, reason) = stage.judge(&mut group, mallorys).await;
    assert!(matches!(fault, PackageFault::WrongIdentity(_)), "{fault:?}");
    assert_eq!(reason, UnusableReason::Unspecified);

    // By this process's clock, which may be wrong.
    let (a_day, now) = (24 * 60 * 60, SystemClock.now().as_second() as u64);
    for lifetime in [Lifetime::init(1, 2), Lifetime::init(now + a_day, now + 2 * a_day)] {
        let package = bob.build(KeyPackage::builder().key_package_lifetime(lifetime));
        let (fault, reason) = stage.judge(&mut group, bob.hand_out(&package)).await;
        assert!(matches!(fault, PackageFault::Lifetime(_)), "{fault:?}");
        assert_eq!(reason, UnusableReason::Unspecified);
    }

    let endless = KeyPackage::builder().key_package_lifetime(Lifetime::init(0, u64::MAX));
    let verdict = stage.judge(&mut group, bob.hand_out(&bob.build(endless))).await;
    assert_eq!(verdict, (PackageFault::LifetimeTooLong, UnusableReason::Unspecified));

    let suites = [Ciphersuite::MLS_128_DHKEMP256_AES128GCM_SHA256_P256];
    let other = Capabilities::new(None, Some(&suites), None, None, None);
    let inconsistent = bob.build(KeyPackage::builder().leaf_node_capabilities(other));
    let (fault, reason) = stage.judge(&mut group, bob.hand_out(&inconsistent)).await;
    assert!(matches!(fault, PackageFault::InconsistentCapabilities(_)), "{fault:?}");
    assert_eq!(reason, UnusableReason::Unspecified);

    // A credential of a type that OpenMLS does not know.
    let mut of_later = bob.fresh();
    let identity = b"\x00\x01\x09bob/phone";
    let at = of_later.key_package.windows(identity.len()).position(|part| part == identity);
    of_later.key_package[at.unwrap()] = 0xf0;
    let verdict = stage.judge(&mut group, of_later).await;
    assert_eq!(verdict, (PackageFault::Unreadable, UnusableReason::Unspecified));

    let required = RequiredCapabilitiesExtension::new(&[ExtensionType::Unknown(0xf000)], &[], &[]);
    let extensions = Extensions::single(Extension::RequiredCapabilities(required)).unwrap();
    let mut demanding = alice.group_with(extensions);
    let (fault, reason) = stage.judge(&mut demanding, bob.fresh()).await;
    assert!(matches!(fault, PackageFault::UnsupportedCapabilities(_)), "{fault:?}");
    assert_eq!(reason, UnusableReason::Unspecified);
}

#[tokio::test]
async fn hostile_packages_are_reported_if_and_only_if_that_is_certain() {
    let stage = Stage::set().await;
    let mut group = stage.alice.group();
    for hostile in hostile("bob", "phone") {
        let (fault, reported) = stage.try_out(&mut group, as_bobs(hostile.bytes.clone())).await;
        let other_suite = hostile.bytes.get(2..4) != Some(&[0, 1]);
        let expected: &[_] = match hostile.reason {
            Reason::Malformed | Reason::TooLarge | Reason::UnsupportedProtocolVersion => {
                &[UnusableReason::Malformed, UnusableReason::Unspecified]
            }
            // Certificates that end before they should.
            _ if hostile.name.contains("x509") && fault == Some(PackageFault::Malformed) => {
                &[UnusableReason::Malformed]
            }
            // Or given back, if it can't be read as far as its end.
            _ if other_suite => &[UnusableReason::Other, UnusableReason::Unspecified],
            Reason::InvalidSignature => &[UnusableReason::InvalidSignature],
            Reason::InitKeyEqualsEncryptionKey | Reason::InvalidLeafNodeSource => {
                &[UnusableReason::Other]
            }
            // A key that can't verify anything.
            Reason::Invalid if fault == Some(PackageFault::InvalidSignature) => {
                &[UnusableReason::InvalidSignature]
            }
            _ => &[UnusableReason::Unspecified],
        };
        assert!(expected.contains(&reported), "{hostile:?}: {fault:?}, {reported:?}");
        let is_cut_off = hostile.name.starts_with("cut off");
        assert!(!is_cut_off || fault == Some(PackageFault::Malformed), "{hostile:?}: {fault:?}");
    }
}

#[tokio::test]
async fn odd_packages_are_not_reported() {
    let stage = Stage::set().await;
    let mut group = stage.alice.group();
    for (name, bytes) in odd("bob", "phone") {
        let (fault, reported) = stage.try_out(&mut group, as_bobs(bytes)).await;
        // OpenMLS refuses some, such as those with GREASE (RFC 9420, section 13.5) as an extension.
        assert_eq!(reported, UnusableReason::Unspecified, "{name}: {fault:?}");
    }
}

/// Bytes that are handed out as a one-time package of bob's phone.
fn as_bobs(bytes: Vec<u8>) -> ReservedKeyPackage {
    let hash_ref = hash_ref(&bytes).unwrap_or_else(|| vec![7; 32]);
    package(name("bob", "phone", &hash_ref), bytes)
}

#[tokio::test]
async fn a_device_whose_package_was_given_back_is_not_asked_for_again() {
    let stage = Stage::set().await;
    let mut broken = stage.bob.fresh();
    broken.key_package.pop();
    let expired = |device: &Device| {
        let lifetime = Lifetime::init(1, 2);
        device.hand_out(&device.build(KeyPackage::builder().key_package_lifetime(lifetime)))
    };
    let (tablet, watch) = (Device::new("bob", "tablet"), Device::new("carol", "watch"));
    let first = vec![broken, expired(&tablet), expired(&watch)];
    stage.fake.reserve.answer(Ok(reserved(first))).answer(Ok(reserved(vec![stage.bob.fresh()])));
    stage.fake.release.always(Ok(ReleaseReservationResponse::default()));
    stage.fake.spend.answer(Ok(SpendReservationResponse::default()));
    let mut group = stage.alice.group();
    let (provider, signer) = (&stage.alice.provider, &stage.alice.signer);

    let targets = [Target::user("bob"), Target::device("carol", "watch")];
    let publish = async |_: Invite| Ok::<_, PublishError>(());
    let invited =
        stage.inviter().invite(&mut group, provider, signer, targets, publish).await.unwrap();

    assert_eq!(invited.added.len(), 1);
    let unusable: Vec<_> = invited.unusable.iter().map(|one| &*one.name.device_id).collect();
    assert_eq!(unusable, ["phone", "tablet", "watch"]);
    let requests = stage.fake.reserve.requests();
    let [_, second] = &requests[..] else { panic!("{requests:?}") };
    let [target] = &second.targets[..] else { panic!("{second:?}") };
    assert_eq!(
        (&*target.user_id, &target.excluded_device_ids[..]),
        ("bob", &["tablet".into()][..])
    );
}

#[tokio::test]
async fn a_package_that_comes_again_is_not_reserved_for_ever() {
    let stage = Stage::set().await;
    let mut broken = stage.bob.fresh();
    broken.key_package.pop();
    // The service takes no notice of the report.
    stage.fake.reserve.always(Ok(reserved(vec![broken])));
    stage.fake.release.always(Ok(ReleaseReservationResponse::default()));
    let mut group = stage.alice.group();

    let error = stage.invite(&mut group).await.unwrap_err();

    let InviteError::Incomplete { unusable, .. } = error else { panic!("{error:?}") };
    assert_eq!(unusable.len(), 1);
    assert_eq!(stage.fake.reserve.requests().len(), 2);
}

#[tokio::test]
async fn where_all_are_required_nothing_is_replaced_beside_what_was_given_back() {
    let stage = Stage::set().await;
    let mut broken = stage.bob.fresh();
    broken.key_package.pop();
    let mut mallorys = Device::new("mallory", "watch").fresh();
    mallorys.name.as_mut().unwrap().user_id = "carol".into();
    stage.fake.reserve.answer(Ok(reserved(vec![broken, mallorys])));
    stage.fake.release.always(Ok(ReleaseReservationResponse::default()));
    let mut group = stage.alice.group();
    let (provider, signer) = (&stage.alice.provider, &stage.alice.signer);

    let targets = [Target::user("bob"), Target::user("carol")];
    let publish = async |_: Invite| Ok::<_, PublishError>(());
    let inviter = stage.inviter().require_all();
    let error = inviter.invite(&mut group, provider, signer, targets, publish).await.unwrap_err();

    let InviteError::Incomplete { unusable, .. } = error else { panic!("{error:?}") };
    assert_eq!(unusable.len(), 2);
    assert_eq!(stage.fake.reserve.requests().len(), 1);
}

#[test]
fn an_invite_can_run_in_a_task() {
    fn is_send<T: Send>(_: T) {}
    #[allow(dead_code)]
    fn check(client: Client, mut group: MlsGroup, alice: Device) {
        is_send(async move {
            let inviter = Inviter::new(client, BasicIdentity::default());
            let publish = async |_: Invite| Ok::<_, PublishError>(());
            let targets = [Target::user("bob")];
            inviter.invite(&mut group, &alice.provider, &alice.signer, targets, publish).await
        });
    }
}

#[tokio::test]
async fn publishing_is_repeated_until_it_is_clear_what_became_of_it() {
    let stage = Stage::set().await;
    stage.fake.reserve.answer(Ok(reserved(vec![stage.bob.fresh()])));
    stage.fake.spend.answer(Ok(SpendReservationResponse::default()));
    let mut group = stage.alice.group();
    let tries = Mutex::new(Vec::new());
    let publish = async |invite: Invite| {
        tries.lock().unwrap().push(invite);
        match tries.lock().unwrap().len() {
            3 => Ok(()),
            _ => Err(std::io::Error::other("no network"))?,
        }
    };

    let (provider, signer) = (&stage.alice.provider, &stage.alice.signer);
    let targets = [Target::user("bob")];
    stage.inviter().invite(&mut group, provider, signer, targets, publish).await.unwrap();

    let tries = tries.into_inner().unwrap();
    assert_eq!(tries.len(), 3);
    assert!(tries.iter().all(|invite| *invite == tries[0]));
    assert_eq!(stage.bob.join(&tries[0].welcome).epoch(), group.epoch());
}

/// Takes its time, until the holds have been extended.
struct Slow(Arc<Fake>);

impl CredentialVerifier for Slow {
    fn verify(
        &self,
        _: &str,
        _: &str,
        _: &Credential,
        _: &SignaturePublicKey,
    ) -> Result<(), WrongIdentity> {
        while self.0.extend.requests().is_empty() {
            std::thread::yield_now();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_last_as_long_as_the_invite_needs() {
    let stage = Stage::set().await;
    let bobs = stage.bob.fresh();
    stage.fake.reserve.answer(Ok(reserved(vec![bobs.clone()])));
    stage.fake.extend.answer(Ok(ExtendReservationResponse {
        expire_time: Some(prost_types::Timestamp { seconds: 3_000_000_000, nanos: 0 }),
        ..Default::default()
    }));
    stage.fake.spend.answer(Ok(SpendReservationResponse::default()));
    let mut group = stage.alice.group();
    let (provider, signer) = (&stage.alice.provider, &stage.alice.signer);
    let publish = async |_: Invite| Ok(());

    let inviter =
        Inviter::new(stage.client.clone(), Slow(stage.fake.clone())).ttl(Duration::from_secs(1));
    let targets = [Target::user("bob")];
    inviter.invite(&mut group, provider, signer, targets, publish).await.unwrap();

    let extend = &stage.fake.extend.requests()[0];
    assert_eq!(extend.packages, [bobs.name.unwrap()]);
    assert_eq!(extend.ttl.unwrap().seconds, 1);
    assert_eq!(extend.reservation_id, stage.fake.reserve.requests()[0].reservation_id);
}

/// Can't be written to.
struct BrokenJournal;

impl InviteJournal for BrokenJournal {
    fn save(&self, _: &InviteRecord) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err("disk full".into())
    }

    fn load(
        &self,
        _: &[u8],
    ) -> Result<Option<InviteRecord>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(None)
    }

    fn remove(&self, _: &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_happens_that_could_not_be_recovered() {
    let stage = Stage::set().await;
    let mut group = stage.alice.group();
    let (provider, signer) = (&stage.alice.provider, &stage.alice.signer);
    let publish = async |_: Invite| Ok(());

    let inviter = stage.inviter().journal(Arc::new(BrokenJournal));
    let targets = [Target::user("bob")];
    let error = inviter.invite(&mut group, provider, signer, targets, publish).await.unwrap_err();

    assert!(matches!(error, InviteError::Journal(_)), "{error:?}");
    assert!(group.pending_commit().is_none());
    assert_eq!(stage.fake.reserve.requests().len(), 0);
}

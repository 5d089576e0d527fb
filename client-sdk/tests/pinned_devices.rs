//! A verifier that remembers the devices of each user.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use keypool_client::mls::{
    Decision, DeviceChange, Invite, Invited, MemoryPinStore, PinStore, PinnedDevices, PinnedUser,
    UntrustedDevices, WrongIdentity,
};
use keypool_client::proto::v1::*;
use keypool_client::{
    BasicIdentity, Client, CredentialVerifier, InviteError, Inviter, PublishError, Target,
};
use openmls::prelude::{BasicCredential, Credential, SignaturePublicKey};
use support::device::Device;
use support::*;
use tonic::Code;

/// Alice's laptop, which invites, and a service that lists what it likes.
struct Stage {
    fake: Arc<Fake>,
    client: Client,
    alice: Device,
    store: Arc<MemoryPinStore>,
}

impl Stage {
    async fn set() -> Self {
        let (fake, client) = Fake::start().await;
        fake.release.always(Ok(ReleaseReservationResponse::default()));
        fake.spend.always(Ok(SpendReservationResponse::default()));
        let client = client.connect().await.unwrap();
        let (alice, store) = (Device::new("alice", "laptop"), Arc::default());
        Self { fake, client, alice, store }
    }

    fn pinned(&self) -> PinnedDevices<BasicIdentity> {
        PinnedDevices::new(BasicIdentity::default(), self.store.clone())
    }

    /// Invites to a new group, where the service has packages of these devices, and not of those.
    async fn invite_by<V: CredentialVerifier>(
        &self,
        verifier: V,
        target: Target,
        devices: &[&Device],
        missing: &[MissingTarget],
    ) -> Result<Invited, InviteError> {
        let packages = devices.iter().map(|device| device.fresh()).collect();
        let missing = missing.to_vec();
        self.fake.reserve.clear();
        self.fake.reserve.answer(Ok(ReserveKeyPackagesResponse { missing, ..reserved(packages) }));
        let mut group = self.alice.group();
        let publish = async |_: Invite| Ok::<_, PublishError>(());
        let (provider, signer) = (&self.alice.provider, &self.alice.signer);
        let inviter = Inviter::new(self.client.clone(), verifier).own_device("alice", "laptop");
        let invited = inviter.invite(&mut group, provider, signer, [target], publish).await;
        let added = invited.as_ref().map_or(0, |invited| invited.added.len());
        assert_eq!(group.members().count(), 1 + added);
        invited
    }

    async fn invite(&self, devices: &[&Device]) -> Result<Invited, InviteError> {
        self.invite_by(self.pinned(), Target::user("bob"), devices, &[]).await
    }

    fn known(&self, user_id: &str) -> Vec<String> {
        let user = self.store.load(user_id).unwrap().unwrap_or_default();
        user.devices().map(|(device_id, _)| device_id.to_owned()).collect()
    }
}

fn refused(invited: Result<Invited, InviteError>) -> Vec<DeviceChange> {
    match invited {
        Err(InviteError::Devices(UntrustedDevices::Changed(changes))) => changes,
        other => panic!("{other:?}"),
    }
}

fn words(changes: &[DeviceChange]) -> Vec<String> {
    changes.iter().map(DeviceChange::to_string).collect()
}

fn phone() -> Device {
    Device::new("bob", "phone")
}

fn tablet() -> Device {
    Device::new("bob", "tablet")
}

#[tokio::test]
async fn the_first_use_is_trusted_and_remembered() {
    let stage = Stage::set().await;
    let (phone, tablet) = (phone(), tablet());
    for _ in 0..2 {
        let invited = stage.invite(&[&phone, &tablet]).await.unwrap();
        assert_eq!(invited.added.len(), 2);
    }
    let bob = stage.store.load("bob").unwrap().unwrap();
    for ((device_id, identity), device) in bob.devices().zip([&phone, &tablet]) {
        assert_eq!(device_id, device.device_id);
        assert_eq!(identity.unwrap().signature_key, device.signer.public());
    }
}

#[tokio::test]
async fn each_change_is_refused_until_it_is_accepted() {
    let (phone, tablet, ghost) = (phone(), tablet(), Device::new("bob", "ghost"));
    let (other_phone, both) = (self::phone(), [&phone, &tablet]);
    let cases: [(&[&Device], &[&str]); 5] = [
        (&[&phone, &tablet, &ghost], &["the device `ghost` of the user `bob` is new"]),
        (&[&phone], &["the device `tablet` of the user `bob` is gone"]),
        (
            &[&other_phone, &tablet],
            &["the device `phone` of the user `bob` has another signature key"],
        ),
        (
            &[&ghost],
            &[
                "the device `ghost` of the user `bob` is new",
                "the device `phone` of the user `bob` is gone",
                "the device `tablet` of the user `bob` is gone",
            ],
        ),
        (
            &[&other_phone, &ghost],
            &[
                "the device `ghost` of the user `bob` is new",
                "the device `phone` of the user `bob` has another signature key",
                "the device `tablet` of the user `bob` is gone",
            ],
        ),
    ];
    for (now, expected) in cases {
        let stage = Stage::set().await;
        stage.invite(&both).await.unwrap();
        let spends = stage.fake.spend.requests().len();
        let before = stage.store.load("bob").unwrap();

        let changes = refused(stage.invite(now).await);

        assert_eq!(words(&changes), expected);
        assert_eq!(stage.fake.spend.requests().len(), spends);
        let released = stage.fake.release.requests().pop().unwrap().packages;
        assert_eq!(released.len(), now.len());
        // They are given back, and not reported as unusable.
        assert!(released.iter().all(|one| one.unusable_reason() == UnusableReason::Unspecified));
        assert_eq!(stage.store.load("bob").unwrap(), before, "nothing is remembered of a refusal");
        assert_eq!(stage.invite(&both).await.unwrap().added.len(), 2);

        for change in &changes {
            stage.pinned().accept(change).unwrap();
        }
        assert_eq!(stage.invite(now).await.unwrap().added.len(), now.len());
        refused(stage.invite(&both).await);
    }
}

#[tokio::test]
async fn the_application_decides_about_each_change() {
    let stage = Stage::set().await;
    let (phone, tablet, ghost) = (phone(), tablet(), Device::new("bob", "ghost"));
    stage.invite(&[&phone, &tablet]).await.unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = asked.clone();
    let pinned = stage.pinned().on_change(move |change| {
        told.lock().unwrap().push(change.to_string());
        match change {
            DeviceChange::Gone { .. } => Decision::Accept,
            _ => Decision::Refuse,
        }
    });

    let bob = || Target::user("bob");
    let changes = refused(stage.invite_by(pinned.clone(), bob(), &[&phone, &ghost], &[]).await);
    assert_eq!(words(&changes), ["the device `ghost` of the user `bob` is new"]);
    assert_eq!(asked.lock().unwrap().len(), 2);
    assert_eq!(stage.known("bob"), ["phone", "tablet"], "all or nothing");

    stage.invite_by(pinned, bob(), &[&phone], &[]).await.unwrap();
    assert_eq!(stage.known("bob"), ["phone"]);
}

#[tokio::test]
async fn a_device_without_a_package_is_known_all_the_same() {
    let stage = Stage::set().await;
    let (phone, tablet) = (phone(), tablet());
    let exhausted = [missing("bob", "tablet")];
    let bob = || Target::user("bob");
    stage.invite_by(stage.pinned(), bob(), &[&phone], &exhausted).await.unwrap();
    assert_eq!(stage.known("bob"), ["phone", "tablet"]);

    // Its key is remembered with its first package.
    stage.invite(&[&phone, &tablet]).await.unwrap();
    stage.invite_by(stage.pinned(), bob(), &[&phone], &exhausted).await.unwrap();
    let changes = refused(stage.invite(&[&phone, &self::tablet()]).await);
    assert_eq!(
        words(&changes),
        ["the device `tablet` of the user `bob` has another signature key"]
    );
    let ghost = [missing("bob", "ghost"), missing("bob", "tablet")];
    let changes = refused(stage.invite_by(stage.pinned(), bob(), &[&phone], &ghost).await);
    assert_eq!(words(&changes), ["the device `ghost` of the user `bob` is new"]);
}

#[tokio::test]
async fn a_package_that_the_verifier_refuses_is_not_remembered() {
    let stage = Stage::set().await;
    let (phone, tablet) = (phone(), tablet());
    let mut mallorys = Device::new("mallory", "phone");
    mallorys.user_id = "bob".into();
    let exhausted = failure(Code::FailedPrecondition, ErrorReason::PoolExhausted, vec![]);
    stage.fake.reserve.always(Err(exhausted));

    let invited = stage.invite(&[&mallorys, &tablet]).await.unwrap();

    assert_eq!((invited.added.len(), invited.unusable.len()), (1, 1));
    assert_eq!(stage.invite(&[&phone, &tablet]).await.unwrap().added.len(), 2);
}

#[tokio::test]
async fn a_ghost_among_the_own_devices_is_noticed() {
    let stage = Stage::set().await;
    let alice = || Target::user("alice");
    let bob = phone();
    // She has no other device.
    let nobody = stage.invite_by(stage.pinned(), alice(), &[], &[]).await.unwrap_err();
    assert!(matches!(nobody, InviteError::Incomplete { .. }), "{nobody:?}");
    stage.invite(&[&bob]).await.unwrap();

    let ghost = Device::new("alice", "tablet");
    let changes = refused(stage.invite_by(stage.pinned(), alice(), &[&ghost], &[]).await);

    assert_eq!(words(&changes), ["the device `tablet` of the user `alice` is new"]);
}

#[tokio::test]
async fn what_was_not_asked_for_is_not_gone() {
    let stage = Stage::set().await;
    let (phone, tablet) = (phone(), tablet());
    stage.invite(&[&phone, &tablet]).await.unwrap();
    for target in [Target::user_except("bob", ["tablet"]), Target::device("bob", "phone")] {
        stage.invite_by(stage.pinned(), target, &[&phone], &[]).await.unwrap();
    }
    let other = self::phone();
    for target in [Target::user_except("bob", ["tablet"]), Target::device("bob", "phone")] {
        let changes = refused(stage.invite_by(stage.pinned(), target, &[&other], &[]).await);
        assert!(matches!(&changes[..], [DeviceChange::Identity { .. }]), "{changes:?}");
    }
    let ghost = Device::new("bob", "ghost");
    let by_name = Target::device("bob", "ghost");
    let changes = refused(stage.invite_by(stage.pinned(), by_name, &[&ghost], &[]).await);
    assert!(matches!(&changes[..], [DeviceChange::Added { .. }]), "{changes:?}");
}

#[tokio::test]
async fn devices_asked_for_by_name_are_no_list() {
    let stage = Stage::set().await;
    let (phone, tablet) = (phone(), tablet());
    for device in [&phone, &tablet] {
        let target = Target::device("bob", &device.device_id);
        stage.invite_by(stage.pinned(), target, &[device], &[]).await.unwrap();
    }
    let changes = refused(stage.invite(&[&self::phone(), &tablet]).await);
    assert!(matches!(&changes[..], [DeviceChange::Identity { .. }]), "{changes:?}");
    stage.invite(&[&phone, &tablet, &Device::new("bob", "laptop")]).await.unwrap();
    refused(stage.invite(&[&phone, &tablet, &Device::new("bob", "watch")]).await);
}

#[tokio::test]
async fn a_user_who_comes_later_is_used_first_then() {
    let stage = Stage::set().await;
    let unknown = MissingTarget { reason: ErrorReason::UnknownUser.into(), ..missing("bob", "") };
    let invited = stage.invite_by(stage.pinned(), Target::user("bob"), &[], &[unknown]).await;
    assert!(matches!(invited, Err(InviteError::Incomplete { .. })), "{invited:?}");
    stage.invite(&[&phone()]).await.unwrap();

    // Forgotten, he is used first again.
    stage.pinned().forget("bob").unwrap();
    stage.invite(&[&tablet()]).await.unwrap();
}

#[tokio::test]
async fn a_user_who_is_said_to_be_unknown_has_lost_all_devices() {
    let stage = Stage::set().await;
    stage.invite(&[&phone()]).await.unwrap();
    let unknown = MissingTarget { reason: ErrorReason::UnknownUser.into(), ..missing("bob", "") };
    let invited = stage.invite_by(stage.pinned(), Target::user("bob"), &[], &[unknown]).await;
    assert_eq!(words(&refused(invited)), ["the device `phone` of the user `bob` is gone"]);
}

/// Takes any credential.
struct Anyone;

impl CredentialVerifier for Anyone {
    fn verify(
        &self,
        _: &str,
        _: &str,
        _: &Credential,
        _: &SignaturePublicKey,
    ) -> Result<(), WrongIdentity> {
        Ok(())
    }
}

#[tokio::test]
async fn another_credential_with_the_same_key_is_a_change() {
    let stage = Stage::set().await;
    let pinned = || PinnedDevices::new(Anyone, stage.store.clone());
    let mut phone = phone();
    let bob = || Target::user("bob");
    stage.invite_by(pinned(), bob(), &[&phone], &[]).await.unwrap();
    phone.credential.credential = BasicCredential::new(b"mallory".to_vec()).into();
    let changes = refused(stage.invite_by(pinned(), bob(), &[&phone], &[]).await);
    assert_eq!(words(&changes), ["the device `phone` of the user `bob` has another credential"]);
}

#[tokio::test]
async fn a_credential_that_is_shown_elsewhere_is_compared_too() {
    let stage = Stage::set().await;
    let (known, other) = (phone(), phone());
    stage.invite(&[&known]).await.unwrap();
    let verify = |device: &Device| {
        let credential = &device.credential;
        let key = SignaturePublicKey::from(device.signer.public());
        stage.pinned().verify("bob", "phone", &credential.credential, &key)
    };
    verify(&known).unwrap();
    verify(&other).unwrap_err();
}

/// A store in which another invite is faster, once.
#[derive(Debug)]
struct Slow {
    store: Arc<MemoryPinStore>,
    first: PinnedUser,
    replaced: AtomicUsize,
}

impl PinStore for Slow {
    fn load(&self, user_id: &str) -> Result<Option<PinnedUser>, BoxError> {
        self.store.load(user_id)
    }

    fn replace(
        &self,
        user_id: &str,
        before: Option<&PinnedUser>,
        now: &PinnedUser,
    ) -> Result<bool, BoxError> {
        if self.replaced.fetch_add(1, Ordering::SeqCst) == 0 {
            assert!(self.store.replace(user_id, None, &self.first)?);
        }
        self.store.replace(user_id, before, now)
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::test]
async fn of_two_first_invites_at_once_the_second_is_compared_with_the_first() {
    let elsewhere = Stage::set().await;
    let known = phone();
    elsewhere.invite(&[&known]).await.unwrap();
    let first = elsewhere.store.load("bob").unwrap().unwrap();
    for (second, is_same) in [(&known, true), (&phone(), false)] {
        let stage = Stage::set().await;
        let (store, replaced) = (stage.store.clone(), AtomicUsize::new(0));
        let slow = Arc::new(Slow { store, first: first.clone(), replaced });
        let pinned = PinnedDevices::new(BasicIdentity::default(), slow);
        let invited = stage.invite_by(pinned, Target::user("bob"), &[second], &[]).await;
        if is_same {
            invited.unwrap();
        } else {
            refused(invited);
        }
        assert_eq!(stage.store.load("bob").unwrap().as_ref(), Some(&first));
    }
}

#[tokio::test]
async fn a_store_that_fails_lets_nobody_in() {
    #[derive(Debug)]
    struct Broken;
    impl PinStore for Broken {
        fn load(&self, _: &str) -> Result<Option<PinnedUser>, BoxError> {
            Err("broken".into())
        }
        fn replace(
            &self,
            _: &str,
            _: Option<&PinnedUser>,
            _: &PinnedUser,
        ) -> Result<bool, BoxError> {
            Err("broken".into())
        }
    }
    let stage = Stage::set().await;
    let pinned = PinnedDevices::new(BasicIdentity::default(), Arc::new(Broken));
    let invited = stage.invite_by(pinned, Target::user("bob"), &[&phone()], &[]).await;
    let failed = matches!(invited, Err(InviteError::Devices(UntrustedDevices::Store(_))));
    assert!(failed, "{invited:?}");
}

/// What every store promises. Leaves Bob behind.
async fn keeps_its_promises(store: &dyn PinStore) {
    let stage = Stage::set().await;
    stage.invite(&[&phone()]).await.unwrap();
    let first = stage.store.load("bob").unwrap().unwrap();
    let ghost = PinnedUser::default();

    assert_eq!(store.load("bob").unwrap(), None);
    assert!(!store.replace("bob", Some(&first), &ghost).unwrap());
    assert_eq!(store.load("bob").unwrap(), None);
    assert!(store.replace("bob", None, &ghost).unwrap());
    assert!(!store.replace("bob", None, &first).unwrap());
    assert!(!store.replace("bob", Some(&first), &first).unwrap());
    assert_eq!(store.load("bob").unwrap(), Some(ghost.clone()));
    assert!(store.replace("bob", Some(&ghost), &first).unwrap());
    assert_eq!(store.load("bob").unwrap(), Some(first));
    assert_eq!(store.load("Bob").unwrap(), None);
}

#[tokio::test]
async fn in_memory() {
    keeps_its_promises(&MemoryPinStore::default()).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn in_sqlite_also_for_the_next_process() {
    use keypool_client::mls::SqlitePinStore;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pins.sqlite");
    keeps_its_promises(&SqlitePinStore::open(&file).unwrap()).await;
    let reopened = SqlitePinStore::open(&file).unwrap().load("bob").unwrap().unwrap();
    assert_eq!(reopened.devices().count(), 1);
}

#[cfg(feature = "sqlite")]
#[test]
fn an_earlier_versions_file_gets_the_new_table() {
    use keypool_client::mls::{SqliteInviteJournal, SqlitePinStore};

    let connection = Arc::new(Mutex::new(rusqlite::Connection::open_in_memory().unwrap()));
    SqliteInviteJournal::with_connection(connection.clone()).unwrap();
    let version_1 = "DROP TABLE keypool_pinned_user; DELETE FROM keypool_schema WHERE version > 1";
    connection.lock().unwrap().execute_batch(version_1).unwrap();

    let store = SqlitePinStore::with_connection(connection).unwrap();

    assert!(store.replace("bob", None, &PinnedUser::default()).unwrap());
}

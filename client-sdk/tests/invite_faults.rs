//! Invites over a network that fails, by processes that end at any point.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keypool_client::mls::{
    Invite, InviteError, InviteJournal, InviteRecord, Invited, MemoryJournal, PublishError,
    Recovered,
};
use keypool_client::{
    BasicIdentity, Client, Inviter, PoolKeeper, RetryPolicy, SpendLogFilter, Target,
};
use keypool_service::testing::server::TestServer;
use openmls::prelude::{GroupId, MlsGroup};
use support::delivery::Delivery;
use support::device::{Device, SUITE};
use support::proxy::{FAULTS, Fault, Proxy};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Alice, Bob's two devices, and all between them.
#[derive(Clone)]
struct Stage(Arc<Parts>);

struct Parts {
    server: TestServer,
    proxy: Proxy,
    /// Through the proxy.
    client: Client,
    /// Past it.
    direct: Client,
    delivery: Delivery,
    alice: Device,
    bobs: [Device; 2],
}

impl std::ops::Deref for Stage {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Stage {
    async fn set() -> Self {
        let server = TestServer::start().await;
        let proxy = Proxy::start(server.endpoint()).await;
        let retry = RetryPolicy::default().min_delay(Duration::from_millis(1));
        let client = Client::builder(proxy.endpoint()).retry(retry).connect_lazy().unwrap();
        let direct = Client::builder(server.endpoint()).connect().await.unwrap();
        let bobs = [Device::new("bob", "phone"), Device::new("bob", "tablet")];
        Self(Arc::new(Parts {
            server,
            proxy,
            client,
            direct,
            delivery: Delivery::default(),
            alice: Device::new("alice", "laptop"),
            bobs,
        }))
    }

    async fn fill_pools(&self) {
        for device in &self.bobs {
            refresh(&self.direct, device).await;
        }
    }

    fn inviter(&self, journal: Arc<dyn InviteJournal>) -> Inviter<BasicIdentity> {
        // Asked for, so that no extend is among the first calls.
        let ttl = Duration::from_secs(60);
        Inviter::new(self.client.clone(), BasicIdentity::default()).journal(journal).ttl(ttl)
    }

    async fn invite(
        &self,
        group: &mut MlsGroup,
        journal: Arc<dyn InviteJournal>,
        publish: impl Fn(Invite) -> Result<(), PublishError> + Send,
    ) -> Result<Invited, InviteError> {
        let (provider, signer) = (&self.alice.provider, &self.alice.signer);
        let publish = async |invite| publish(invite);
        let targets = [Target::user("bob")];
        self.inviter(journal).invite(group, provider, signer, targets, publish).await
    }

    /// What an application does when it starts: loads the group, recovers, and goes on.
    async fn start_over(&self, group_id: &GroupId, journal: Arc<dyn InviteJournal>) -> MlsGroup {
        let (provider, signer) = (&self.alice.provider, &self.alice.signer);
        let storage = openmls_traits::OpenMlsProvider::storage(provider);
        let mut group = MlsGroup::load(storage, group_id).unwrap().unwrap();
        let epoch = group.epoch().as_u64();
        let publish = async |invite| self.delivery.publish(group_id.as_slice(), epoch, invite);
        let inviter = self.inviter(journal.clone());
        match inviter.recover(&mut group, provider, signer, publish).await.unwrap() {
            Recovered::Finished { .. } => {}
            Recovered::Undone | Recovered::Nothing if group.members().count() > 1 => {}
            _ => {
                let publish = self.publisher(&group);
                self.invite(&mut group, journal.clone(), publish).await.unwrap();
            }
        }
        assert_eq!(journal.load(group_id.as_slice()).unwrap(), None);
        group
    }

    fn publisher<'a>(
        &'a self,
        group: &MlsGroup,
    ) -> impl Fn(Invite) -> Result<(), PublishError> + use<'a> {
        let (group_id, epoch) = (group.group_id().to_vec(), group.epoch().as_u64());
        move |invite| self.delivery.publish(&group_id, epoch, invite)
    }

    /// No package was used twice, none was wasted, and the books balance.
    async fn check_books(&self) {
        let mut used = HashSet::new();
        for invite in self.delivery.invites() {
            for name in invite.added {
                assert!(used.insert(name.key_package_ref), "a package is in two groups");
            }
        }
        let of_bob = SpendLogFilter { user_id: "bob".into(), ..Default::default() };
        let log = self.direct.list_spend_log(of_bob, 1000, "").await.unwrap();
        let mut spent = HashSet::new();
        for entry in log.entries.into_iter().filter(|entry| entry.spend_time.is_some()) {
            assert!(spent.insert(entry.key_package_ref), "a package was spent twice");
        }
        assert_eq!(used, spent, "what is spent is used");
        for status in self.direct.pool_status_of_user("bob").await.unwrap() {
            let pool = &status.pools[0];
            let sum = pool.available
                + pool.reserved
                + pool.returned
                + pool.spent
                + pool.expired
                + pool.revoked;
            assert_eq!(pool.accepted, sum + pool.purged, "{status:?}");
        }
    }

    async fn stop(self) {
        let parts = Arc::into_inner(self.0).expect("nobody else uses it");
        parts.server.stop().await;
    }
}

/// Spoils every package of a device, which no upload could.
async fn corrupt(stage: &Stage, user_id: &str, device_id: &str) {
    let config = stage.server.database().config();
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let sql = "UPDATE key_package SET key_package = set_byte(key_package, 100, 0)
               WHERE user_id = $1 AND device_id = $2";
    assert!(client.execute(sql, &[&user_id, &device_id]).await.unwrap() > 0);
}

async fn refresh(client: &Client, device: &Device) {
    let keeper = PoolKeeper::builder(client.clone(), &device.user_id, &device.device_id, [SUITE])
        .store(device.store.clone())
        .build(&device.provider, device.credential.clone(), &device.signer);
    keeper.refresh().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_network_breaks_no_invite() {
    let stage = Stage::set().await;
    stage.fill_pools().await;
    let mut group = stage.alice.group();
    let publish = stage.publisher(&group);
    stage.invite(&mut group, Arc::new(MemoryJournal::default()), publish).await.unwrap();
    let calls = stage.proxy.calls().len();
    assert!(calls >= 2);

    for call in 0..calls {
        for fault in FAULTS {
            stage.fill_pools().await;
            let mut group = stage.alice.group();
            stage.proxy.fail(call, fault);
            let publish = stage.publisher(&group);
            let invited =
                stage.invite(&mut group, Arc::new(MemoryJournal::default()), publish).await;
            let invited = invited.unwrap_or_else(|error| panic!("{call} {fault:?}: {error:?}"));
            assert_eq!(invited.added.len(), 2, "{call} {fault:?}");
            stage.delivery.check(&group, &stage.bobs.each_ref());
        }
    }
    stage.check_books().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spend_without_an_answer_leaves_a_group_that_can_go_on() {
    let stage = Stage::set().await;
    stage.fill_pools().await;
    let mut group = stage.alice.group();
    let epoch = group.epoch();
    let journal: Arc<dyn InviteJournal> = Arc::new(MemoryJournal::default());
    let calls_before_spend = 1;
    stage.proxy.die(calls_before_spend);
    let impatient = Client::builder(stage.proxy.endpoint()).timeout(Duration::from_millis(300));
    let inviter = Inviter::new(impatient.connect_lazy().unwrap(), BasicIdentity::default())
        .journal(journal.clone());
    let (provider, signer) = (&stage.alice.provider, &stage.alice.signer);
    let publish = async |_| panic!("nothing goes out that is not spent");

    let targets = [Target::user("bob")];
    let error = inviter.invite(&mut group, provider, signer, targets, publish).await.unwrap_err();

    assert!(matches!(error, InviteError::Spend { .. }), "{error:?}");
    assert!(group.pending_commit().is_none());
    assert_eq!(group.epoch(), epoch);
    stage.proxy.heal();
    let publish = stage.publisher(&group);
    let again = stage.invite(&mut group, journal.clone(), publish).await.unwrap_err();
    assert!(matches!(again, InviteError::Unfinished), "{again:?}");
    let group = stage.start_over(group.group_id(), journal).await;
    stage.delivery.check(&group, &stage.bobs.each_ref());
    stage.check_books().await;
    stage.stop().await;
}

/// Ends the process, as far as a test can: the task panics, and nothing gets out of it any more.
struct Crash {
    at: usize,
    point: AtomicUsize,
    proxy: Proxy,
}

impl Crash {
    fn new(at: usize, proxy: &Proxy) -> Arc<Self> {
        Arc::new(Self { at, point: AtomicUsize::new(0), proxy: proxy.clone() })
    }

    /// A point at which it may happen.
    fn may_happen(&self) {
        if self.point.fetch_add(1, Ordering::SeqCst) == self.at {
            self.proxy.die(0);
            panic!("the process ends here, as it should");
        }
    }
}

/// Crashes before or after it has done its work.
struct CrashingJournal {
    journal: Arc<dyn InviteJournal>,
    crash: Arc<Crash>,
}

impl InviteJournal for CrashingJournal {
    fn save(&self, record: &InviteRecord) -> Result<(), BoxError> {
        self.crash.may_happen();
        self.journal.save(record)?;
        self.crash.may_happen();
        Ok(())
    }

    fn load(&self, group_id: &[u8]) -> Result<Option<InviteRecord>, BoxError> {
        self.journal.load(group_id)
    }

    fn remove(&self, group_id: &[u8]) -> Result<(), BoxError> {
        self.crash.may_happen();
        self.journal.remove(group_id)?;
        self.crash.may_happen();
        Ok(())
    }
}

/// Invites, and ends at the crash point. Whether it came to its end.
async fn invite_until(
    stage: &Stage,
    crash: Arc<Crash>,
    journal: Arc<dyn InviteJournal>,
) -> (GroupId, bool) {
    let mut group = stage.alice.group();
    let group_id = group.group_id().clone();
    let process = tokio::spawn({
        let stage = stage.clone();
        async move {
            let deliver = stage.publisher(&group);
            let publish = |invite| {
                crash.may_happen();
                let delivered = deliver(invite);
                crash.may_happen();
                delivered
            };
            let journal = Arc::new(CrashingJournal { journal, crash: crash.clone() });
            stage.invite(&mut group, journal, publish).await.unwrap();
        }
    });
    (group_id, process.await.is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_process_ends_every_invited_device_can_join() {
    let stage = Stage::set().await;
    for at in 0.. {
        let journal: Arc<dyn InviteJournal> = Arc::new(MemoryJournal::default());
        if end_at(&stage, at, || journal.clone()).await {
            assert!(at >= 10, "{at} points");
            break;
        }
    }
    stage.check_books().await;
    stage.stop().await;
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_in_sqlite_is_there_for_the_next_process() {
    let stage = Stage::set().await;
    let folder = tempfile::tempdir().unwrap();
    for at in 0.. {
        let file = folder.path().join("journal.sqlite");
        let open = || -> Arc<dyn InviteJournal> {
            Arc::new(keypool_client::mls::SqliteInviteJournal::open(&file).unwrap())
        };
        if end_at(&stage, at, open).await {
            break;
        }
    }
    stage.check_books().await;
    stage.stop().await;
}

/// Ends a process at a point of its invite, and lets another one take over. Whether it had come to
/// its end by then.
async fn end_at(stage: &Stage, at: usize, journal: impl Fn() -> Arc<dyn InviteJournal>) -> bool {
    stage.fill_pools().await;
    stage.proxy.heal();
    let crash = Crash::new(at, &stage.proxy);
    let (group_id, finished) = invite_until(stage, crash, journal()).await;
    stage.proxy.heal();
    let group = stage.start_over(&group_id, journal()).await;
    stage.delivery.check(&group, &stage.bobs.each_ref());
    finished
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_call_the_process_ends_in_every_invited_device_can_join() {
    let stage = Stage::set().await;
    for call in 0..2 {
        for arrives in [false, true] {
            stage.fill_pools().await;
            let mut group = stage.alice.group();
            let group_id = group.group_id().clone();
            let journal: Arc<dyn InviteJournal> = Arc::new(MemoryJournal::default());
            match arrives {
                // The service does it, and the answer does not arrive before the end.
                true => stage.proxy.fail(call, Fault::HoldReply),
                false => stage.proxy.die(call),
            }
            let publish = stage.publisher(&group);
            tokio::select! {
                done = stage.invite(&mut group, journal.clone(), publish) => panic!("{done:?}"),
                () = stage.proxy.stuck() => {}
            }
            // A process that ended releases nothing.
            stage.proxy.die(0);
            drop(group);
            stage.proxy.heal();
            let group = stage.start_over(&group_id, journal).await;
            stage.delivery.check(&group, &stage.bobs.each_ref());
        }
    }
    stage.check_books().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_commit_is_made_again_from_the_same_packages() {
    let stage = Stage::set().await;
    stage.fill_pools().await;
    let carol = Device::new("carol", "phone");
    refresh(&stage.direct, &carol).await;
    let (provider, signer) = (&stage.alice.provider, &stage.alice.signer);
    let mut group = stage.alice.group();
    let group_id = group.group_id().to_vec();
    let journal: Arc<dyn InviteJournal> = Arc::new(MemoryJournal::default());
    let inviter = stage.inviter(journal.clone());
    let welcome = Mutex::new(Vec::new());
    let publish = async |invite: Invite| {
        *welcome.lock().unwrap() = invite.welcome;
        Ok(())
    };
    inviter.invite(&mut group, provider, signer, [Target::user("carol")], publish).await.unwrap();
    let mut carols = carol.join(&welcome.into_inner().unwrap());

    // Carol's commit wins the epoch.
    let commit = carol.update(&mut carols);
    let epoch = group.epoch().as_u64();
    stage.delivery.take(&group_id, epoch, &commit).unwrap();
    let refused = Mutex::new(Vec::new());
    let publish = async |invite: Invite| {
        *refused.lock().unwrap() = invite.added.clone();
        stage.delivery.publish(&group_id, epoch, invite)
    };
    let targets = [Target::user("bob")];
    let error = inviter.invite(&mut group, provider, signer, targets, publish).await.unwrap_err();
    assert!(matches!(error, InviteError::Refused(_)), "{error:?}");
    assert!(group.pending_commit().is_none());

    stage.alice.process(&mut group, &commit);
    let epoch = group.epoch().as_u64();
    let publish = async |invite| stage.delivery.publish(&group_id, epoch, invite);
    let recovered = inviter.recover(&mut group, provider, signer, publish).await.unwrap();

    assert_eq!(recovered, Recovered::Finished { added: refused.into_inner().unwrap() });
    let invite = stage.delivery.invites().pop().unwrap();
    for bob in &stage.bobs {
        let joined = bob.join(&invite.welcome);
        assert!(joined.epoch_authenticator().as_slice() == group.epoch_authenticator().as_slice());
    }
    stage.check_books().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_empty_pool_and_one_bad_package_keep_nobody_else_out() {
    let stage = Stage::set().await;
    let mut devices = Vec::new();
    for user in 0..10 {
        for device_id in ["phone", "laptop", "tablet"] {
            let device = Device::new(&format!("user-{user}"), device_id);
            refresh(&stage.direct, &device).await;
            devices.push(device);
        }
    }
    let everything = keypool_client::Revoke::All;
    stage.direct.revoke("user-3", Some("tablet"), everything).await.unwrap();
    corrupt(&stage, "user-7", "phone").await;
    let mut group = stage.alice.group();
    let (provider, signer) = (&stage.alice.provider, &stage.alice.signer);
    let (group_id, epoch) = (group.group_id().to_vec(), group.epoch().as_u64());
    let publish = async |invite| stage.delivery.publish(&group_id, epoch, invite);
    let targets = (0..10).map(|user| Target::user(format!("user-{user}")));

    let inviter = stage.inviter(Arc::new(MemoryJournal::default()));
    let invited = inviter.invite(&mut group, provider, signer, targets, publish).await.unwrap();

    assert_eq!(invited.added.len(), 28);
    let [missing] = &invited.missing[..] else { panic!("{:?}", invited.missing) };
    assert_eq!((&*missing.user_id, missing.device_id.as_deref()), ("user-3", Some("tablet")));
    let unusable: HashSet<_> =
        invited.unusable.iter().map(|r| (&*r.name.user_id, &*r.name.device_id)).collect();
    assert_eq!(unusable, HashSet::from([("user-7", "phone")]));
    let is_left_out = |device: &&Device| {
        let id = (&*device.user_id, &*device.device_id);
        id == ("user-3", "tablet") || id == ("user-7", "phone")
    };
    let added: Vec<_> = devices.iter().filter(|device| !is_left_out(device)).collect();
    stage.delivery.check(&group, &added);
    stage.stop().await;
}

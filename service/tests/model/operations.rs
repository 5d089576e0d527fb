//! What may happen, at random. Whom and what an operation is about are picks, made when it runs: so every operation still
//! makes sense when shrinking takes others away.

use keypool_service::{store::Report, testing::model::Event};
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any as arbitrary, prop_oneof},
    sample::{select, subsequence},
};

/// One of whatever there is to choose from when the operation runs: see [`nth`].
pub(crate) type Index = usize;

pub(crate) fn nth<T>(choice: &[T], index: Index) -> &T {
    &choice[index % choice.len()]
}

#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Upload {
        device: Index,
        one_time: Vec<Index>,
        last_resort: Vec<Index>,
    },
    /// Packages of any device, uploaded to one.
    UploadAny {
        device: Index,
        packages: Vec<Index>,
    },
    Reserve {
        who: Who,
        targets: Vec<TargetPick>,
        suites: Vec<u16>,
        ttl: Option<i64>,
        min_remaining: Option<i64>,
        require_all: bool,
        limited: bool,
    },
    Spend {
        who: Who,
        packages: Vec<Pick>,
    },
    Release {
        who: Who,
        packages: Vec<(Pick, Option<Report>)>,
    },
    Extend {
        who: Who,
        packages: Vec<Pick>,
        ttl: Option<i64>,
    },
    Revoke {
        user: Index,
        device: bool,
        selector: Selection,
    },
    /// The device lists what it uploaded, less some, and some that it did not.
    Reconcile {
        device: Index,
        lost: Vec<Index>,
        more: Vec<Index>,
        /// How many operations ago the list was made.
        age: Option<u8>,
    },
    Status {
        user: Index,
        device: bool,
    },
    Sweep,
    /// The database may have forgotten something.
    RaiseFence,
    /// It has not.
    LiftFences,
    Restart(Index),
    /// So many seconds pass.
    Advance(i64),
    /// It becomes the time of one of the next events, or a little before or after.
    Jump {
        to: Event,
        nth: usize,
        milliseconds: i64,
    },
}

/// Under which reservation a call is made. Each has a group and a holder of its own, from which a call may stray.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) reservation: usize,
    pub(crate) other_group: bool,
    pub(crate) other_holder: bool,
    pub(crate) principal: usize,
    pub(crate) is_backend: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum TargetPick {
    Device(Index),
    User { user: Index, excluded: Vec<Index> },
}

/// A package that a call names.
#[derive(Debug, Clone)]
pub(crate) enum Pick {
    /// The latest that the reservation was handed, or one before.
    Handed(usize),
    /// One that any reservation was handed.
    HandedToAny(Index),
    /// Any that there is.
    Any(Index),
    /// Any, under the name of another device.
    Misnamed(Index),
}

#[derive(Debug, Clone)]
pub(crate) enum Selection {
    Refs(Vec<Pick>),
    /// What the credential, the signature key, or both of a package select.
    CredentialOf {
        package: Index,
        credential: bool,
        signature_key: bool,
    },
    All,
}

pub(crate) const RESERVATIONS: usize = 8;

const HOUR: i64 = 3600;

/// A case: some uploads, and then anything.
pub(crate) fn case() -> impl Strategy<Value = Vec<Operation>> {
    let uploads = vec(upload(), 0..=8);
    (uploads, vec(any(), 1..=120)).prop_map(|(uploads, then)| [uploads, then].concat())
}

fn any() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => upload(),
        1 => upload_any(),
        22 => reserve(),
        14 => (who(), picks()).prop_map(|(who, packages)| Operation::Spend { who, packages }),
        6 => release(),
        5 => extend(),
        4 => revoke(),
        3 => reconcile(),
        1 => prop_oneof![2 => Just(Operation::RaiseFence), 1 => Just(Operation::LiftFences)],
        1 => (index(), arbitrary::<bool>()).prop_map(|(user, device)| Operation::Status { user, device }),
        4 => Just(Operation::Sweep),
        1 => index().prop_map(Operation::Restart),
        5 => select(vec![1, 20, 60, 600]).prop_map(Operation::Advance),
        1 => select(vec![HOUR, 6 * HOUR, 26 * HOUR, 60 * HOUR]).prop_map(Operation::Advance),
        8 => jump(),
    ]
}

fn index() -> impl Strategy<Value = Index> {
    0..1000_usize
}

fn rarely() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.06)
}

fn who() -> impl Strategy<Value = Who> {
    (0..RESERVATIONS, rarely(), rarely(), 0..2_usize, arbitrary::<bool>()).prop_map(
        |(reservation, other_group, other_holder, principal, is_backend)| Who {
            reservation,
            other_group,
            other_holder,
            principal,
            is_backend,
        },
    )
}

fn ttl() -> impl Strategy<Value = Option<i64>> {
    option::of(select(vec![1, 30, 600]))
}

fn jump() -> impl Strategy<Value = Operation> {
    let to = prop_oneof![
        8 => Just(Event::HoldEnd),
        2 => Just(Event::GraceEnd),
        1 => Just(Event::Expiry),
        1 => Just(Event::Oblivion),
        1 => Just(Event::Any),
    ];
    let offset = select(vec![-1000, -1, 0, 1, 1000]);
    (to, 0..4_usize, offset).prop_map(|(to, nth, milliseconds)| Operation::Jump {
        to,
        nth,
        milliseconds,
    })
}

fn upload() -> impl Strategy<Value = Operation> {
    let last_resort = prop_oneof![2 => vec(index(), 0), 1 => vec(index(), 1..=2)];
    (index(), vec(index(), 0..=4), last_resort).prop_map(|(device, one_time, last_resort)| {
        Operation::Upload { device, one_time, last_resort }
    })
}

fn upload_any() -> impl Strategy<Value = Operation> {
    (index(), vec(index(), 1..=3))
        .prop_map(|(device, packages)| Operation::UploadAny { device, packages })
}

fn target() -> impl Strategy<Value = TargetPick> {
    prop_oneof![
        3 => index().prop_map(TargetPick::Device),
        1 => (index(), vec(index(), 0..=2))
            .prop_map(|(user, excluded)| TargetPick::User { user, excluded }),
    ]
}

fn reserve() -> impl Strategy<Value = Operation> {
    let suites = prop_oneof![2 => Just(vec![1]), 2 => subsequence(vec![1, 2], 0..=2)];
    let min_remaining = prop_oneof![
        3 => Just(None),
        1 => select(vec![0, 300, HOUR, 24 * HOUR, 72 * HOUR]).prop_map(Some),
    ];
    let require_all = proptest::bool::weighted(0.15);
    (who(), vec(target(), 1..=3), suites, ttl(), min_remaining, require_all, arbitrary::<bool>())
        .prop_map(|(who, targets, suites, ttl, min_remaining, require_all, limited)| {
            Operation::Reserve { who, targets, suites, ttl, min_remaining, require_all, limited }
        })
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        20 => prop_oneof![2 => Just(0), 1 => 0..6_usize].prop_map(Pick::Handed),
        2 => index().prop_map(Pick::HandedToAny),
        1 => index().prop_map(Pick::Any),
        1 => index().prop_map(Pick::Misnamed),
    ]
}

fn picks() -> impl Strategy<Value = Vec<Pick>> {
    vec(pick(), 1..=3)
}

fn release() -> impl Strategy<Value = Operation> {
    let report = (1..=6_i16, arbitrary::<bool>())
        .prop_map(|(reason, is_believed)| Report { reason, is_believed });
    let reason = prop_oneof![3 => Just(None), 1 => report.prop_map(Some)];
    (who(), vec((pick(), reason), 1..=3))
        .prop_map(|(who, packages)| Operation::Release { who, packages })
}

fn extend() -> impl Strategy<Value = Operation> {
    (who(), picks(), ttl()).prop_map(|(who, packages, ttl)| Operation::Extend {
        who,
        packages,
        ttl,
    })
}

fn revoke() -> impl Strategy<Value = Operation> {
    let by_credential = (index(), select(vec![(true, false), (false, true), (true, true)]));
    let package = prop_oneof![index().prop_map(Pick::HandedToAny), index().prop_map(Pick::Any)];
    let selector = prop_oneof![
        4 => vec(package, 1..=6).prop_map(Selection::Refs),
        2 => by_credential.prop_map(|(package, (credential, signature_key))| {
            Selection::CredentialOf { package, credential, signature_key }
        }),
        1 => Just(Selection::All),
    ];
    (index(), arbitrary::<bool>(), selector)
        .prop_map(|(user, device, selector)| Operation::Revoke { user, device, selector })
}

fn reconcile() -> impl Strategy<Value = Operation> {
    (index(), vec(index(), 0..=3), vec(index(), 0..=2), option::of(0..=20u8))
        .prop_map(|(device, lost, more, age)| Operation::Reconcile { device, lost, more, age })
}

//! A history, told call by call. Times are in milliseconds.

use crate::{
    check::{Broken, Verdict, check},
    history::{
        Action, Answer, Books, Call, Device, Entry, Fault, Handed, History, Hold, Kind, Known,
        Micros, Outcome, Package, Pool, Record, Reservation, Reserve, Target, Upload, Uploaded,
        User,
    },
};
use std::time::Duration;

/// The device that everything is about.
pub(super) const DEVICE: Device = Device(User(1), 0);

/// How long holds last.
pub(super) const TTL: i64 = 1000;

/// When packages expire.
pub(super) const NOT_AFTER: i64 = 100_000;

/// A history that is being told. The books are kept as a service would that does what it says.
#[derive(Debug, Default)]
pub(super) struct Story(pub(super) History);

/// A package by a number.
pub(super) fn package(number: u8) -> Package {
    Package([number; 32])
}

fn time(milliseconds: i64) -> Micros {
    Micros(milliseconds * 1000)
}

impl Story {
    /// Packages of these numbers are in the pool from 0 on.
    pub(super) fn with(packages: &[u8]) -> Self {
        let mut story = Self::default();
        story.0.books = Books { read_at: time(50_000), ..Books::default() };
        story.upload(-100, packages, Outcome::Ok(Answer::Uploaded(vec![None; packages.len()])));
        story.stored(packages);
        story
    }

    /// Packages of these numbers are in the database.
    pub(super) fn stored(&mut self, packages: &[u8]) {
        let books = &mut self.0.books;
        for number in packages {
            let package = package(*number);
            books.known.push(Known { device: DEVICE, package, suite: 1, last_resort: false });
            books.one_time.push(package);
        }
        let accepted = i64::try_from(books.known.len()).unwrap();
        books.pools = vec![Pool { device: DEVICE, suite: 1, accepted, purged: 0 }];
    }

    /// A call that lasts for 10 ms.
    pub(super) fn call(&mut self, at: i64, call: Call, outcome: Outcome) -> &mut Record {
        let (invoked, replied) = (time(at), time(at + 10));
        self.0.records.push(Record { client: 1, one_try: false, invoked, replied, call, outcome });
        self.0.records.last_mut().unwrap()
    }

    /// The latest call was one of a client that makes no retries.
    pub(super) fn by_one_try(&mut self) {
        self.0.records.last_mut().unwrap().one_try = true;
    }

    /// The latest reserve was to get all or nothing.
    pub(super) fn all_or_nothing(&mut self) {
        let Call::Reserve(reserve) = &mut self.0.records.last_mut().unwrap().call else {
            panic!("no reserve");
        };
        reserve.require_all = true;
    }

    /// Holds were prolonged up to then.
    pub(super) fn extended(&mut self, at: i64, reservation: u64, number: u8, until: i64) {
        let answer = Answer::Held(vec![None], Some(time(until)));
        let action = Action::Extend(Duration::from_millis((until - at).unsigned_abs()));
        self.hold(at, action, reservation, number, Outcome::Ok(answer));
    }

    /// The lifetime of a package ends then.
    pub(super) fn expires(&mut self, number: u8, at: i64) {
        for record in &mut self.0.records {
            match (&mut record.call, &mut record.outcome) {
                (Call::Upload(upload), _) => {
                    let all = upload.packages.iter_mut();
                    for one in all.filter(|one| one.package == package(number)) {
                        one.not_after = time(at);
                    }
                }
                (_, Outcome::Ok(Answer::Reserved(handed, _))) => {
                    for one in handed.iter_mut().filter(|one| one.package == package(number)) {
                        one.not_after = time(at);
                    }
                }
                _ => {}
            }
        }
    }

    /// The latest call was answered at another time.
    pub(super) fn answered(&mut self, at: i64) {
        self.0.records.last_mut().unwrap().replied = time(at);
    }

    pub(super) fn upload(&mut self, at: i64, packages: &[u8], outcome: Outcome) {
        let uploaded = |number: &u8| Uploaded {
            package: package(*number),
            suite: 1,
            last_resort: false,
            not_after: time(NOT_AFTER),
        };
        let packages = packages.iter().map(uploaded).collect();
        self.call(at, Call::Upload(Upload { device: DEVICE, packages }), outcome);
    }

    /// A reserve of the device's, answered so.
    pub(super) fn asked(&mut self, at: i64, reservation: u64, outcome: Outcome) {
        let repeat = self.0.records.iter().any(|record| match &record.call {
            Call::Reserve(before) => before.reservation == Reservation(reservation),
            _ => false,
        });
        let reserve = Reserve {
            reservation: Reservation(reservation),
            targets: vec![Target::Device(DEVICE)],
            suites: vec![1],
            ttl: Duration::from_millis(TTL.unsigned_abs()),
            require_all: false,
            repeat,
        };
        self.call(at, Call::Reserve(reserve), outcome);
    }

    /// A reserve that got a package, held from the middle of the call on.
    pub(super) fn reserved(&mut self, at: i64, reservation: u64, number: u8) {
        self.held_until(at, reservation, number, at + 5 + TTL);
    }

    /// A reserve that got a package, held until then.
    pub(super) fn held_until(&mut self, at: i64, reservation: u64, number: u8, until: i64) {
        let handed = Handed { until: Some(time(until)), ..handed(number) };
        self.got(at, reservation, vec![handed]);
    }

    /// A reserve that got these.
    pub(super) fn got(&mut self, at: i64, reservation: u64, handed: Vec<Handed>) {
        self.asked(at, reservation, Outcome::Ok(Answer::Reserved(handed, Vec::new())));
    }

    /// A reserve that got nothing, because the pool was exhausted.
    pub(super) fn exhausted(&mut self, at: i64, reservation: u64) {
        let why = "POOL_EXHAUSTED".to_owned();
        let missing = vec![(DEVICE.0, Some(DEVICE.1), why.clone())];
        self.asked(at, reservation, Outcome::Failed(why, Answer::Reserved(Vec::new(), missing)));
    }

    /// Something done to a held package.
    pub(super) fn hold(
        &mut self,
        at: i64,
        action: Action,
        reservation: u64,
        number: u8,
        outcome: Outcome,
    ) {
        let packages = vec![(DEVICE, package(number))];
        let hold = Hold { action, reservation: Reservation(reservation), packages };
        self.call(at, Call::Hold(hold), outcome);
    }

    /// A spend that succeeded. The first is in the books.
    pub(super) fn spent(&mut self, at: i64, reservation: u64, number: u8) {
        self.hold(at, Action::Spend, reservation, number, done());
        self.logged(reservation, number);
    }

    /// The spend log says that a package is spent.
    pub(super) fn logged(&mut self, reservation: u64, number: u8) {
        let books = &mut self.0.books;
        books.one_time.retain(|one| *one != package(number));
        let entry = Entry {
            device: DEVICE,
            package: package(number),
            suite: 1,
            reservation: Reservation(reservation),
            own_group: true,
            last_resort: false,
            spent: true,
        };
        if !books.spend_log.contains(&entry) {
            books.spend_log.push(entry);
        }
    }

    /// A release that succeeded.
    pub(super) fn released(&mut self, at: i64, reservation: u64, number: u8) {
        self.hold(at, Action::Release, reservation, number, done());
    }

    /// A fault.
    pub(super) fn fault(&mut self, kind: Kind, from: i64, to: i64) {
        let (from, to) = (time(from), time(to));
        let what = "told".to_owned();
        self.0.faults.push(Fault { kind, what, from, to, went_back: None, failed: false });
    }

    /// The database was put back to what it was when this fault began.
    pub(super) fn restored(&mut self, from: i64, went_back: i64, to: i64) {
        self.fault(Kind::Restored, from, to);
        self.0.faults.last_mut().unwrap().went_back = Some(time(went_back));
        self.0.books.fences.push("other_database".to_owned());
    }

    /// What is found.
    pub(super) fn verdict(&self) -> Verdict {
        check(&self.0)
    }

    /// What is broken, each way once.
    pub(super) fn broken(&self) -> Vec<Broken> {
        let mut broken: Vec<Broken> =
            self.verdict().violations.into_iter().map(|violation| violation.broken).collect();
        broken.sort_unstable();
        broken.dedup();
        broken
    }
}

/// A package that was handed out, with no hold.
pub(super) fn handed(number: u8) -> Handed {
    Handed {
        device: DEVICE,
        package: package(number),
        suite: 1,
        not_after: time(NOT_AFTER),
        until: None,
        last_resort: false,
        spent: false,
        authentic: true,
    }
}

/// Success, for one held package.
pub(super) fn done() -> Outcome {
    Outcome::Ok(Answer::Held(vec![None], None))
}

/// A refusal, for one held package.
pub(super) fn refused(why: &str) -> Outcome {
    Outcome::Failed(why.to_owned(), Answer::Held(vec![Some(why.to_owned())], None))
}

/// Nobody knows.
pub(super) fn unknown() -> Outcome {
    Outcome::Unknown("TRANSPORT".to_owned())
}

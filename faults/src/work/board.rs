//! What all workers know: the devices, and what was uploaded for them.

use crate::history::{Device, Package, Reservation, User};
use keypool_service::{testing::packages::PackageMaker, types::CipherSuite};
use rand::Rng;
use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// How many of a device's packages are remembered: as many as a reconciliation may list.
const REMEMBERED: usize = 1000;

/// How many of them keep their bytes, to be uploaded again.
const KEPT: usize = 200;

/// How many pools a worker has for itself. It takes turns with them, so that what it may still hold of one has ended when that
/// one's turn comes again.
const OWN: u32 = 4;

/// A device, and what makes its packages.
pub(super) struct Pool {
    /// The device.
    pub(super) device: Device,
    /// How many one-time packages it begins with, and is filled up to.
    pub(super) target: usize,
    /// Whether it has a last-resort package.
    pub(super) has_last_resort: bool,
    /// Whether all its one-time packages are of cipher suite 1 and long-lived, so that any will do.
    pub(super) is_uniform: bool,
    makers: [(u16, PackageMaker); 2],
    last_resort: PackageMaker,
    uploaded: Mutex<VecDeque<(Package, Vec<u8>)>>,
}

/// What all workers know.
pub(super) struct Board {
    pools: Vec<Pool>,
    /// The pools of each worker's own, of which no other reserves.
    own: Vec<Vec<Pool>>,
    next_reservation: AtomicU64,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("pools", &self.pools.len()).finish_non_exhaustive()
    }
}

impl Board {
    /// As many users as half of the clients, with one to three devices each. One in four devices is scarce: its pool runs dry.
    pub(super) fn new(clients: u32) -> Self {
        let users = (clients / 2).max(4);
        let devices = (0..users)
            .flat_map(|user| (0..=user % 3).map(move |device| Device(User(user), device)));
        let pools = devices.enumerate().map(|(n, device)| Pool::new(device, n)).collect();
        let device = |worker, number| Device(User(users + worker), number);
        let own = |worker| (0..OWN).map(move |number| Pool::of_one(device(worker, number), number));
        let own = (0..clients).map(|worker| own(worker).collect()).collect();
        Self { pools, own, next_reservation: AtomicU64::new(1) }
    }

    /// The pools of a worker's own.
    pub(super) fn own(&self, worker: u32) -> &[Pool] {
        &self.own[worker as usize]
    }

    /// A device's pool at random.
    pub(super) fn any(&self, random: &mut impl Rng) -> &Pool {
        &self.pools[random.random_range(0..self.pools.len())]
    }

    /// The numbers of the pools that one of so many workers fills.
    pub(super) fn share(&self, worker: u32, workers: u32) -> Vec<usize> {
        (worker as usize..self.pools.len()).step_by(workers.max(1) as usize).collect()
    }

    /// The pool of a number.
    pub(super) fn pool(&self, number: usize) -> &Pool {
        &self.pools[number]
    }

    /// A reservation that was never made.
    pub(super) fn reservation(&self) -> Reservation {
        Reservation(self.next_reservation.fetch_add(1, Ordering::Relaxed))
    }
}

impl Pool {
    fn new(device: Device, number: usize) -> Self {
        let (user_id, device_id) = (device.0.id(), device.id());
        let maker = || PackageMaker::new(&user_id, &device_id);
        Self {
            device,
            target: if number.is_multiple_of(4) { 4 } else { 48 },
            has_last_resort: number % 3 == 1,
            is_uniform: false,
            makers: [(1, maker()), (2, maker().cipher_suite(CipherSuite(2)))],
            last_resort: maker().last_resort(),
            uploaded: Mutex::default(),
        }
    }

    /// One with a single one-time package.
    fn of_one(device: Device, number: u32) -> Self {
        let has_last_resort = number.is_multiple_of(2);
        Self { target: 1, has_last_resort, is_uniform: true, ..Self::new(device, 0) }
    }

    /// What makes its one-time packages of a cipher suite.
    pub(super) fn maker(&self, suite: u16) -> &PackageMaker {
        let own = self.makers.iter().find(|(made, _)| *made == suite);
        own.map_or(&self.makers[0].1, |(_, maker)| maker)
    }

    /// What makes its last-resort packages, of cipher suite 1.
    pub(super) fn last_resort(&self) -> &PackageMaker {
        &self.last_resort
    }

    /// Remembers what was uploaded, or may have been.
    pub(super) fn remember(&self, packages: impl Iterator<Item = (Package, Vec<u8>)>) {
        let mut uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        uploaded.extend(packages);
        let surplus = uploaded.len().saturating_sub(REMEMBERED);
        uploaded.drain(..surplus);
        let old = uploaded.len().saturating_sub(KEPT);
        for (_, bytes) in uploaded.iter_mut().take(old) {
            bytes.clear();
        }
    }

    /// Some packages that were uploaded, or may have been, with their bytes.
    pub(super) fn some(&self, count: usize, random: &mut impl Rng) -> Vec<(Package, Vec<u8>)> {
        let uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        let first = uploaded.len().saturating_sub(KEPT);
        (0..count)
            .filter(|_| first < uploaded.len())
            .map(|_| uploaded[random.random_range(first..uploaded.len())].clone())
            .collect()
    }

    /// All packages that are remembered.
    pub(super) fn all(&self) -> Vec<Package> {
        let uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        uploaded.iter().map(|(package, _)| *package).collect()
    }
}

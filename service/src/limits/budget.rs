use crate::types::Holder;
use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Whose bytes they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Payer {
    /// All callers from an address that have not proven who they are.
    Address(IpAddr),
    /// A user, or a service that acts for itself.
    One(Holder),
    /// A back end, which acts for many.
    Many(Holder),
}

impl Payer {
    /// Callers from an address. A network of IPv6 gives each of its hosts the last 64 bits to choose.
    #[must_use]
    pub fn from_address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
            address => address,
        })
    }
}

/// How many bytes calls may have in memory: requests that arrive, and answers until they are sent. Cheap to clone.
///
/// All callers that have not proven who they are share an eighth, of which one address has a quarter. One user or service may
/// have an eighth, a back end half.
#[derive(Debug, Clone)]
pub struct Budget {
    most: usize,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    all: usize,
    without_credentials: usize,
    by: HashMap<Payer, usize>,
}

/// Why bytes are not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// The payer has as many as it may.
    Share,
    /// All together do.
    Budget,
}

/// Bytes that a payer has, until they are dropped.
#[derive(Debug)]
pub struct Charge {
    payer: Payer,
    bytes: usize,
    of: Budget,
}

impl Budget {
    /// At most so many bytes in all.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, used: Arc::default() }
    }

    /// Charges bytes to a payer.
    ///
    /// # Errors
    /// If it may not have so many more.
    pub fn charge(&self, payer: Payer, bytes: usize) -> Result<Charge, Exceeded> {
        self.used().take(self, &payer, bytes)?;
        Ok(Charge { payer, bytes, of: self.clone() })
    }

    /// How many a payer may have.
    fn share(&self, payer: &Payer) -> usize {
        match payer {
            Payer::Address(_) => self.most / 32,
            Payer::One(_) => self.most / 8,
            Payer::Many(_) => self.most / 2,
        }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        // No change is made before all that can fail.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    fn take(&mut self, of: &Budget, payer: &Payer, bytes: usize) -> Result<(), Exceeded> {
        let after = |used: usize, most: usize| used.checked_add(bytes).filter(|used| *used <= most);
        let entry = self.by.entry(payer.clone());
        let used = match &entry {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(_) => 0,
        };
        let used = after(used, of.share(payer)).ok_or(Exceeded::Share)?;
        let all = after(self.all, of.most).ok_or(Exceeded::Budget)?;
        if let Payer::Address(_) = payer {
            self.without_credentials =
                after(self.without_credentials, of.most / 8).ok_or(Exceeded::Budget)?;
        }
        self.all = all;
        entry.insert_entry(used);
        Ok(())
    }

    fn give_back(&mut self, payer: &Payer, bytes: usize) {
        self.all -= bytes;
        if let Payer::Address(_) = payer {
            self.without_credentials -= bytes;
        }
        if let Entry::Occupied(mut used) = self.by.entry(payer.clone()) {
            *used.get_mut() -= bytes;
            if *used.get() == 0 {
                used.remove();
            }
        }
    }
}

impl Charge {
    /// Charges more to the same payer.
    ///
    /// # Errors
    /// If it may not have so many more.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.of.used().take(&self.of, &self.payer, bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Charges more to the same payer, apart from these.
    ///
    /// # Errors
    /// If it may not have so many more.
    pub fn another(&self, bytes: usize) -> Result<Self, Exceeded> {
        self.of.charge(self.payer.clone(), bytes)
    }

    /// Charges all to another payer.
    ///
    /// # Errors
    /// If that may not have so many more: then the first still has them.
    pub fn pass_to(&mut self, payer: Payer) -> Result<(), Exceeded> {
        let mut used = self.of.used();
        used.give_back(&self.payer, self.bytes);
        let passed = used.take(&self.of, &payer, self.bytes);
        if passed.is_ok() {
            self.payer = payer;
        } else {
            // They were its own a moment ago.
            let _restored = used.take(&self.of, &self.payer, self.bytes);
        }
        passed
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.of.used().give_back(&self.payer, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 3200;

    fn address(last: u8) -> Payer {
        Payer::from_address([10, 0, 0, last].into())
    }

    fn one(name: &str) -> Payer {
        Payer::One(Holder::new(name).unwrap())
    }

    fn refusal(charge: Result<Charge, Exceeded>) -> Option<Exceeded> {
        charge.err()
    }

    #[test]
    fn each_payer_has_its_share_and_all_have_the_budget() {
        let budget = Budget::new(MOST);
        let many = Payer::Many(Holder::new("service:many").unwrap());
        for (payer, share) in [(address(1), 100), (one("a"), 400), (many.clone(), 1600)] {
            let whole = budget.charge(payer.clone(), share).unwrap();
            assert_eq!(refusal(budget.charge(payer.clone(), 1)), Some(Exceeded::Share));
            drop(whole);
            assert_eq!(refusal(budget.charge(payer, share + 1)), Some(Exceeded::Share));
        }
        assert!(budget.used().by.is_empty(), "who has nothing is forgotten");
        let _many = budget.charge(many, 1600).unwrap();
        let _ones = ["a", "b", "c", "d"].map(|name| budget.charge(one(name), 400).unwrap());
        assert_eq!(refusal(budget.charge(one("e"), 1)), Some(Exceeded::Budget));
    }

    #[test]
    fn callers_without_credentials_leave_most_to_others() {
        let budget = Budget::new(MOST);
        let _addresses = [1, 2, 3, 4].map(|last| budget.charge(address(last), 100).unwrap());
        assert_eq!(refusal(budget.charge(address(5), 1)), Some(Exceeded::Budget));
        assert!(budget.charge(one("a"), 400).is_ok());
    }

    #[test]
    fn a_charge_grows_and_is_passed_on() {
        let budget = Budget::new(MOST);
        let mut charge = budget.charge(address(1), 60).unwrap();
        assert_eq!(charge.grow(41), Err(Exceeded::Share));
        charge.grow(40).unwrap();
        let full = budget.charge(one("a"), 301).unwrap();
        assert_eq!(charge.pass_to(one("a")), Err(Exceeded::Share));
        drop(full);
        charge.pass_to(one("a")).unwrap();
        assert!(budget.charge(address(1), 100).is_ok());
        assert_eq!(refusal(budget.charge(one("a"), 301)), Some(Exceeded::Share));
        drop(charge);
        assert!(budget.used().by.is_empty() && budget.used().all == 0);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |address: &str| Payer::from_address(address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), address(1));
    }
}

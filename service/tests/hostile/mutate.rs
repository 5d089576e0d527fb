//! Changes to encoded bytes.

use proptest::{collection::vec, prelude::*, sample::Index};

/// One change. Places are those of whatever bytes it is applied to.
#[derive(Debug, Clone)]
pub enum Mutation {
    /// A byte becomes another.
    Flip(Index, u8),
    /// Some bytes become others, possibly more or fewer.
    Replace(Index, usize, Vec<u8>),
    /// A byte becomes one that begins a length, or a number at its limit.
    Length(Index, u8),
    /// A region comes once more.
    Duplicate(Index, Index),
    /// A region is lost.
    Cut(Index, Index),
    /// What follows comes from somewhere in other bytes.
    Splice(Index, Index),
}

/// Any change.
pub fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<Index>;
    let lengths = vec![0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xfe, 0xff];
    prop_oneof![
        (place(), 1..=u8::MAX).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        (place(), 0..8_usize, vec(any::<u8>(), 0..8))
            .prop_map(|(at, removed, added)| Mutation::Replace(at, removed, added)),
        (place(), proptest::sample::select(lengths))
            .prop_map(|(at, length)| Mutation::Length(at, length)),
        (place(), place()).prop_map(|(from, to)| Mutation::Duplicate(from, to)),
        (place(), place()).prop_map(|(from, to)| Mutation::Cut(from, to)),
        (place(), place()).prop_map(|(at, from)| Mutation::Splice(at, from)),
    ]
}

/// Bytes with changes, one after the other.
pub fn mutated(bytes: &[u8], mutations: &[Mutation], other: &[u8]) -> Vec<u8> {
    mutations.iter().fold(bytes.to_vec(), |bytes, mutation| mutation.apply(bytes, other))
}

impl Mutation {
    fn apply(&self, mut bytes: Vec<u8>, other: &[u8]) -> Vec<u8> {
        if bytes.is_empty() {
            return bytes;
        }
        let region = |from: &Index, to: &Index| {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            from.min(to)..from.max(to) + 1
        };
        match self {
            Self::Flip(at, bits) => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            Self::Replace(at, removed, added) => {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + removed);
                drop(bytes.splice(at..end, added.iter().copied()));
            }
            Self::Length(at, length) => {
                let at = at.index(bytes.len());
                bytes[at] = *length;
            }
            Self::Duplicate(from, to) => {
                let region = region(from, to);
                let copy = bytes[region.clone()].to_vec();
                drop(bytes.splice(region.end..region.end, copy));
            }
            Self::Cut(from, to) => {
                let region = region(from, to);
                drop(bytes.drain(region));
            }
            Self::Splice(at, from) => {
                bytes.truncate(at.index(bytes.len()));
                bytes.extend(&other[from.index(other.len().max(1)).min(other.len())..]);
            }
        }
        bytes
    }
}

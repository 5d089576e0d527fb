//! What share of the calls does what.

use rand::Rng;
use std::str::FromStr;

/// Something that a caller of keypool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Reserves a package and lets the hold lapse.
    Reserve,
    /// Reserves a package and spends it.
    Spend,
    /// Uploads a package.
    Upload,
}

/// Shares of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mix {
    reserve: u32,
    spend: u32,
    upload: u32,
}

impl Mix {
    /// An operation, by chance.
    pub(super) fn pick(self, random: &mut impl Rng) -> Operation {
        match random.random_range(0..self.reserve + self.spend + self.upload) {
            pick if pick < self.reserve => Operation::Reserve,
            pick if pick < self.reserve + self.spend => Operation::Spend,
            _ => Operation::Upload,
        }
    }
}

impl FromStr for Mix {
    type Err = String;

    /// Reads shares like `reserve=8,spend=1`; what is not named has none.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut mix = Self { reserve: 0, spend: 0, upload: 0 };
        for part in text.split(',') {
            let (name, share) = part.split_once('=').ok_or("must be like reserve=8,spend=1")?;
            let share: u16 = share.trim().parse().map_err(|_| "shares are numbers below 65536")?;
            match name.trim() {
                "reserve" => mix.reserve = share.into(),
                "spend" => mix.spend = share.into(),
                "upload" => mix.upload = share.into(),
                other => return Err(format!("{other}: must be reserve, spend or upload")),
            }
        }
        if mix.reserve + mix.spend + mix.upload == 0 {
            return Err("some share must be more than 0".to_owned());
        }
        Ok(mix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::SmallRng};

    #[test]
    fn shares_are_read() {
        assert_eq!("spend=3, reserve=1".parse(), Ok(Mix { reserve: 1, spend: 3, upload: 0 }));
        for wrong in ["", "reserve", "reserve=-1", "delete=1", "reserve=0", "reserve=70000"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_has_a_share_is_done() {
        let (mix, mut random) = ("upload=1".parse::<Mix>().unwrap(), SmallRng::seed_from_u64(1));
        assert!((0..100).all(|_| mix.pick(&mut random) == Operation::Upload));
    }
}

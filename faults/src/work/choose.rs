//! Choosing at random.

use rand::Rng;

/// One of several, each as often as its weight says.
pub(super) fn choose<T: Copy>(random: &mut impl Rng, choices: &[(u32, T)]) -> Option<T> {
    let sum: u32 = choices.iter().map(|(weight, _)| weight).sum();
    let mut place = random.random_range(0..sum.max(1));
    for (weight, choice) in choices {
        if place < *weight {
            return Some(*choice);
        }
        place -= weight;
    }
    None
}

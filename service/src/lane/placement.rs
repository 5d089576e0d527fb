//! Which lane serves which bucket.

use crate::types::Bucket;

/// The number of the lane that serves a bucket, out of `lanes`, of which there must be one at least.
///
/// A user always has the same lane, so that calls for one device gather in one statement, and don't wait for each other in
/// two.
pub(super) fn lane_of(bucket: Bucket, lanes: usize) -> usize {
    usize::from(bucket.number().unsigned_abs()) % lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::UserId;

    #[test]
    fn users_spread_over_all_lanes_and_stay_where_they_are() {
        for lanes in 1..=5 {
            let mut used = vec![0; lanes];
            for n in 0..1000 {
                let user = UserId::new(&format!("user-{n}")).unwrap();
                let lane = lane_of(Bucket::of(&user), lanes);
                assert_eq!(lane, lane_of(Bucket::of(&user), lanes));
                used[lane] += 1;
            }
            assert!(used.iter().all(|&users| users > 500 / lanes), "{used:?}");
        }
    }
}

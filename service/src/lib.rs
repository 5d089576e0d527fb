//! The keypool service.
pub mod clock;
pub mod embedded;
pub mod pool;
#[cfg(feature = "testing")]
pub mod testing;
pub mod types;

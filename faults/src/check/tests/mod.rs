//! Histories that are wrong on purpose, and right ones that look suspicious.

mod kept;
mod lost;
mod restored;
mod right;
mod story;
mod wrong;

//! Histories that are wrong on purpose, and right ones that look suspicious.

mod right;
mod story;
mod wrong;

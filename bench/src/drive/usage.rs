//! What processes use, read from `/proc`. Systems without it have no answer.

use std::fs;

/// CPU time of a process, in ticks: its own, and that of its children that have ended and were waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    parent: u32,
    own: u64,
    ended_children: u64,
}

/// Reads a line of `/proc/…/stat`.
fn parse_stat(stat: &str) -> Option<Ticks> {
    // The second field is the program's name in parentheses, and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Ticks {
        parent: fields.get(1)?.parse().ok()?,
        own: ticks(11)? + ticks(12)?,
        ended_children: ticks(13)? + ticks(14)?,
    })
}

/// CPU time of a process.
fn ticks_of(pid: &str) -> Option<Ticks> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Ticks as seconds.
#[allow(clippy::cast_precision_loss)] // ticks of centuries fit
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// CPU seconds of a process.
pub(super) fn cpu_seconds(pid: u32) -> Option<f64> {
    ticks_of(&pid.to_string()).map(|ticks| seconds(ticks.own))
}

/// CPU seconds of a process and all its children, those that have ended included.
pub(super) fn cpu_seconds_of_tree(pid: u32) -> Option<f64> {
    let root = ticks_of(&pid.to_string())?;
    let children = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let name = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))?;
        ticks_of(name).filter(|ticks| ticks.parent == pid)
    });
    let living: u64 = children.map(|child| child.own + child.ended_children).sum();
    Some(seconds(root.own + root.ended_children + living))
}

/// Memory that a process uses now, in bytes.
pub(crate) fn memory_used(pid: u32) -> Option<u64> {
    status(pid, "VmRSS:")
}

/// The most memory that a process ever used, in bytes.
pub(crate) fn memory_peak(pid: u32) -> Option<u64> {
    status(pid, "VmHWM:")
}

/// A size in `/proc/…/status`.
fn status(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_whatever_the_program_is_called() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194304 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7";
        assert_eq!(parse_stat(stat), Some(Ticks { parent: 7, own: 120, ended_children: 7 }));
        assert_eq!(parse_stat("nonsense"), None);
        assert_eq!(parse_stat("42 (x) S 7"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_something() {
        let pid = std::process::id();
        assert!(cpu_seconds(pid).is_some() && cpu_seconds_of_tree(pid).is_some());
        let (used, peak) = (memory_used(pid).unwrap(), memory_peak(pid).unwrap());
        assert!(used > 0 && peak >= used, "{used} {peak}");
    }
}

//! Cores for the load generator, and cores for what it measures: else the load takes from the service what the service is
//! to do with it.

use crate::{child::Child, cli::OverloadOptions, error::Error, rig::Rig};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use serde::Serialize;
use std::{fmt, fs, io, process};

/// Who has which cores.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Share {
    /// All have all.
    Together,
    /// The load generator has some for itself, and service and database share the others.
    Apart {
        /// Cores of the load generator.
        load: u32,
        /// Cores of service and database.
        measured: u32,
    },
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Together => f.write_str("cores: shared by all"),
            Self::Apart { load, measured } => {
                write!(
                    f,
                    "cores: {load} for the load generator, {measured} for service and database"
                )
            }
        }
    }
}

/// Gives the load generator half of the cores, and the others to service and database, unless that was not wanted or there
/// is only one.
pub(super) fn share(options: &OverloadOptions, rig: &Rig, service: &Child) -> Result<Share, Error> {
    let failed = Error::io("share the cores");
    let all = sched_getaffinity(None).map_err(|error| failed(error.into()))?;
    let (mut load, mut measured) = (CpuSet::new(), CpuSet::new());
    let half = all.count() / 2;
    if options.together || half == 0 {
        return Ok(Share::Together);
    }
    for core in (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core)) {
        if load.count() < half { load.set(core) } else { measured.set(core) }
    }
    let processes =
        [(Some(process::id()), load), (service.pid(), measured), (rig.database.pid(), measured)];
    for (process, cores) in processes {
        if let Some(process) = process {
            pin(process, &cores).map_err(Error::io("share the cores"))?;
        }
    }
    Ok(Share::Apart { load: load.count(), measured: measured.count() })
}

/// Keeps a process's threads, and those that they start later, on some cores.
fn pin(process: u32, cores: &CpuSet) -> io::Result<()> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let thread = thread?.file_name();
        let thread = thread.to_str().and_then(|thread| Pid::from_raw(thread.parse().ok()?));
        sched_setaffinity(thread, cores)?;
    }
    Ok(())
}

//! Cores for the load generator, and cores for what it measures: else the load takes from the service what the service is
//! to do with it.

use crate::{cli::OverloadOptions, error::Error};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use serde::Serialize;
use std::{fmt, fs, io};

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

/// Who gets which cores.
#[derive(Debug)]
pub(super) struct Cores {
    apart: Option<Apart>,
}

#[derive(Debug, Clone, Copy)]
struct Apart {
    load: CpuSet,
    measured: CpuSet,
}

impl Cores {
    /// Half of the cores for the load generator, and the others for service and database, unless that is not wanted or
    /// there is only one.
    pub(super) fn split(options: &OverloadOptions) -> Result<Self, Error> {
        let all = sched_getaffinity(None).map_err(|error| failed(error.into()))?;
        let half = all.count() / 2;
        if options.together || half == 0 {
            return Ok(Self { apart: None });
        }
        let (mut load, mut measured) = (CpuSet::new(), CpuSet::new());
        for core in (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core)) {
            if load.count() < half { load.set(core) } else { measured.set(core) }
        }
        Ok(Self { apart: Some(Apart { load, measured }) })
    }

    /// From here on, what this process starts gets the cores of what is measured. A service makes as many threads as it
    /// finds cores when it starts.
    pub(super) fn start_measured(&self) -> Result<(), Error> {
        self.apart.map_or(Ok(()), |apart| stay_on(&apart.measured))
    }

    /// From here on, this process has the cores of the load generator.
    pub(super) fn start_load(&self) -> Result<Share, Error> {
        let Some(Apart { load, measured }) = self.apart else { return Ok(Share::Together) };
        stay_on(&load)?;
        Ok(Share::Apart { load: load.count(), measured: measured.count() })
    }
}

/// Keeps the threads of this process, and what they start later, on some cores.
fn stay_on(cores: &CpuSet) -> Result<(), Error> {
    let pin = || {
        for thread in fs::read_dir("/proc/self/task")? {
            let thread = thread?.file_name();
            let thread = thread.to_str().and_then(|thread| Pid::from_raw(thread.parse().ok()?));
            sched_setaffinity(thread, cores)?;
        }
        Ok(())
    };
    pin().map_err(failed)
}

fn failed(error: io::Error) -> Error {
    Error::io("share the cores")(error)
}

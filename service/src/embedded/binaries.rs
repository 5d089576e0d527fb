//! Finding PostgreSQL's programs.

use super::error::EmbeddedError;
use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The oldest major version that will do.
const OLDEST: u32 = 15;

/// Where the usual packages put programs: folder, start of a name in it, and the rest of the path.
const PLACES: [(&str, &str, &str); 9] = [
    ("/usr/lib/postgresql", "", "bin"), // Debian, Ubuntu
    ("/usr/lib", "postgresql", "bin"),  // SUSE
    ("/usr/libexec", "postgresql", ""), // Alpine
    ("/usr", "pgsql-", "bin"),          // postgresql.org's packages for Fedora and RHEL
    ("/usr/local", "pgsql", "bin"),     // built from source
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// A version of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) major: u32,
    minor: u32,
}

impl Version {
    /// Reads the answer to `postgres --version`, as in `postgres (PostgreSQL) 17.2 (Debian 17.2-1)`.
    fn parse(answer: &str) -> Option<Self> {
        let (_, version) = answer.split_once("(PostgreSQL) ")?;
        let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let major = numbers.next()?.ok()?;
        let minor = if version.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('.') {
            numbers.next()?.ok()?
        } else {
            0 // a beta
        };
        Some(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A folder with `initdb` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    folder: PathBuf,
    pub(super) version: Version,
}

impl Binaries {
    /// Those in the `configured` folder, else the newest on this machine. Data is bound to the
    /// major version that made it: where there is some, that version.
    pub(super) fn find(
        configured: Option<&Path>,
        data: Option<(&Path, u32)>,
    ) -> Result<Self, EmbeddedError> {
        let installed = match configured {
            Some(folder) => vec![
                Self::of(folder)
                    .ok_or_else(|| EmbeddedError::NoBinaries { folder: folder.to_owned() })?,
            ],
            None => usual_folders().iter().filter_map(|folder| Self::of(folder)).collect(),
        };
        Self::choose(&installed, data)
    }

    fn choose(installed: &[Self], data: Option<(&Path, u32)>) -> Result<Self, EmbeddedError> {
        let fits = |major| data.map_or(major >= OLDEST, |(_, made_by)| major == made_by);
        installed
            .iter()
            .rev() // of equals, max_by_key takes the last
            .filter(|binaries| fits(binaries.version.major))
            .max_by_key(|binaries| binaries.version)
            .cloned()
            .ok_or_else(|| {
                let found = list(installed);
                match data {
                    None => EmbeddedError::NotFound { found },
                    Some((cluster, major)) => {
                        EmbeddedError::OtherMajor { cluster: cluster.to_owned(), major, found }
                    }
                }
            })
    }

    fn of(folder: &Path) -> Option<Self> {
        let folder = std::path::absolute(folder).ok()?;
        if !folder.join("initdb").is_file() {
            return None;
        }
        let answer = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        let version = Version::parse(&String::from_utf8_lossy(&answer.stdout))?;
        Some(Self { folder, version })
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }
}

fn usual_folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(PLACES.into_iter().flat_map(expand)).collect()
}

/// The folders `<parent>/<start>*/<rest>`.
fn expand((parent, start, rest): (&str, &str, &str)) -> Vec<PathBuf> {
    fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path().join(rest))
        .collect()
}

fn list(installed: &[Binaries]) -> String {
    let each: Vec<_> = installed
        .iter()
        .map(|Binaries { folder, version }| format!("{version} in {}", folder.display()))
        .collect();
    if each.is_empty() { String::new() } else { format!(" (only {})", each.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u32, minor: u32) -> Version {
        Version { major, minor }
    }

    fn installed(versions: &[(u32, u32)]) -> Vec<Binaries> {
        versions
            .iter()
            .map(|&(major, minor)| Binaries {
                folder: format!("/pg/{major}/bin").into(),
                version: version(major, minor),
            })
            .collect()
    }

    #[test]
    fn reads_versions() {
        for (answer, expected) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(version(15, 18))),
            ("postgres (PostgreSQL) 17.2\n", Some(version(17, 2))),
            ("postgres (PostgreSQL) 18beta1\n", Some(version(18, 0))),
            ("postgres (PostgreSQL) 19devel\n", Some(version(19, 0))),
            ("postgres (PostgreSQL) 9.6.24\n", Some(version(9, 6))),
            ("postgres (PostgreSQL) ", None),
            ("postgres: command not found", None),
        ] {
            assert_eq!(Version::parse(answer), expected, "{answer}");
        }
    }

    #[test]
    fn takes_the_newest() {
        let machine = installed(&[(14, 30), (16, 9), (16, 10), (15, 18)]);
        let newest = Binaries::choose(&machine, None).unwrap();
        assert_eq!(newest.version, version(16, 10));
    }

    #[test]
    fn takes_the_first_of_equals() {
        let mut machine = installed(&[(16, 1), (16, 1)]);
        machine[0].folder = "/first".into();
        let chosen = Binaries::choose(&machine, None).unwrap();
        assert_eq!(chosen.postgres(), Path::new("/first/postgres"));
    }

    #[test]
    fn takes_the_version_that_made_the_data() {
        let machine = installed(&[(17, 1), (16, 1), (16, 2)]);
        let data = Path::new("/data");
        let chosen = Binaries::choose(&machine, Some((data, 16))).unwrap();
        assert_eq!(chosen.version, version(16, 2));

        let error = Binaries::choose(&machine, Some((data, 15))).unwrap_err().to_string();
        assert!(error.contains("/data was made by PostgreSQL 15"), "{error}");
        assert!(error.contains("17.1 in /pg/17/bin"), "{error}");
    }

    #[test]
    fn says_what_to_install() {
        let error = Binaries::choose(&[], None).unwrap_err().to_string();
        for advice in [
            "sudo apt-get install postgresql\n",
            "sudo dnf install postgresql-server\n",
            "brew install postgresql@17\n",
            "--database-url",
        ] {
            assert!(error.contains(advice), "{error}");
        }
        let error = Binaries::choose(&installed(&[(13, 4)]), None).unwrap_err().to_string();
        assert!(error.contains("(only 13.4 in /pg/13/bin)"), "{error}");
    }

    #[test]
    fn a_configured_folder_must_hold_the_programs() {
        let empty = tempfile::tempdir().unwrap();
        let error = Binaries::find(Some(empty.path()), None).unwrap_err();
        assert!(matches!(error, EmbeddedError::NoBinaries { .. }), "{error}");
    }
}

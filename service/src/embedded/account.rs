//! The account that PostgreSQL runs as.

use super::error::{EmbeddedError, Trying};
use std::{
    fs,
    os::unix::fs::{MetadataExt, lchown},
    path::Path,
};

/// An account that PostgreSQL runs as in place of root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    /// `None` unless this is root, as which PostgreSQL refuses to run.
    pub(super) fn in_place_of_root() -> Result<Option<Self>, EmbeddedError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let file = Path::new("/etc/passwd");
        let passwd = fs::read_to_string(file).trying("read", file)?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Self::parse(&passwd, name))
            .map(Some)
            .ok_or(EmbeddedError::NoAccount)
    }

    fn parse(passwd: &str, name: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let &[account, _, uid, gid, ..] = fields.as_slice() else {
                return None;
            };
            let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
            (account == name).then(|| Self { name: name.to_owned(), uid, gid })
        })
    }

    /// Makes sure that the account can reach what lies in `folder`.
    pub(super) fn check_entry(&self, folder: &Path) -> Result<(), EmbeddedError> {
        for folder in folder.ancestors() {
            let metadata = fs::metadata(folder).trying("look at", folder)?;
            let may_enter = if metadata.uid() == self.uid {
                0o100
            } else if metadata.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            if metadata.mode() & may_enter == 0 {
                let (account, folder) = (self.name.clone(), folder.to_owned());
                return Err(EmbeddedError::NoEntry { account, folder });
            }
        }
        Ok(())
    }

    /// Gives `path`, and all in it, to the account, unless it's the owner already.
    pub(super) fn own(&self, path: &Path) -> Result<(), EmbeddedError> {
        let metadata = fs::symlink_metadata(path).trying("look at", path)?;
        if metadata.uid() == self.uid {
            return Ok(());
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(path).trying("list", path)? {
                self.own(&entry.trying("list", path)?.path())?;
            }
        }
        // Last, so that a tree that was given away in part is seen as such.
        lchown(path, Some(self.uid), Some(self.gid)).trying("give away", path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn reads_passwd() {
        let passwd =
            "root:x:0:0::/root:/bin/sh\nmac:*:-2:-2::/:/bin/sh\n#\npostgres:x:101:104::/:\n";
        let postgres = Account { name: "postgres".to_owned(), uid: 101, gid: 104 };
        assert_eq!(Account::parse(passwd, "postgres"), Some(postgres));
        assert_eq!(Account::parse(passwd, "nobody"), None);
        assert_eq!(Account::parse(passwd, "mac"), None);
    }

    #[test]
    fn names_the_folder_that_is_closed() {
        let closed = tempfile::tempdir().unwrap();
        fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let inner = closed.path().join("inner");
        fs::create_dir(&inner).unwrap();

        let stranger = Account { name: "stranger".to_owned(), uid: 12_345, gid: 12_345 };
        let error = stranger.check_entry(&inner).unwrap_err();
        assert!(
            matches!(&error, EmbeddedError::NoEntry { folder, .. } if folder == closed.path()),
            "{error}"
        );
    }
}

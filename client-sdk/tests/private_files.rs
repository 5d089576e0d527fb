//! SQLite files are their owner's alone.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use keypool_client::mls::{SqliteError, SqliteInviteJournal, SqlitePinStore, SqlitePoolStore};
use rusqlite::Connection;

type Open = fn(&Path) -> Result<Box<dyn Send>, SqliteError>;

/// Every store that has a file.
const STORES: [Open; 3] = [
    |path| Ok(Box::new(SqlitePinStore::open(path)?)),
    |path| Ok(Box::new(SqlitePoolStore::open(path, "bob", "phone")?)),
    |path| Ok(Box::new(SqliteInviteJournal::open(path)?)),
];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The names of the files in a folder, none of which others may read.
fn private_files(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names = Vec::new();
    for file in files {
        assert_eq!(mode(&file) & 0o177, 0, "{file:?}");
        names.push(file.file_name().and_then(OsStr::to_str).unwrap().to_owned());
    }
    names.sort();
    names
}

#[test]
fn new_ones_are_private() {
    for open in STORES {
        let folder = tempfile::tempdir().unwrap();
        open(&folder.path().join("new.sqlite")).unwrap();
        assert_eq!(private_files(folder.path()), ["new.sqlite"]);
        // No name is taken for a URI of SQLite's.
        open(&folder.path().join("file:new.sqlite?mode=memory")).unwrap();
        assert_eq!(private_files(folder.path()).len(), 2);
    }
}

#[test]
fn those_beside_them_are_private() {
    for open in STORES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sqlite");
        open(&path).unwrap();
        let application = Connection::open(&path).unwrap();
        application.pragma_update(None, "journal_mode", "wal").unwrap();
        let _store = open(&path).unwrap();
        application.execute_batch("CREATE TABLE mine (id INTEGER)").unwrap();
        assert_eq!(private_files(folder.path()), ["db.sqlite", "db.sqlite-shm", "db.sqlite-wal"]);
    }
}

#[test]
fn others_lose_their_rights_to_old_ones() {
    for open in STORES {
        for wide in [0o644, 0o660, 0o666, 0o777, 0o604] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("db.sqlite");
            let application = Connection::open(&path).unwrap();
            application.pragma_update(None, "journal_mode", "wal").unwrap();
            application.execute_batch("CREATE TABLE mine (id INTEGER)").unwrap();
            for entry in fs::read_dir(folder.path()).unwrap() {
                fs::set_permissions(entry.unwrap().path(), Permissions::from_mode(wide)).unwrap();
            }
            let link = folder.path().join("link");
            symlink(&path, &link).unwrap();

            open(&link).unwrap();

            let names = private_files(folder.path());
            assert_eq!(names, ["db.sqlite", "db.sqlite-shm", "db.sqlite-wal", "link"], "{wide:o}");
        }
    }
}

#[test]
fn what_can_not_be_private_is_refused() {
    for open in STORES {
        let folder = tempfile::tempdir().unwrap();
        let dangling = folder.path().join("dangling");
        symlink(folder.path().join("nowhere"), &dangling).unwrap();
        for path in [dangling.as_path(), Path::new("")] {
            let refused = open(path).map(drop).unwrap_err();
            assert!(matches!(refused, SqliteError::NotPrivate(_)), "{refused:?}");
        }
        assert!(!folder.path().join("nowhere").exists());
    }
}

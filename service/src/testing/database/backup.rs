//! Base backups of test clusters, and standbys.

use super::{
    TestCluster,
    cluster::{data_dir, eventually},
    connect,
};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use tokio_postgres::config::Host;

/// The folder of the data in a backup, as in a cluster.
const DATA: &str = "postgres";

/// The file of the password in a cluster.
const PASSWORD: &str = "password";

/// A base backup of a [`TestCluster`], as `pg_basebackup` makes it. Removed when dropped.
#[derive(Debug)]
pub struct BaseBackup(TempDir);

/// How PostgreSQL starts from a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// As after a crash, on the timeline that it had: a copy of the disk was put back.
    SameTimeline,
    /// As from an archive, on a timeline of its own.
    NewTimeline,
}

impl TestCluster {
    /// Takes a base backup while the cluster serves.
    ///
    /// # Panics
    ///
    /// If it can't, as when `pg_basebackup` isn't installed beside PostgreSQL.
    pub async fn base_backup(&self) -> BaseBackup {
        self.back_up("").await
    }

    /// Puts a backup in the place of the cluster's data. What was committed since is gone. It serves where it did.
    ///
    /// # Panics
    ///
    /// If PostgreSQL doesn't start from it.
    pub async fn restore(&mut self, backup: &BaseBackup, recovery: Recovery) {
        let data = self.data_dir.join(DATA);
        self.stopped(|| {
            fs::remove_dir_all(&data).expect("the data can be removed");
            copy(&backup.data(), &data);
            if recovery == Recovery::NewTimeline {
                fs::write(data.join("recovery.signal"), "").expect("the data can be written");
                let archive = "restore_command = 'false'\n"; // what the backup has is all there is
                fs::write(data.join("postgresql.auto.conf"), archive)
                    .expect("the data can be written");
            }
        })
        .await;
        let client = connect(&self.config()).await.expect("the test cluster serves");
        let recovers = "SELECT pg_is_in_recovery()";
        eventually("the recovery ends", async || {
            let row = client.query_one(recovers, &[]).await.expect("the test cluster serves");
            !row.get::<_, bool>(0)
        })
        .await;
    }

    /// Starts a standby that follows this cluster by streaming replication, not synchronously.
    ///
    /// # Panics
    ///
    /// If it doesn't.
    pub async fn standby(&self) -> Self {
        let backup = self.back_up("--write-recovery-conf").await;
        let folder = data_dir();
        fs::rename(backup.data(), folder.join(DATA)).expect("the backup can be moved");
        fs::copy(self.data_dir.join(PASSWORD), folder.join(PASSWORD))
            .expect("the password can be copied");
        Self::start_in(folder, &[], None).await
    }

    /// Cuts a standby off from the cluster that it follows.
    ///
    /// # Panics
    ///
    /// If it isn't a standby.
    pub async fn cut_off(&self) {
        let client = connect(&self.config()).await.expect("the standby serves");
        for statement in ["ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"] {
            client.batch_execute(statement).await.expect("settings can be changed");
        }
        let follows = "SELECT count(*) > 0 FROM pg_stat_wal_receiver";
        eventually("the standby follows nobody", async || {
            let row = client.query_one(follows, &[]).await.expect("the standby serves");
            !row.get::<_, bool>(0)
        })
        .await;
    }

    /// Ends a standby's following: from now on it is a primary, with what it has applied.
    ///
    /// # Panics
    ///
    /// If it isn't a standby.
    pub async fn promote(&self) {
        let client = connect(&self.config()).await.expect("the standby serves");
        client.batch_execute("SELECT pg_promote()").await.expect("it is a standby");
    }

    /// Waits until a standby has applied everything that is committed here.
    ///
    /// # Panics
    ///
    /// If it doesn't within a minute.
    pub async fn wait_until_applied_by(&self, standby: &Self) {
        let lsn = "SELECT pg_current_wal_lsn()::text";
        let applied = "SELECT COALESCE(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)";
        let client = connect(&self.config()).await.expect("the test cluster serves");
        let lsn: String =
            client.query_one(lsn, &[]).await.expect("a primary has a position").get(0);
        let standby = connect(&standby.config()).await.expect("the standby serves");
        eventually("the standby has applied it", async || {
            standby.query_one(applied, &[&lsn]).await.expect("a standby has a position").get(0)
        })
        .await;
    }

    async fn back_up(&self, flags: &str) -> BaseBackup {
        // The server writes it: it may run as another account, which alone may read it.
        let folder = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o777))
            .tempdir()
            .expect("the temporary folder is writable");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777))
            .expect("the folder is ours");
        let backup = BaseBackup(folder);
        let config = self.config();
        let [Host::Unix(socket)] = config.get_hosts() else {
            unreachable!("test clusters have one unix socket")
        };
        let client = connect(&config).await.expect("the test cluster serves");
        let programs = "SELECT setting FROM pg_config WHERE name = 'BINDIR'";
        let programs: String =
            client.query_one(programs, &[]).await.expect("PostgreSQL knows").get(0);
        let password = String::from_utf8_lossy(config.get_password().unwrap_or_default());
        let (user, port) = (config.get_user().unwrap_or_default(), config.get_ports()[0]);
        let (socket, data) = (socket.display(), backup.data());
        let command = format!(
            "PGPASSWORD={password} {programs}/pg_basebackup --checkpoint=fast --wal-method=stream {flags} \
             --host={socket} --port={port} --username={user} --pgdata={}",
            data.display()
        );
        let run = format!("COPY (SELECT 1) TO PROGRAM '{command}'");
        client.batch_execute(&run).await.expect("pg_basebackup makes a backup");
        // The socket is in the folder of the data, and its lock is taken for data.
        let lock = backup.data().join(format!(".s.PGSQL.{port}.lock"));
        if lock.exists() {
            fs::remove_file(lock).expect("the backup can be changed");
        }
        backup
    }
}

impl BaseBackup {
    fn data(&self) -> PathBuf {
        self.0.path().join(DATA)
    }
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("the folder is writable");
    let permissions = fs::metadata(from).expect("the folder is there").permissions();
    fs::set_permissions(to, permissions).expect("the folder is ours");
    for entry in fs::read_dir(from).expect("the folder is readable") {
        let entry = entry.expect("the folder is readable");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("the folder is readable");
        }
    }
}

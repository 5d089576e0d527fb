//! Reads what the database has in the end.

use crate::{
    error::Error,
    history::{Books, Device, Entry, Known, Micros, Package, Pool},
};
use tokio_postgres::{Client, Row};

/// Reads what the database has.
pub(crate) async fn read_books(client: &Client) -> Result<Books, Error> {
    let mut books = Books { read_at: Micros::now(), ..Books::default() };
    let known = "/* keypool-faults: known */ \
                 SELECT user_id, device_id, key_package_ref, cipher_suite, last_resort FROM key_package";
    for row in client.query(known, &[]).await? {
        match own(&row) {
            Ok(Some((device, package, suite))) => {
                let last_resort = row.try_get("last_resort")?;
                books.known.push(Known { device, package, suite, last_resort });
            }
            Ok(None) => books.foreign.push("a package".to_owned()),
            Err(error) => return Err(error),
        }
    }
    for (table, packages) in [("one_time", &mut books.one_time), ("revoked", &mut books.revoked)] {
        let statement = format!(
            "/* keypool-faults: {table} */ SELECT user_id, device_id, key_package_ref, cipher_suite FROM {table}"
        );
        for row in client.query(&statement, &[]).await? {
            match own(&row)? {
                Some((_, package, _)) => packages.push(package),
                None => books.foreign.push(format!("a row of {table}")),
            }
        }
    }
    let spend_log = "/* keypool-faults: spend_log */ \
                     SELECT user_id, device_id, key_package_ref, cipher_suite, reservation_id, group_id, last_resort, \
                            spent_at IS NOT NULL AS spent \
                     FROM spend_log";
    for row in client.query(spend_log, &[]).await? {
        let reservation = row.try_get::<_, &str>("reservation_id")?.parse();
        match (own(&row)?, reservation) {
            (Some((device, package, suite)), Ok(reservation)) => books.spend_log.push(Entry {
                device,
                package,
                suite,
                reservation,
                own_group: row.try_get::<_, &[u8]>("group_id")? == reservation.group(),
                last_resort: row.try_get("last_resort")?,
                spent: row.try_get("spent")?,
            }),
            _ => books.foreign.push("an entry of the spend log".to_owned()),
        }
    }
    let pools = "/* keypool-faults: pools */ \
                 SELECT user_id, device_id, cipher_suite, accepted, purged FROM pool";
    for row in client.query(pools, &[]).await? {
        match (device(&row)?, suite(&row)?) {
            (Some(device), Some(suite)) => books.pools.push(Pool {
                device,
                suite,
                accepted: row.try_get("accepted")?,
                purged: row.try_get("purged")?,
            }),
            _ => books.foreign.push("a pool".to_owned()),
        }
    }
    let fences = "/* keypool-faults: fences */ SELECT cause FROM fence WHERE number > 0";
    for row in client.query(fences, &[]).await? {
        books.fences.push(row.try_get("cause")?);
    }
    Ok(books)
}

/// What a row is about; none if nobody here asked for it.
fn own(row: &Row) -> Result<Option<(Device, Package, u16)>, Error> {
    let package = Package::of_ref(row.try_get("key_package_ref")?);
    Ok(match (device(row)?, package, suite(row)?) {
        (Some(device), Some(package), Some(suite)) => Some((device, package, suite)),
        _ => None,
    })
}

fn device(row: &Row) -> Result<Option<Device>, Error> {
    Ok(Device::of(row.try_get("user_id")?, row.try_get("device_id")?))
}

fn suite(row: &Row) -> Result<Option<u16>, Error> {
    Ok(u16::try_from(row.try_get::<_, i32>("cipher_suite")?).ok())
}

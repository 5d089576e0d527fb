//! The books at the end.

use super::{Checker, Violation};
use crate::{database::Database, error::Error};

/// Checks that every package is in exactly one place, that every pool balances, and that what was spent is spent.
pub(crate) async fn check_books(database: &Database, checker: &Checker) -> Result<(), Error> {
    let row = database.control().query_one(include_str!("../sql/books.sql"), &[]).await?;
    let count = |name: &str| row.try_get::<_, i64>(name);
    let (misplaced, unbalanced, spent) =
        (count("misplaced")?, count("unbalanced")?, count("spent")?);
    if misplaced > 0 {
        let what = format!("{misplaced} packages are in no place or in several");
        checker.violated(Violation::BooksDoNotBalance, &what);
    }
    if unbalanced > 0 {
        checker.violated(Violation::BooksDoNotBalance, &format!("{unbalanced} pools are off"));
    }
    let acknowledged = i64::try_from(checker.count_spent()).unwrap_or(i64::MAX);
    if spent < acknowledged {
        let what = format!("{acknowledged} spends were acknowledged, {spent} are logged");
        checker.violated(Violation::BooksDoNotBalance, &what);
    }
    Ok(())
}

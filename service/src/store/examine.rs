use super::{Session, Store, StoreError, get};
use std::sync::LazyLock;

const EXAMINE: &str = include_str!("sql/examine.sql");
const MISSING_RIGHTS: &str = include_str!("sql/missing_rights.sql");
const GRANTS: &str = include_str!("sql/grants.sql");

/// What a database is like, for those who run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The major version of PostgreSQL.
    pub version: i32,
    /// The role that is connected.
    pub role: String,
    /// Whether that role may do more than serve: it owns the tables, or is a superuser.
    pub may_rewrite: bool,
    /// Whether that role may create tables in the schema.
    pub may_create: bool,
    /// The standbys that commits wait for, as PostgreSQL's `synchronous_standby_names` says it.
    pub synchronous_standbys: String,
    /// How many connections there may be.
    pub max_connections: usize,
}

impl Store {
    /// Looks at the database, whether or not it has the schema.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn examine(&self) -> Result<Examined, StoreError> {
        let rows = self.rows(EXAMINE, &[]).await?;
        let Some(row) = rows.first() else { return Err(StoreError::internal("no row")) };
        Ok(Examined {
            version: get(row, "version")?,
            role: get(row, "role")?,
            may_rewrite: get(row, "may_rewrite")?,
            may_create: get(row, "may_create")?,
            synchronous_standbys: get(row, "synchronous_standbys")?,
            max_connections: usize::try_from(get::<i32>(row, "max_connections")?)
                .map_err(StoreError::internal)?,
        })
    }

    /// The rights that the service needs and the connected role lacks, as `UPDATE (held_until) ON one_time`.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn missing_rights(&self) -> Result<Vec<String>, StoreError> {
        self.session().await?.missing_rights().await
    }
}

impl Session {
    /// See [`Store::missing_rights`].
    pub(super) async fn missing_rights(&mut self) -> Result<Vec<String>, StoreError> {
        static NEEDED: LazyLock<Vec<Right>> = LazyLock::new(|| rights(GRANTS).collect());
        let table: Vec<_> = NEEDED.iter().map(|right| right.table.as_str()).collect();
        let column: Vec<_> = NEEDED.iter().map(|right| right.column.as_deref()).collect();
        let privilege: Vec<_> = NEEDED.iter().map(|right| right.privilege.as_str()).collect();
        let rows = self.rows(MISSING_RIGHTS, &[&table, &column, &privilege]).await?;
        rows.iter().map(|row| get(row, "missing")).collect()
    }
}

/// A right on a table, or on one of its columns.
#[derive(Debug, PartialEq, Eq)]
struct Right {
    table: String,
    column: Option<String>,
    privilege: String,
}

/// The rights on tables that the statements grant, so that these are listed once.
fn rights(grants: &str) -> impl Iterator<Item = Right> {
    let grants = grants.split(';').filter_map(|grant| {
        let grant = grant.split_once("GRANT ")?.1;
        let (privileges, rest) =
            grant.split_once(" ON ").or_else(|| grant.split_once("\n    ON "))?;
        let (tables, _role) = rest.split_once(" TO ")?;
        (!tables.starts_with("SCHEMA")).then_some((privileges, tables))
    });
    grants.flat_map(|(privileges, tables)| {
        let privileges = of(privileges);
        tables.split(", ").flat_map(move |table| {
            let right = |(privilege, column): &(String, Option<String>)| Right {
                table: table.trim().to_owned(),
                column: column.clone(),
                privilege: privilege.clone(),
            };
            privileges.iter().map(right).collect::<Vec<_>>()
        })
    })
}

/// Privileges, and the columns that they are about, of `SELECT, UPDATE (a, b)`.
fn of(privileges: &str) -> Vec<(String, Option<String>)> {
    let (whole, columns) = match privileges.split_once(", UPDATE (") {
        Some((whole, columns)) => (whole, columns.trim_end().trim_end_matches(')')),
        None => (privileges, ""),
    };
    let whole = whole.split(", ").map(|privilege| (privilege.trim().to_owned(), None));
    let columns = columns.split(", ").filter(|column| !column.is_empty());
    let columns = columns.map(|column| ("UPDATE".to_owned(), Some(column.trim().to_owned())));
    whole.chain(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rights_are_those_of_the_grants() {
        let right = |table: &str, column: Option<&str>, privilege: &str| Right {
            table: table.to_owned(),
            column: column.map(str::to_owned),
            privilege: privilege.to_owned(),
        };
        let grants = "/* x */\nGRANT USAGE ON SCHEMA {schema} TO {role};\nGRANT SELECT ON a, b TO {role};\n\
                      GRANT SELECT, UPDATE (x, y)\n    ON c TO {role};\n";
        let read: Vec<_> = rights(grants).collect();
        let expected = [
            right("a", None, "SELECT"),
            right("b", None, "SELECT"),
            right("c", None, "SELECT"),
            right("c", Some("x"), "UPDATE"),
            right("c", Some("y"), "UPDATE"),
        ];
        assert_eq!(read, expected);
        assert!(rights(GRANTS).count() > 30);
        assert!(rights(GRANTS).any(|one| one == right("one_time", Some("fence"), "UPDATE")));
    }
}

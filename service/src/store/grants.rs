use super::{StoreError, get};
use tokio_postgres::Client;

const GRANTS: &str = include_str!("sql/grants.sql");

/// Gives a role the rights that the service needs to run, and no other, unless it is the one that is connected. Doing it
/// again changes nothing.
///
/// # Errors
/// If there is no such role, or the caller may not grant.
pub(super) async fn grant(client: &Client, role: &str) -> Result<(), StoreError> {
    let names = "/* keypool: role */ SELECT quote_ident(current_schema()), quote_ident($1), current_user = $1";
    let row = client.query_one(names, &[&role]).await?;
    if get(&row, 2)? {
        return Ok(());
    }
    let (schema, role): (String, String) = (get(&row, 0)?, get(&row, 1)?);
    let grants = GRANTS.replace("{schema}", &schema).replace("{role}", &role);
    Ok(client.batch_execute(&grants).await?)
}

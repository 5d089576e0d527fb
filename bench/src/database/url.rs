//! A way to connect, as an URL.

use crate::error::Error;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use std::os::unix::ffi::OsStrExt;
use tokio_postgres::{Config, config::Host};

/// The URL of a private PostgreSQL, which has one unix socket.
pub(super) fn of(config: &Config) -> Result<String, Error> {
    let [Host::Unix(socket)] = config.get_hosts() else {
        return Err(Error::Usage("a private PostgreSQL has one unix socket".to_owned()));
    };
    let [user, password, host, name] = [
        config.get_user().unwrap_or_default().as_bytes(),
        config.get_password().unwrap_or_default(),
        socket.as_os_str().as_bytes(),
        config.get_dbname().unwrap_or_default().as_bytes(),
    ]
    .map(|part| percent_encode(part, NON_ALPHANUMERIC));
    Ok(format!("postgresql://{user}:{password}@{host}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_says_what_the_config_says() {
        let mut config = Config::new();
        config.host_path("/a b/c").user("me").password("p@ss/word").dbname("keypool");
        let parsed: Config = of(&config).unwrap().parse().unwrap();
        assert_eq!(parsed.get_hosts(), config.get_hosts());
        assert_eq!(parsed.get_password(), config.get_password());
        assert_eq!(parsed.get_dbname(), config.get_dbname());
    }
}

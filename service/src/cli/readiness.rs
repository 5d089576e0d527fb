//! `keypool ready`: asks the service that runs here, as probes do that can't speak HTTP.

use super::CliError;
use crate::config::Config;
use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the admin address of a configuration.
///
/// # Errors
/// If nobody says there that it is ready.
pub(super) async fn run(config: &Config) -> Result<(), CliError> {
    match ask(config.admin_listen).await? {
        (200, _) => Ok(writeln!(io::stdout(), "ready")?),
        (_, why) => Err(CliError::NotReady(why.trim().to_owned())),
    }
}

/// The status and the body of what an admin address answers to `/readyz`.
pub(super) async fn ask(address: SocketAddr) -> io::Result<(u16, String)> {
    let answer = timeout(PATIENCE, get(reachable(address), "/readyz")).await;
    answer.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

/// An address to connect to, of one to listen on.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// The status and the body of what an address answers.
async fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_reached_on_loopback() {
        let reached = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:9090"), "127.0.0.1:9090");
        assert_eq!(reached("[::]:9090"), "[::1]:9090");
        assert_eq!(reached("10.0.0.1:9090"), "10.0.0.1:9090");
    }
}

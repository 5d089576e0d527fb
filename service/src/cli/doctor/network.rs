//! The addresses that are served, and the collector of traces.

use super::finding::Findings;
use crate::{cli::readiness::ask, config::Config};
use http::Uri;
use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// How long somebody may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn examine(config: &Config, findings: &mut Findings) {
    address("listen", config.listen, findings).await;
    if address("admin_listen", config.admin_listen, findings).await {
        readiness(config.admin_listen, findings).await;
    }
    if let Some(endpoint) = &config.telemetry.otlp_endpoint {
        collector(endpoint, findings).await;
    }
}

/// Whether somebody serves an address already.
async fn address(setting: &'static str, address: SocketAddr, findings: &mut Findings) -> bool {
    match TcpListener::bind(address).await {
        Ok(_free) => {
            findings.ok(setting, format!("{address} is free"));
            false
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            findings.ok(setting, format!("{address} is served already"));
            true
        }
        Err(error) => {
            findings.failed(
                setting,
                format!("{address} can't be served: {error}"),
                "choose an address of this machine, and a port above 1023",
            );
            false
        }
    }
}

/// What whoever serves the admin address says.
async fn readiness(address: SocketAddr, findings: &mut Findings) {
    match ask(address).await {
        Ok((200, _)) => findings.ok("readiness", "the keypool that runs here is ready"),
        Ok((503, why)) => findings.failed(
            "readiness",
            format!("the keypool that runs here is not ready: {}", why.trim()),
            "see what else failed, and its log",
        ),
        Ok((status, _)) => findings.warning(
            "readiness",
            format!("what serves {address} answers /readyz with {status}"),
            "is something else running there? Choose another admin_listen",
        ),
        Err(error) => findings.warning(
            "readiness",
            format!("what serves {address} does not answer /readyz: {error}"),
            "is something else running there? Choose another admin_listen",
        ),
    }
}

async fn collector(endpoint: &str, findings: &mut Findings) {
    let advice = "check telemetry.otlp_endpoint, and that the collector takes OTLP by gRPC; without it traces are lost, and \
                  nothing else";
    let uri: Option<Uri> = endpoint.parse().ok();
    let Some((uri, host)) = uri.as_ref().and_then(|uri| Some((uri, uri.host()?))) else {
        return findings.failed("traces", format!("{endpoint} names no host"), advice);
    };
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let connect = TcpStream::connect((host.trim_matches(['[', ']']), port));
    match timeout(PATIENCE, connect).await {
        Ok(Ok(_)) => findings.ok("traces", format!("somebody listens at {endpoint}")),
        Ok(Err(error)) => {
            findings.warning("traces", format!("{endpoint} can't be reached: {error}"), advice);
        }
        Err(_elapsed) => findings.warning("traces", format!("{endpoint} does not answer"), advice),
    }
}

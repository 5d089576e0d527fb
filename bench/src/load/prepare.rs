//! Packages for the users, before anything is measured.

use crate::{cli::LoadOptions, error::Error, subject::make_uploads};
use keypool_client::{Client, UploadOutcome};
use keypool_proto::v1::UploadKeyPackagesRequest;
use std::collections::VecDeque;
use tokio::task::JoinSet;

/// Users whose packages are made at once.
const USERS_AT_ONCE: u32 = 250;

/// Uploads in flight.
const IN_FLIGHT: usize = 16;

/// Makes and uploads packages of every user.
pub(super) async fn fill(
    options: &LoadOptions,
    prefix: &str,
    clients: &[Client],
) -> Result<(), Error> {
    if options.prepare == 0 {
        return Ok(());
    }
    let mut first = 1;
    while first <= options.users {
        let last = options.users.min(first + USERS_AT_ONCE - 1);
        let uploads = make_uploads(prefix, first..=last, options.prepare as usize).await?;
        upload_all(uploads.into(), clients).await?;
        eprintln!("{last} of {} users have packages", options.users);
        first = last + 1;
    }
    Ok(())
}

/// Uploads, several at once.
async fn upload_all(
    mut uploads: VecDeque<UploadKeyPackagesRequest>,
    clients: &[Client],
) -> Result<(), Error> {
    let mut running = JoinSet::new();
    while !uploads.is_empty() || !running.is_empty() {
        while running.len() < IN_FLIGHT
            && let Some(next) = uploads.pop_front()
        {
            let client = clients[uploads.len() % clients.len()].clone();
            running.spawn(upload(client, next));
        }
        if let Some(uploaded) = running.join_next().await {
            uploaded??;
        }
    }
    Ok(())
}

/// Uploads the packages of one user. Those of a full pool are not needed.
async fn upload(client: Client, upload: UploadKeyPackagesRequest) -> Result<(), Error> {
    let uploaded = client
        .upload(upload.user_id, upload.device_id, upload.key_packages)
        .await
        .map_err(Error::Prepare)?;
    for result in uploaded.results {
        if let UploadOutcome::Rejected { reason, message } = result.outcome
            && reason != keypool_client::RejectionReason::PoolFull
        {
            return Err(Error::Usage(format!(
                "the service rejects this tool's packages: {message}"
            )));
        }
    }
    Ok(())
}

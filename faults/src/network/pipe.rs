//! What moves bytes between two ends, or does not.

use super::link::Conditions;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    sync::watch,
    time::sleep,
};

/// How many bytes are moved at once.
const PIECE: usize = 16 * 1024;

/// Moves bytes both ways until an end closes, or the connection is cut.
pub(super) async fn join<A, B>(caller: A, answerer: B, conditions: watch::Receiver<Conditions>)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let age = conditions.borrow().age;
    let (from_caller, to_caller) = split(caller);
    let (from_answerer, to_answerer) = split(answerer);
    let mut cut = conditions.clone();
    tokio::select! {
        () = carry(from_caller, to_answerer, conditions.clone(), age, false) => {}
        () = carry(from_answerer, to_caller, conditions, age, true) => {}
        _ = cut.wait_for(|conditions| conditions.age > age) => {}
    }
}

/// Moves bytes one way, for as long as the connection is of this age.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut conditions: watch::Receiver<Conditions>,
    age: u64,
    is_reply: bool,
) {
    let mut piece = vec![0; PIECE];
    loop {
        let Ok(length @ 1..) = from.read(&mut piece).await else { return };
        if conditions.wait_for(|conditions| !conditions.black_hole).await.is_err() {
            return;
        }
        let now = *conditions.borrow();
        // What was swallowed is gone.
        if now.age > age {
            return;
        }
        if is_reply && now.loses_replies {
            continue;
        }
        if !now.delay.is_zero() {
            sleep(now.delay).await;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

//! How long a connection may stay without anything happening on it.

use super::{long_streams::LONGEST_GRACE, registry::Standing, unsent::Unsent};
use crate::config::LimitsConfig;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// The length of HTTP/2's connection preface (RFC 9113). No request of HTTP/1.1 is shorter.
const PREFACE: usize = 24;

/// The limits in time of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// From its beginning until it has sent the preface, and before that shaken hands.
    pub(super) handshake: Duration,
    /// Without a byte in either direction.
    pub(super) idle: Duration,
    /// Without a call, if nobody has proven who calls.
    pub(super) stranger: Duration,
    /// With something to send that the peer does not take.
    pub(super) write: Duration,
    /// In all: what is older has been asked to end, and its last calls have had all of their time.
    pub(super) life: Option<Duration>,
}

impl From<&LimitsConfig> for Limits {
    fn from(config: &LimitsConfig) -> Self {
        Self {
            handshake: config.handshake_timeout.unsigned_abs(),
            idle: config.idle_timeout.unsigned_abs(),
            stranger: config.stranger_timeout.unsigned_abs(),
            write: config.write_timeout.unsigned_abs(),
            life: config.oldest_connection().map(|age| {
                let calls = config.call_timeout + config.write_timeout;
                age + calls.unsigned_abs() + LONGEST_GRACE
            }),
        }
    }
}

impl Limits {
    fn between_looks(&self) -> Duration {
        self.write.min(self.stranger) / 4
    }
}

/// Watches what is read and written, and ends a connection that is silent, stuck, too old or to make room with
/// [`io::ErrorKind::TimedOut`].
pub(super) struct Patience {
    limits: Limits,
    /// How much of the preface came.
    received: usize,
    progress: Instant,
    silence: Pin<Box<Sleep>>,
    stuck: Option<Pin<Box<Sleep>>>,
    end: Option<Pin<Box<Sleep>>>,
    standing: Standing,
    unsent: Unsent,
    /// When the two are looked at again.
    look: Pin<Box<Sleep>>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Patience {
    /// With a connection that began then.
    pub(super) fn new(limits: Limits, began: Instant, standing: Standing, unsent: Unsent) -> Self {
        Self {
            ended: Box::pin(standing.ended().cancelled_owned()),
            standing,
            unsent,
            look: Box::pin(sleep(limits.between_looks())),
            limits,
            received: 0,
            progress: began,
            silence: Box::pin(sleep_until(began + limits.handshake)),
            stuck: None,
            end: limits.life.map(|life| Box::pin(sleep_until(began + life))),
        }
    }

    /// Takes notice of a read that gave so many bytes.
    pub(super) fn read<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
        bytes: usize,
    ) -> Poll<io::Result<T>> {
        if self.must_end(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if result.is_ready() {
            self.progress = Instant::now();
            if self.received < PREFACE {
                self.received += bytes;
                if self.received >= PREFACE {
                    self.silence.as_mut().reset(self.progress + self.limits.idle);
                }
            }
            return result;
        }
        while self.silence.as_mut().poll(context).is_ready() {
            let end = self.progress + self.limits.idle;
            if self.received < PREFACE || end <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.silence.as_mut().reset(end);
        }
        Poll::Pending
    }

    /// Whether the connection must end whatever is read.
    fn must_end(&mut self, context: &mut Context<'_>) -> bool {
        let is_old = self.end.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready());
        if is_old || self.ended.as_mut().poll(context).is_ready() {
            return true;
        }
        while self.look.as_mut().poll(context).is_ready() {
            let is_stuck = |oldest: Instant| oldest.elapsed() >= self.limits.write;
            if self.unsent.oldest().is_some_and(is_stuck)
                || self.standing.is_idle_stranger(self.limits.stranger)
            {
                return true;
            }
            self.look.as_mut().reset(Instant::now() + self.limits.between_looks());
        }
        false
    }

    /// Whether the peer does not take what there is to send.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }

    /// Takes notice of a write, a flush or the end.
    pub(super) fn write<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.progress = Instant::now();
            self.stuck = None;
            return result;
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(self.limits.write)));
        stuck.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::registry::Registry, *};
    use std::future::poll_fn;
    use tonic::codegen::Bytes;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(3600);

    fn watching(limits: Limits) -> Patience {
        let place = Registry::new(1).admit([127, 0, 0, 1].into()).unwrap();
        Patience::new(limits, Instant::now(), place.standing().clone(), Unsent::default())
    }

    /// Reads nothing until that is an error.
    async fn silence(patience: &mut Patience) -> io::ErrorKind {
        let read = poll_fn(|context| patience.read::<()>(context, Poll::Pending, 0));
        read.await.unwrap_err().kind()
    }

    async fn read(patience: &mut Patience, bytes: usize) {
        poll_fn(|context| patience.read(context, Poll::Ready(Ok(())), bytes)).await.unwrap();
    }

    #[tokio::test]
    async fn silence_at_the_beginning_ends_early_and_later_silence_late() {
        let early =
            Limits { handshake: SHORT, idle: LONG, stranger: LONG, write: LONG, life: None };
        let mut patience = watching(early);
        read(&mut patience, PREFACE - 1).await;
        assert_eq!(silence(&mut patience).await, io::ErrorKind::TimedOut);

        let late = Limits { handshake: LONG, idle: SHORT, stranger: LONG, write: LONG, life: None };
        let mut patience = watching(late);
        read(&mut patience, PREFACE).await;
        let read_last = Instant::now();
        assert_eq!(silence(&mut patience).await, io::ErrorKind::TimedOut);
        assert!(read_last.elapsed() >= SHORT);
    }

    #[tokio::test]
    async fn what_is_written_is_no_silence() {
        let idle = Duration::from_millis(200);
        let limits = Limits { handshake: LONG, idle, stranger: LONG, write: LONG, life: None };
        let mut patience = watching(limits);
        read(&mut patience, PREFACE).await;
        let began = Instant::now();
        while began.elapsed() < 2 * idle {
            tokio::task::yield_now().await;
            poll_fn(|context| patience.write(context, Poll::Ready(Ok(())))).await.unwrap();
            let pending = poll_fn(|context| {
                Poll::Ready(patience.read::<()>(context, Poll::Pending, 0).is_pending())
            });
            assert!(pending.await);
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_too_old_ends_whatever_happens_on_it() {
        let limits =
            Limits { handshake: LONG, idle: LONG, stranger: LONG, write: LONG, life: Some(SHORT) };
        let mut patience = watching(limits);
        let busy = async {
            loop {
                tokio::task::yield_now().await;
                let read = poll_fn(|context| patience.read(context, Poll::Ready(Ok(())), 1)).await;
                if let Err(error) = read {
                    return error.kind();
                }
            }
        };
        assert_eq!(busy.await, io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up_and_one_that_takes_late_is_not() {
        let limits =
            Limits { handshake: LONG, idle: LONG, stranger: LONG, write: SHORT, life: None };
        let mut patience = watching(limits);
        let stuck = poll_fn(|context| patience.write::<()>(context, Poll::Pending));
        assert_eq!(stuck.await.unwrap_err().kind(), io::ErrorKind::TimedOut);

        let mut patience = watching(limits);
        let mut first = true;
        let late = poll_fn(|context| {
            let result =
                if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(Ok(())) };
            context.waker().wake_by_ref();
            patience.write(context, result)
        });
        late.await.unwrap();
        assert!(!patience.is_stuck());
    }

    #[tokio::test]
    async fn what_the_peer_leaves_with_http2_is_given_up_with_its_connection() {
        let limits =
            Limits { handshake: LONG, idle: LONG, stranger: LONG, write: SHORT, life: None };
        let mut patience = watching(limits);
        let answer = patience.unsent.track(Bytes::from_static(b"answer"), ());
        assert_eq!(silence(&mut patience).await, io::ErrorKind::TimedOut);
        drop(answer);
    }

    #[tokio::test]
    async fn a_stranger_that_calls_nothing_and_one_that_makes_room_are_given_up() {
        let limits =
            Limits { handshake: LONG, idle: LONG, stranger: SHORT, write: LONG, life: None };
        assert_eq!(silence(&mut watching(limits)).await, io::ErrorKind::TimedOut);

        let limits = Limits { stranger: LONG, ..limits };
        let mut patience = watching(limits);
        patience.standing.ended().cancel();
        assert_eq!(silence(&mut patience).await, io::ErrorKind::TimedOut);
    }
}

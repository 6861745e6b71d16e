//! Lines: one client's connection each. Its session reads, and several write: never into the middle of a frame, and
//! whoever cannot go on leaves the rest to the session.

use std::{
    io::{self, Read},
    net::Shutdown,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::{self, Sleep, sleep},
};
use tracing::debug;

use crate::{live::Shown, protocol::close, server::Held, telemetry::Metrics};

/// A client that takes in nothing for so long is given up.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// What the kernel may hold of frames that are old before they are read; it takes twice as much for its own book-keeping.
const SEND_BUFFER_BYTES: usize = 16 * 1024;

/// Asks whether somebody is there.
const PING: Bytes = Bytes::from_static(&[0x89, 0]);

/// Why a session ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The client cannot be reached.
    Gone,
    /// The client says goodbye.
    Left,
    /// We close it, saying why.
    Close(u16, &'static str),
}

/// One client's connection.
pub(crate) struct Line {
    stream: Stream,
    out: Mutex<Out>,
}

/// What carries the bytes.
enum Stream {
    /// Anybody may write.
    Tcp(Held),
    /// Only the session does: one task can wait for it.
    Other(Mutex<Pin<Box<dyn Duplex>>>),
}

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// What a line still has to say.
struct Out {
    /// Of the frame that is being written.
    rest: Bytes,
    /// When it was shown first, if it is a room's.
    rest_at: Option<Instant>,
    /// The session has something to write: nobody else may until it has done.
    is_behind: bool,
    /// The newest frame is asked for, whether it was shown or not.
    owes_newest: bool,
    owes_ping: bool,
    /// The number of the newest frame that is written, or being written.
    shown: Option<u64>,
    /// That frame ends the room.
    is_last: bool,
    /// Nothing follows but our goodbye.
    is_closing: bool,
    /// Somebody else has decided it.
    end: Option<End>,
    /// Wakes the session.
    waker: Option<Waker>,
    heard_at: time::Instant,
}

/// Runs while a client takes in nothing.
pub(crate) type Stall = Option<Pin<Box<Sleep>>>;

/// What a session writes of its own, what its room shows, and how long it has been stuck.
pub(crate) struct Writing<'a> {
    pub(crate) own: &'a mut Bytes,
    pub(crate) frames: Option<&'a watch::Receiver<Shown>>,
    pub(crate) metrics: &'a Metrics,
    pub(crate) stall: &'a mut Stall,
}

impl Line {
    pub(crate) fn over_tcp(held: Held) -> Line {
        if let Err(error) = SockRef::from(held.stream()).set_send_buffer_size(SEND_BUFFER_BYTES) {
            debug!(%error, "a connection's buffer could not be set");
        }
        Line::new(Stream::Tcp(held))
    }

    /// Over anything else that carries bytes both ways.
    pub(crate) fn over(duplex: impl Duplex + 'static) -> Line {
        Line::new(Stream::Other(Mutex::new(Box::pin(duplex))))
    }

    fn new(stream: Stream) -> Line {
        let out = Out {
            rest: Bytes::new(),
            rest_at: None,
            is_behind: false,
            owes_newest: false,
            owes_ping: false,
            shown: None,
            is_last: false,
            is_closing: false,
            end: None,
            waker: None,
            heard_at: time::Instant::now(),
        };
        Line { stream, out: Mutex::new(out) }
    }

    /// Writes a room's frame, if the line takes it at once; otherwise its session writes what is newest then. Answers
    /// whether it is written.
    pub(crate) fn show(&self, shown: &Shown, metrics: &Metrics) -> bool {
        let mut out = self.out();
        let is_known = out.shown.is_some_and(|number| number >= shown.number);
        if out.is_behind || out.is_closing || is_known {
            return false;
        }
        match self.stream.try_write(&shown.wire) {
            Ok(written) => {
                out.begin_frame(shown, metrics);
                let is_written = written == shown.wire.len();
                if is_written {
                    out.rest_at = None;
                } else {
                    out.rest = shown.wire.slice(written..);
                    out.is_behind = true;
                }
                if !is_written || out.is_last {
                    out.wake();
                }
                is_written
            }
            Err(error) => {
                out.is_behind = true;
                out.refused(&error);
                false
            }
        }
    }

    /// Asks whether the client lives, as soon as the line takes it.
    pub(crate) fn ping(&self) {
        let mut out = self.out();
        if out.is_behind || out.is_closing {
            out.owes_ping = true;
            return;
        }
        match self.stream.try_write(&PING) {
            Ok(written) if written == PING.len() => {}
            Ok(written) => {
                out.rest = PING.slice(written..);
                out.is_behind = true;
                out.wake();
            }
            Err(error) => {
                (out.owes_ping, out.is_behind) = (true, true);
                out.refused(&error);
            }
        }
    }

    /// Has the session end.
    pub(crate) fn end(&self, end: End) {
        let mut out = self.out();
        out.end.get_or_insert(end);
        out.wake();
    }

    /// The client has said something.
    pub(crate) fn heard(&self) {
        self.out().heard_at = time::Instant::now();
    }

    pub(crate) fn silent_for(&self) -> Duration {
        self.out().heard_at.elapsed()
    }

    /// The room's newest frame will be written, whether it was shown or not.
    pub(crate) fn owe_newest(&self) {
        let mut out = self.out();
        out.owes_newest = true;
        out.is_behind = true;
    }

    /// There may be a newer frame than was shown.
    pub(crate) fn fall_behind(&self) {
        self.out().is_behind = true;
    }

    /// From now on the room's frames are not written any more.
    pub(crate) fn begin_close(&self) {
        self.out().is_closing = true;
    }

    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        match &self.stream {
            Stream::Tcp(held) => loop {
                ready!(held.stream().poll_read_ready(cx))?;
                match try_read(held.stream(), into) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return Poll::Ready(read),
                }
            },
            Stream::Other(duplex) => {
                let mut buffer = ReadBuf::new(into);
                ready!(locked(duplex).as_mut().poll_read(cx, &mut buffer))?;
                Poll::Ready(Ok(buffer.filled().len()))
            }
        }
    }

    /// Goes on with what is still to be written. Ready once the session has to end.
    pub(crate) fn poll_end(&self, cx: &mut Context<'_>, writing: Writing<'_>) -> Poll<End> {
        let mut out = self.out();
        if out.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            out.waker = Some(cx.waker().clone());
        }
        if !out.is_closing
            && let Some(end) = out.end.take()
        {
            return Poll::Ready(end);
        }
        if out.is_behind
            && let Poll::Ready(Err(end)) = self.poll_flush(&mut out, cx, writing)
        {
            return Poll::Ready(end);
        }
        if out.is_last && !out.is_behind && !out.is_closing {
            return Poll::Ready(End::Close(close::ROOM_CLOSED, "the room is closed"));
        }
        Poll::Pending
    }

    /// Ready when everything is written: what was there already, and then the session's own.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>, writing: Writing<'_>) -> Poll<Result<(), End>> {
        self.poll_flush(&mut self.out(), cx, writing)
    }

    /// Nothing is written any more, and the client sees that; what it writes can be read on.
    pub(crate) fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        let hung_up = match &self.stream {
            Stream::Tcp(held) => SockRef::from(held.stream()).shutdown(Shutdown::Write),
            Stream::Other(duplex) => ready!(locked(duplex).as_mut().poll_shutdown(cx)),
        };
        if let Err(error) = hung_up {
            debug!(%error, "a connection had ended already");
        }
        Poll::Ready(())
    }

    fn poll_flush(&self, out: &mut Out, cx: &mut Context<'_>, writing: Writing<'_>) -> Poll<Result<(), End>> {
        let Writing { own, frames, metrics, stall } = writing;
        out.is_behind = true;
        let written = loop {
            if !out.rest.is_empty() {
                match self.stream.poll_write(cx, &out.rest) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(End::Gone)),
                    Poll::Ready(Ok(bytes)) => {
                        out.rest.advance(bytes);
                        *stall = None;
                    }
                    Poll::Pending => break Poll::Pending,
                }
                continue;
            }
            out.end_frame(metrics);
            if !own.is_empty() {
                out.rest = std::mem::take(own);
                // A newcomer's welcome and the room's state are one packet.
                if out.shown.is_none()
                    && let Some(newest) = frames.and_then(|frames| out.missing(frames))
                {
                    out.begin_frame(&newest, metrics);
                    out.rest = [&out.rest[..], &newest.wire].concat().into();
                }
            } else if std::mem::take(&mut out.owes_ping) && !out.is_closing {
                out.rest = PING;
            } else if let Some(newest) = frames.and_then(|frames| out.missing(frames)) {
                out.begin_frame(&newest, metrics);
                out.rest = newest.wire;
            } else {
                break self.stream.poll_flush(cx);
            }
        };
        match written {
            Poll::Ready(Ok(())) => {
                // What is published from here on is shown by whoever shows it: it was looked for under this lock.
                out.is_behind = false;
                *stall = None;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(End::Gone)),
            Poll::Pending => {
                let stall = stall.get_or_insert_with(|| Box::pin(sleep(WRITE_DEADLINE)));
                stall.as_mut().poll(cx).map(|()| Err(End::Gone))
            }
        }
    }

    /// The number of the newest frame that is written, or being written.
    #[cfg(test)]
    pub(crate) fn shown(&self) -> Option<u64> {
        self.out().shown
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        locked(&self.out)
    }
}

impl Stream {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(held) => held.stream().try_write(bytes),
            Stream::Other(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(held) => loop {
                match held.stream().try_write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready!(held.stream().poll_write_ready(cx))?;
                    }
                    written => return Poll::Ready(written),
                }
            },
            Stream::Other(duplex) => locked(duplex).as_mut().poll_write(cx, bytes),
        }
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(_) => Poll::Ready(Ok(())),
            Stream::Other(duplex) => locked(duplex).as_mut().poll_flush(cx),
        }
    }
}

impl Out {
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// A line took nothing: its session goes on, or ends.
    fn refused(&mut self, error: &io::Error) {
        if error.kind() != io::ErrorKind::WouldBlock {
            self.end.get_or_insert(End::Gone);
        }
        self.wake();
    }

    /// The newest frame, if it has to be written.
    fn missing(&self, frames: &watch::Receiver<Shown>) -> Option<Shown> {
        let newest = frames.borrow();
        let is_missing = self.owes_newest || self.shown.is_none_or(|shown| newest.number > shown);
        (is_missing && !self.is_closing).then(|| newest.clone())
    }

    /// Of a room's frame at least a part is written; those between the last one and this are skipped.
    fn begin_frame(&mut self, Shown { frame, number, at, .. }: &Shown, metrics: &Metrics) {
        self.owes_newest = false;
        self.is_last = frame.is_last;
        // The first frame of a newcomer is no delay, nor is one that is asked for again: it may have been there for hours.
        if let Some(last) = self.shown.replace(*number)
            && *number > last
        {
            metrics.frames_skipped.inc_by(number - last - 1);
            self.rest_at = Some(*at);
        }
    }

    /// Nothing is left of the frame that was being written.
    fn end_frame(&mut self, metrics: &Metrics) {
        self.rest = Bytes::new();
        if let Some(at) = self.rest_at.take() {
            metrics.written_after(at.elapsed());
        }
    }
}

/// Reads what is there. Less than there is room for was all of it: nobody looks again until there is more.
fn try_read(stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    let mut read = None;
    let looked = stream.try_io(Interest::READABLE, || {
        let bytes = (&*SockRef::from(stream)).read(into)?;
        read = Some(bytes);
        // Where readiness comes in edges, that is.
        if cfg!(target_os = "linux") && 0 < bytes && bytes < into.len() {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(())
        }
    });
    match read {
        Some(bytes) => Ok(bytes),
        None => looked.map(|()| 0),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

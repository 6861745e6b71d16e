//! The WebSocket protocol of one connection.
//!
//! Read and written by tungstenite without a socket of its own: axum keeps it up and uses it, it holds 350 bytes for a
//! client who rests, and what this host ever says about framing is the library's.

use std::{
    io::{self, Read, Write},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tungstenite::{
    Error, Message,
    error::ProtocolError,
    protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext, frame::coding::CloseCode},
};

use crate::{
    line::{End, Line},
    protocol::close,
};

/// Read at once, into a place that is nobody's: a client who rests keeps no buffer.
const SCRATCH_BYTES: usize = 1024;

pub(super) struct Reader {
    context: WebSocketContext,
    buffers: Buffers,
    /// Something could not be read: where a frame begins from there on nobody knows.
    has_failed: bool,
}

/// What is between the library and a line.
#[derive(Default)]
struct Buffers {
    /// Read, and not asked for yet.
    ahead: Bytes,
    /// To be written.
    out: Vec<u8>,
}

impl Reader {
    /// `first` was read before the WebSocket began.
    pub(super) fn new(first: Vec<u8>, message_bytes: usize) -> Reader {
        let config = WebSocketConfig::default()
            // It grows to the longest message there was, and no further.
            .read_buffer_size(0)
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes))
            .max_frame_size(Some(message_bytes));
        let context = WebSocketContext::new(Role::Server, Some(config));
        Reader { context, buffers: Buffers { ahead: first.into(), out: Vec::new() }, has_failed: false }
    }

    /// The next message. After one that is answered by itself, [`Reader::replies`] has the answer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, line: &Line) -> Poll<Result<Message, End>> {
        if self.has_failed {
            return discard(cx, line).map(Err);
        }
        match self.context.read(&mut Pipe { buffers: &mut self.buffers, source: Some((line, cx)) }) {
            Ok(message) => Poll::Ready(Ok(message)),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => {
                self.has_failed = true;
                Poll::Ready(Err(unreadable(&error)))
            }
        }
    }

    /// Nothing more can be read: what comes is dropped until the client hangs up.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    pub(super) fn frame(&mut self, message: Message) -> Bytes {
        let _ = self.context.write(&mut Pipe { buffers: &mut self.buffers, source: None }, message);
        self.take()
    }

    /// The answer to a ping, or to a goodbye.
    pub(super) fn replies(&mut self) -> Bytes {
        let _ = self.context.flush(&mut Pipe { buffers: &mut self.buffers, source: None });
        self.take()
    }

    pub(super) fn close(&mut self, code: u16, reason: &'static str) -> Bytes {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        let _ = self.context.close(&mut Pipe { buffers: &mut self.buffers, source: None }, Some(frame));
        self.take()
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.buffers.out).into()
    }
}

/// A socket to the library: it reads from a line, and what it writes is kept.
struct Pipe<'a, 'b, 'c> {
    buffers: &'a mut Buffers,
    source: Option<(&'a Line, &'b mut Context<'c>)>,
}

impl Read for Pipe<'_, '_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let ahead = &mut self.buffers.ahead;
        if !ahead.is_empty() {
            let taken = ahead.len().min(into.len());
            into[..taken].copy_from_slice(&ahead[..taken]);
            *ahead = if taken == ahead.len() { Bytes::new() } else { ahead.slice(taken..) };
            return Ok(taken);
        }
        let Some((line, cx)) = &mut self.source else { return Err(io::ErrorKind::WouldBlock.into()) };
        let mut scratch = [0; SCRATCH_BYTES];
        let Poll::Ready(read) = line.poll_read(cx, &mut scratch) else { return Err(io::ErrorKind::WouldBlock.into()) };
        let read = &scratch[..read?];
        let taken = read.len().min(into.len());
        into[..taken].copy_from_slice(&read[..taken]);
        if taken < read.len() {
            *ahead = Bytes::copy_from_slice(&read[taken..]);
        }
        Ok(taken)
    }
}

impl Write for Pipe<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffers.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes what comes, until nothing does: a connection that ends with something unread is reset, and what was written to
/// it may never be seen.
fn discard(cx: &mut Context<'_>, line: &Line) -> Poll<End> {
    let mut scratch = [0; SCRATCH_BYTES];
    while ready!(line.poll_read(cx, &mut scratch)).is_ok_and(|bytes| bytes > 0) {}
    Poll::Ready(End::Gone)
}

/// A frame that cannot be read ends the socket, with the reason where the peer can hear it.
fn unreadable(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Close(close::TOO_BIG, "the message is too big"),
        Error::Utf8(_) => End::Close(CloseCode::Invalid.into(), "a text message must be UTF-8"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        Error::Protocol(_) => End::Close(CloseCode::Protocol.into(), "not the WebSocket protocol"),
        _ => End::Gone,
    }
}

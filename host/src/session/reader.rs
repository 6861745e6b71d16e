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
struct Buffers {
    /// Read, and not asked for yet.
    ahead: Bytes,
    /// To be written.
    out: Vec<u8>,
    /// What the library has taken since it last gave a message.
    taken: usize,
    /// As much one message may be, with the heads of its frames: the library counts no frame that is empty.
    most: usize,
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
        let buffers = Buffers {
            ahead: first.into(),
            out: Vec::new(),
            taken: 0,
            most: message_bytes.saturating_mul(2).max(SCRATCH_BYTES),
        };
        Reader { context, buffers, has_failed: false }
    }

    /// The next message. After one that is answered by itself, [`Reader::replies`] has the answer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, line: &Line) -> Poll<Result<Message, End>> {
        if self.has_failed {
            return discard(cx, line).map(Err);
        }
        match self.context.read(&mut Pipe { buffers: &mut self.buffers, source: Some((line, cx)) }) {
            Ok(message) => {
                self.buffers.taken = 0;
                Poll::Ready(Ok(message))
            }
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
        if self.buffers.taken > self.buffers.most {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let taken = self.take_some(into)?;
        self.buffers.taken += taken;
        Ok(taken)
    }
}

impl Pipe<'_, '_, '_> {
    fn take_some(&mut self, into: &mut [u8]) -> io::Result<usize> {
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
        Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            End::Close(close::TOO_BIG, "the message is in too many pieces")
        }
        Error::Utf8(_) => End::Close(CloseCode::Invalid.into(), "a text message must be UTF-8"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        Error::Protocol(_) => End::Close(CloseCode::Protocol.into(), "not the WebSocket protocol"),
        _ => End::Gone,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, io::Cursor, pin::Pin, task::Waker};

    use proptest::{collection::vec, prelude::*};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };

    use super::*;

    /// A connection that brings its bytes in pieces, with a pause before each.
    struct Pieces {
        left: VecDeque<Bytes>,
        has_paused: bool,
    }

    impl Pieces {
        /// As long as those lengths, over and over.
        fn of(mut wire: Bytes, lengths: &[usize]) -> Pieces {
            let mut lengths = lengths.iter().cycle();
            let mut left = VecDeque::new();
            while !wire.is_empty() {
                let length = *lengths.next().expect("one at least");
                left.push_back(wire.split_to(length.min(wire.len())));
            }
            Pieces { left, has_paused: false }
        }
    }

    impl AsyncRead for Pieces {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.has_paused = !self.has_paused;
            if self.has_paused {
                return Poll::Pending;
            }
            if let Some(mut piece) = self.left.pop_front() {
                into.put_slice(&piece.split_to(piece.len().min(into.remaining())));
                if !piece.is_empty() {
                    self.left.push_front(piece);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Pieces {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn message() -> impl Strategy<Value = Message> {
        let length = prop_oneof![6 => 0..200_usize, 2 => 900..1200_usize, 1 => 65_000..70_000_usize];
        let text = (vec(any::<char>(), 1..8), length.clone())
            .prop_map(|(letters, length)| Message::text(letters.into_iter().cycle().take(length).collect::<String>()));
        let binary = (any::<u8>(), length).prop_map(|(first, length)| {
            Message::binary((0..length).map(|at| first.wrapping_add(at as u8)).collect::<Vec<_>>())
        });
        prop_oneof![4 => text, 2 => binary, 1 => control().prop_map(Message::Ping), 1 => control().prop_map(Message::Pong)]
    }

    fn control() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..=125).prop_map(Bytes::from)
    }

    /// What tungstenite's client writes, a message in that many frames and a ping in front of each but the first; and
    /// what is to be heard.
    fn written(said: &[(Message, usize)]) -> (Bytes, Vec<Message>) {
        let mut client = WebSocketContext::new(Role::Client, None);
        let mut wire = Cursor::new(Vec::new());
        let mut heard = Vec::new();
        for (message, frames) in said {
            let kind = match message {
                Message::Text(_) => Data::Text,
                Message::Binary(_) => Data::Binary,
                _ => {
                    client.write(&mut wire, message.clone()).expect("written");
                    heard.push(message.clone());
                    continue;
                }
            };
            let payload = message.clone().into_data();
            let length = payload.len().div_ceil(*frames).max(1);
            for (at, start) in (0..payload.len().max(1)).step_by(length).enumerate() {
                let end = (start + length).min(payload.len());
                if at > 0 {
                    let ping = Message::Ping(Bytes::copy_from_slice(&at.to_be_bytes()));
                    client.write(&mut wire, ping.clone()).expect("written");
                    heard.push(ping);
                }
                let kind = OpCode::Data(if at == 0 { kind } else { Data::Continue });
                let frame = Frame::message(payload.slice(start..end), kind, end == payload.len());
                client.write(&mut wire, Message::Frame(frame)).expect("written");
            }
            heard.push(message.clone());
        }
        client.flush(&mut wire).expect("written");
        (wire.into_inner().into(), heard)
    }

    /// What comes of a text in so many frames, and of empty frames that come after the first.
    fn in_pieces(text: &str, frames: usize, empty: usize) -> Poll<Result<Message, End>> {
        let mut client = WebSocketContext::new(Role::Client, None);
        let mut wire = Cursor::new(Vec::new());
        let pieces: Vec<_> = text.as_bytes().chunks(text.len().div_ceil(frames)).collect();
        for (at, piece) in pieces.iter().enumerate() {
            let kind = OpCode::Data(if at == 0 { Data::Text } else { Data::Continue });
            let frame = Frame::message(piece.to_vec(), kind, at + 1 == pieces.len());
            client.write(&mut wire, Message::Frame(frame)).expect("written");
            for _ in 0..if at == 0 { empty } else { 0 } {
                let nothing = Frame::message(Vec::new(), OpCode::Data(Data::Continue), false);
                client.write(&mut wire, Message::Frame(nothing)).expect("written");
            }
        }
        client.flush(&mut wire).expect("written");
        let line = Line::over(Pieces::of(wire.into_inner().into(), &[1000]));
        let mut reader = Reader::new(Vec::new(), 4096);
        loop {
            let polled = reader.poll(&mut Context::from_waker(Waker::noop()), &line);
            if polled.is_ready() {
                return polled;
            }
        }
    }

    #[test]
    fn a_message_may_be_in_many_pieces_but_not_go_on_for_ever() {
        let text = "x".repeat(4096);
        for (frames, empty) in [(1, 0), (400, 0), (2, 400)] {
            let heard = in_pieces(&text, frames, empty);
            assert!(
                matches!(&heard, Poll::Ready(Ok(message)) if message.len() == 4096),
                "{frames}, {empty}: {heard:?}"
            );
        }
        let heard = in_pieces(&text, 2, 10_000);
        assert!(matches!(heard, Poll::Ready(Err(End::Close(close::TOO_BIG, _)))), "{heard:?}");
    }

    proptest! {
        #[test]
        fn however_the_bytes_come_the_messages_are_the_same(
            said in vec((message(), 1..5_usize), 1..8),
            lengths in prop_oneof![vec(1..20_usize, 1..20), vec(1..3000_usize, 1..20)],
            first in 0..3000_usize,
        ) {
            let (mut wire, expected) = written(&said);
            let first = wire.split_to(first.min(wire.len()));
            let line = Line::over(Pieces::of(wire, &lengths));
            let mut reader = Reader::new(first.into(), 1024 * 1024);
            let mut cx = Context::from_waker(Waker::noop());
            let mut heard = Vec::new();
            let end = loop {
                match reader.poll(&mut cx, &line) {
                    Poll::Ready(Ok(message)) => {
                        if let Message::Ping(payload) = &message {
                            let pong = [&[0x8a, payload.len() as u8], &payload[..]].concat();
                            prop_assert_eq!(&reader.replies()[..], &pong[..]);
                        }
                        heard.push(message);
                    }
                    Poll::Ready(Err(end)) => break end,
                    Poll::Pending => {}
                }
            };
            prop_assert!(matches!(end, End::Gone), "{:?}", end);
            prop_assert!(heard == expected, "{} messages instead of {}", heard.len(), expected.len());
        }
    }
}

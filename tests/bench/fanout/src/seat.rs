//! One connection of the crowd: from connecting to the newest order.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    str,
};

use memchr::memmem::{self, Finder};
use socket2::{Domain, Socket, Type};

use crate::{
    frames::{CLOSE, PING, PONG, Scanner, TEXT, masked},
    speech::Line,
};

/// What a staller's socket takes before it is full: with a buffer this small next to nothing. Segments are small, too, but
/// an order is one: the kernel at the other end gives a line more room the more segments have come through.
const STALLERS_SEGMENT: u32 = 536;
const STALLERS_BUFFER: usize = 2_304;

pub(crate) struct Seat {
    pub(crate) stream: TcpStream,
    pub(crate) group: usize,
    pub(crate) stage: Stage,
    scanner: Scanner,
    /// How many of the greeting's lines have been said.
    said: usize,
    /// It knows this order, or a newer one.
    pub(crate) newest: u64,
    pub(crate) can_stall: bool,
    pub(crate) is_stalled: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    Connecting,
    /// Its request is sent; this much of the answer is there.
    Upgrading(Vec<u8>),
    Greeting,
    In,
    /// And why.
    Gone(String),
}

/// What a newcomer needs to know.
pub(crate) struct Greeting {
    pub(crate) request: String,
    pub(crate) lines: Vec<Line>,
    pub(crate) welcome: String,
}

/// The order that everyone waits for.
pub(crate) struct Awaited {
    pub(crate) number: u64,
    pub(crate) sign: Finder<'static>,
}

/// What one look at a seat's socket brought.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) has_newest: bool,
}

impl Seat {
    pub(crate) fn connect(from: SocketAddr, to: SocketAddr, group: usize, can_stall: bool) -> io::Result<Seat> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Thousands that leave at once leave no ports behind that are not free yet.
        socket.set_linger(Some(std::time::Duration::ZERO))?;
        socket.set_tcp_nodelay(true)?;
        if can_stall {
            socket.set_tcp_mss(STALLERS_SEGMENT)?;
            socket.set_recv_buffer_size(STALLERS_BUFFER)?;
        }
        socket.bind(&from.into())?;
        socket.set_nonblocking(true)?;
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        Ok(Seat {
            stream: socket.into(),
            group,
            stage: Stage::Connecting,
            scanner: Scanner::default(),
            said: 0,
            newest: 0,
            can_stall,
            is_stalled: false,
        })
    }

    /// Whether it is to be waited for.
    pub(crate) fn listens(&self) -> bool {
        self.stage == Stage::In && !self.is_stalled
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.send(&masked(TEXT, text.as_bytes()));
    }

    /// Messages here are smaller than any socket's buffer.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = (&self.stream).write_all(bytes) {
            self.stage = Stage::Gone(format!("cannot send to the server: {error}"));
        }
    }

    pub(crate) fn is_connected(&mut self, greeting: &Greeting) {
        match self.stream.take_error() {
            Ok(None) => {
                self.stage = Stage::Upgrading(Vec::new());
                self.send(greeting.request.as_bytes());
            }
            Ok(Some(error)) | Err(error) => self.stage = Stage::Gone(format!("cannot connect: {error}")),
        }
    }

    /// Reads what is there, once.
    pub(crate) fn hear(&mut self, buffer: &mut [u8], greeting: &Greeting, awaited: Option<&Awaited>) -> Heard {
        let read = match (&self.stream).read(buffer) {
            Ok(0) => return self.goes("the server hung up"),
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Heard::default();
            }
            Err(error) => return self.goes(&error.to_string()),
        };
        let mut heard = Heard { bytes: read as u64, ..Heard::default() };
        match &mut self.stage {
            Stage::Upgrading(answer) => {
                answer.extend_from_slice(&buffer[..read]);
                let Some(end) = memmem::find(answer, b"\r\n\r\n") else { return heard };
                if !answer.starts_with(b"HTTP/1.1 101") {
                    let line = String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next().unwrap_or_default());
                    let why = format!("the server answered the upgrade with {line}");
                    return self.goes(&why);
                }
                let rest = answer.split_off(end + 4);
                self.stage = Stage::Greeting;
                self.say_next(greeting, b"");
                self.take(&rest, greeting, awaited, &mut heard);
            }
            _ => self.take(&buffer[..read], greeting, awaited, &mut heard),
        }
        heard
    }

    fn take(&mut self, bytes: &[u8], greeting: &Greeting, awaited: Option<&Awaited>, heard: &mut Heard) {
        let mut scanner = std::mem::take(&mut self.scanner);
        scanner.push(bytes, |opcode, payload| match opcode {
            PING => self.send(&masked(PONG, payload)),
            CLOSE => {
                let code = payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                let reason = str::from_utf8(payload.get(2..).unwrap_or_default()).unwrap_or_default();
                self.stage = Stage::Gone(format!("the server closed with {code} {reason}"));
            }
            _ => {
                heard.frames += 1;
                if self.stage == Stage::Greeting {
                    self.say_next(greeting, payload);
                }
                if let Some(awaited) = awaited.filter(|awaited| awaited.number > self.newest)
                    && awaited.sign.find(payload).is_some()
                {
                    self.newest = awaited.number;
                    heard.has_newest = true;
                }
            }
        });
        self.scanner = scanner;
    }

    /// Says what is to be said after that message, and sees whether it is the welcome.
    fn say_next(&mut self, greeting: &Greeting, message: &[u8]) {
        let is_first = message.is_empty();
        let mut has_said = false;
        while let Some(line) = greeting.lines.get(self.said).filter(|line| {
            line.after.is_empty() || (!is_first && !has_said && memmem::find(message, line.after.as_bytes()).is_some())
        }) {
            self.said += 1;
            has_said = true;
            self.say(&line.say);
        }
        let is_all_said = self.said == greeting.lines.len() && !has_said;
        if is_all_said && !is_first && memmem::find(message, greeting.welcome.as_bytes()).is_some() {
            self.stage = Stage::In;
        }
    }

    fn goes(&mut self, why: &str) -> Heard {
        self.stage = Stage::Gone(why.to_owned());
        Heard::default()
    }
}

//! The limit: a server that does nothing but accept, answer the upgrade, and write a prebuilt frame to everyone.

use std::{
    env,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::fd::OwnedFd,
    process::Command,
};

use anyhow::Context;
use memchr::memmem;
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
};
use socket2::{Domain, Socket, Type};
use streamit_test_servers::free_port;

use crate::{
    frames::{CLOSE, Scanner, TEXT, plain},
    process::{Process, open_files},
    server::{Running, Serves},
    speech::{FIRST_ORDER, Speech},
};

/// Nobody checks the accept key.
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const BACKLOG: i32 = 4096;
const LISTENER: u64 = u64::MAX;

pub(crate) struct Bare;

impl Serves for Bare {
    fn name(&self) -> &'static str {
        "bare epoll"
    }

    fn start(&self, bytes: usize) -> anyhow::Result<Running> {
        let port = free_port();
        let mut command = Command::new(env::current_exe()?);
        let process = Process::start(command.args(["bare", &port.to_string(), &bytes.to_string()]))?;
        Running::listening(process, port, Speech::relay(&format!("127.0.0.1:{port}"), "/", bytes))
    }
}

struct Connection {
    stream: TcpStream,
    is_upgraded: bool,
    scanner: Scanner,
}

/// The process itself; it serves until it is killed.
pub(crate) fn serve(port: u16, bytes: usize) -> anyhow::Result<()> {
    open_files(0)?;
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    listener.listen(BACKLOG)?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let (before, after) = Speech::padded(bytes);
    let mut newest = plain(TEXT, format!("{before}{FIRST_ORDER}{after}").as_bytes());
    let mut connections = Vec::new();
    let (mut events, mut buffer) = (Vec::<Event>::with_capacity(256), vec![0; 16_384]);
    loop {
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let id = event.data.u64();
            let index = usize::try_from(id)?;
            if id == LISTENER {
                accept(&listener, &epoll, &mut connections)?;
            } else if let Some(connection) = &mut connections[index] {
                let (is_open, orders) = connection.take(&mut buffer, &newest);
                if !is_open {
                    connections[index] = None;
                }
                for order in orders {
                    newest = order;
                    for slot in &mut connections {
                        // Whoever does not read is thrown out: nothing is kept for anyone here.
                        *slot = slot.take().filter(|connection| (&connection.stream).write_all(&newest).is_ok());
                    }
                }
            }
        }
    }
}

fn accept(listener: &Socket, epoll: &OwnedFd, connections: &mut Vec<Option<Connection>>) -> anyhow::Result<()> {
    loop {
        match listener.accept() {
            Ok((socket, _)) => {
                socket.set_nonblocking(true)?;
                socket.set_tcp_nodelay(true)?;
                let index = connections.len() as u64;
                epoll::add(epoll, &socket, EventData::new_u64(index), EventFlags::IN)?;
                connections.push(Some(Connection {
                    stream: socket.into(),
                    is_upgraded: false,
                    scanner: Scanner::default(),
                }));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("cannot accept"),
        }
    }
}

impl Connection {
    /// Whether it stays open, and the frames for everyone if there were orders.
    fn take(&mut self, buffer: &mut [u8], newest: &[u8]) -> (bool, Vec<Vec<u8>>) {
        let read = match (&self.stream).read(buffer) {
            Ok(0) => return (false, Vec::new()),
            Ok(read) => read,
            Err(error) => return (error.kind() == ErrorKind::WouldBlock, Vec::new()),
        };
        if !self.is_upgraded {
            // The generator sends it in one piece.
            self.is_upgraded = memmem::find(&buffer[..read], b"\r\n\r\n").is_some();
            return (self.is_upgraded && (&self.stream).write_all(UPGRADED).is_ok(), Vec::new());
        }
        let (mut is_open, mut orders) = (true, Vec::new());
        let Connection { stream, scanner, .. } = self;
        scanner.push(&buffer[..read], |opcode, payload| match payload {
            _ if opcode == CLOSE => is_open = false,
            b"hello" => is_open = (&*stream).write_all(newest).is_ok(),
            _ => orders.push(plain(TEXT, payload)),
        });
        (is_open, orders)
    }
}

//! The limit: a server that does nothing but accept, answer the upgrade, and write a prebuilt frame to everyone in a room.

use std::{
    env,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::fd::OwnedFd,
    process::Command,
    str,
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
    server::{HasRooms, Running, Serves},
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

impl HasRooms for Bare {
    fn another_room(&self, first: &Speech, number: usize) -> anyhow::Result<Speech> {
        let at = |(address, _): &(String, String)| (address.clone(), format!("/{number}"));
        Ok(Speech { host_at: at(&first.host_at), viewers_at: at(&first.viewers_at), ..first.clone() })
    }
}

struct Connection {
    stream: TcpStream,
    /// The room that the path of its upgrade named.
    room: Option<usize>,
    scanner: Scanner,
}

/// What a connection's bytes mean to everyone.
#[derive(Default)]
struct Taken {
    has_ended: bool,
    enters: Option<usize>,
    /// The frames for its room.
    orders: Vec<Vec<u8>>,
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
    let (mut connections, mut rooms) = (Vec::new(), Vec::<Vec<usize>>::new());
    let (mut events, mut buffer) = (Vec::<Event>::with_capacity(256), vec![0; 16_384]);
    loop {
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let id = event.data.u64();
            let index = usize::try_from(id)?;
            if id == LISTENER {
                accept(&listener, &epoll, &mut connections)?;
            } else if let Some(connection) = &mut connections[index] {
                let Taken { has_ended, enters, orders } = connection.take(&mut buffer, &newest);
                let room = connection.room.unwrap_or_default();
                if has_ended {
                    connections[index] = None;
                }
                if let Some(room) = enters {
                    rooms.resize(rooms.len().max(room + 1), Vec::new());
                    rooms[room].push(index);
                }
                for order in orders {
                    newest = order;
                    for &member in &rooms[room] {
                        // Whoever does not read is thrown out: nothing is kept for anyone here.
                        let slot = &mut connections[member];
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
                connections.push(Some(Connection { stream: socket.into(), room: None, scanner: Scanner::default() }));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("cannot accept"),
        }
    }
}

impl Connection {
    fn take(&mut self, buffer: &mut [u8], newest: &[u8]) -> Taken {
        let mut taken = Taken::default();
        let read = match (&self.stream).read(buffer) {
            Ok(0) => return Taken { has_ended: true, ..taken },
            Ok(read) => read,
            Err(error) => return Taken { has_ended: error.kind() != ErrorKind::WouldBlock, ..taken },
        };
        if self.room.is_none() {
            // The generator sends it in one piece.
            self.room = room(&buffer[..read]);
            let is_open = self.room.is_some() && (&self.stream).write_all(UPGRADED).is_ok();
            return Taken { has_ended: !is_open, enters: self.room, ..taken };
        }
        let Connection { stream, scanner, .. } = self;
        scanner.push(&buffer[..read], |opcode, payload| match payload {
            _ if opcode == CLOSE => taken.has_ended = true,
            b"hello" => taken.has_ended = (&*stream).write_all(newest).is_err(),
            _ => taken.orders.push(plain(TEXT, payload)),
        });
        taken
    }
}

/// `GET /7 …` asks for room 7, `GET / …` for the first.
fn room(request: &[u8]) -> Option<usize> {
    memmem::find(request, b"\r\n\r\n")?;
    let path = request.strip_prefix(b"GET /")?.split(|byte| *byte == b' ').next()?;
    if path.is_empty() { Some(0) } else { str::from_utf8(path).ok()?.parse().ok() }
}

//! Everyone in the rooms: one thread, one epoll, thousands of sockets. Cheap, so that it is the server that is measured.

mod pace;

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use memchr::memmem::Finder;
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
};
use socket2::SockRef;

use crate::{
    frames::{CLOSE, masked},
    generator::Report,
    seat::{Awaited, Greeting, Seat, Stage},
    speech::{Line, Speech},
};

/// Where those come from whose sockets can be full.
pub(crate) const STALLERS: [u8; 4] = [127, 0, 0, 99];

/// An address has some 28,000 ports, of which not all are free.
const PER_ADDRESS: usize = 8_000;

/// An order that has not arrived after so long is lost.
const PATIENCE: Duration = Duration::from_secs(15);
const JOIN_PATIENCE: Duration = Duration::from_secs(180);

/// A look at the sockets brings so many at most: what has arrived is noted soon.
const AT_ONCE: usize = 64;

pub(crate) struct Crowd {
    epoll: OwnedFd,
    seats: Vec<Seat>,
    groups: Vec<Group>,
    events: Vec<Event>,
    buffer: Vec<u8>,
    frames: u64,
    bytes: u64,
    last_frame: Instant,
}

/// Those in one room. Its first seat is the host's.
struct Group {
    speech: Speech,
    host: Greeting,
    viewer: Greeting,
    first: usize,
    at_the_door: usize,
    awaited: Option<Awaited>,
    sent: Instant,
    arrived_ms: Vec<f64>,
    waiting: usize,
}

impl Crowd {
    pub(crate) fn new() -> anyhow::Result<Crowd> {
        Ok(Crowd {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            seats: Vec::new(),
            groups: Vec::new(),
            events: Vec::with_capacity(AT_ONCE),
            buffer: vec![0; 65_536],
            frames: 0,
            bytes: 0,
            last_frame: Instant::now(),
        })
    }

    /// A host, and then so many viewers at once; the last of them can stall.
    pub(crate) fn join(&mut self, speech: Speech, viewers: usize, stallers: usize) -> anyhow::Result<Report> {
        self.begin();
        self.groups.push(Group {
            host: greeting(&speech.host_at, &speech.host, &speech.welcome),
            viewer: greeting(&speech.viewers_at, &speech.viewer, &speech.welcome),
            speech,
            first: self.seats.len(),
            at_the_door: 0,
            awaited: None,
            sent: Instant::now(),
            arrived_ms: Vec::new(),
            waiting: 0,
        });
        let group = self.groups.len() - 1;
        self.sit_down(group, 1, 0)?;
        self.begin();
        self.sit_down(group, viewers, stallers)
    }

    /// More viewers, at once.
    pub(crate) fn more(&mut self, group: usize, viewers: usize) -> anyhow::Result<Report> {
        self.begin();
        self.sit_down(group, viewers, 0)
    }

    /// The viewers who have been there longest say goodbye, in the group that came last.
    pub(crate) fn leave(&mut self, group: usize, viewers: usize) -> anyhow::Result<Report> {
        self.begin();
        let host = self.groups[group].first;
        let mut leavers = Vec::new();
        let mut index = 0;
        self.seats.retain_mut(|seat| {
            let is_leaving = index != host && seat.group == group && seat.listens() && leavers.len() < viewers;
            index += 1;
            if is_leaving {
                seat.send(&masked(CLOSE, &1000_u16.to_be_bytes()));
                leavers.push(seat.stream.try_clone());
            }
            !is_leaving
        });
        for leaver in leavers {
            SockRef::from(&leaver?).set_linger(None)?;
        }
        for (index, seat) in self.seats.iter().enumerate().filter(|(_, seat)| !seat.is_stalled) {
            epoll::modify(&self.epoll, &seat.stream, EventData::new_u64(index as u64), EventFlags::IN)?;
        }
        Ok(self.report(group))
    }

    /// Waits until nothing has arrived for a while.
    pub(crate) fn settle(&mut self, quiet: Duration) -> anyhow::Result<Report> {
        self.begin();
        self.last_frame = Instant::now();
        while self.last_frame.elapsed() < quiet {
            self.look(quiet)?;
        }
        Ok(self.report(0))
    }

    /// `count` orders by the host of a group, at once: returns when everyone knows the last. An order in another
    /// group goes first, if that is wanted.
    pub(crate) fn order(
        &mut self,
        group: usize,
        number: u64,
        count: u64,
        beside: Option<usize>,
    ) -> anyhow::Result<Report> {
        self.begin();
        for group in beside.into_iter().chain([group]) {
            let seats = self.seats.iter().filter(|seat| seat.group == group && seat.listens());
            let waiting = seats.count();
            self.give(group, number, count, waiting);
        }
        let deadline = Instant::now() + PATIENCE;
        let is_waited_for = |group: &Group| group.waiting > 0;
        while self.groups.iter().any(is_waited_for) && Instant::now() < deadline {
            // Who sleeps must be woken, and that would be on the server's account.
            self.look(Duration::ZERO)?;
        }
        let report = self.report(group);
        for group in &mut self.groups {
            (group.awaited, group.waiting) = (None, 0);
        }
        Ok(report)
    }

    /// Has a group's host give `count` orders at once; so many are waiting for the last.
    fn give(&mut self, group: usize, number: u64, count: u64, waiting: usize) {
        let group = &mut self.groups[group];
        let last = number + count - 1;
        group.awaited = Some(Awaited { number: last, sign: Finder::new(&group.speech.newest(last)).into_owned() });
        group.waiting = waiting;
        group.arrived_ms.clear();
        let orders = (number..=last).map(|number| masked(1, group.speech.order(number).as_bytes()));
        let bytes: Vec<u8> = orders.flatten().collect();
        group.sent = Instant::now();
        self.seats[group.first].send(&bytes);
    }

    /// Those who can stall read nothing more.
    pub(crate) fn stall(&mut self) -> anyhow::Result<Report> {
        self.begin();
        for seat in self.seats.iter_mut().filter(|seat| seat.can_stall && seat.listens()) {
            epoll::delete(&self.epoll, &seat.stream)?;
            seat.is_stalled = true;
        }
        Ok(self.report(0))
    }

    fn sit_down(&mut self, group: usize, count: usize, stallers: usize) -> anyhow::Result<Report> {
        let (first, start) = (self.seats.len(), Instant::now());
        let is_host = first == self.groups[group].first;
        let speech = &self.groups[group].speech;
        let (at, at_once) = (if is_host { &speech.host_at } else { &speech.viewers_at }, speech.at_the_door.max(1));
        let to: SocketAddr = at.0.parse().with_context(|| format!("{} is no address", at.0))?;
        let mut started = 0;
        while started < count || self.groups[group].at_the_door > 0 {
            ensure!(start.elapsed() < JOIN_PATIENCE, "{}", self.still_outside(group));
            while started < count && self.groups[group].at_the_door < at_once {
                let can_stall = started >= count - stallers.min(count);
                let index = self.seats.len();
                let last =
                    u8::try_from(2 + index / PER_ADDRESS).context("too many for the addresses of one machine")?;
                let from = if can_stall { STALLERS } else { [127, 0, 0, last] };
                let seat = Seat::connect((Ipv4Addr::from(from), 0).into(), to, group, can_stall)?;
                let flags = EventFlags::IN | EventFlags::OUT;
                epoll::add(&self.epoll, &seat.stream, EventData::new_u64(index as u64), flags)?;
                self.seats.push(seat);
                self.groups[group].at_the_door += 1;
                started += 1;
            }
            self.look(Duration::from_millis(100))?;
        }
        let mut report = self.report(group);
        report.took_ms = start.elapsed().as_secs_f64() * 1000.0;
        Ok(report)
    }

    fn still_outside(&self, group: usize) -> String {
        let of_group = self.seats.iter().filter(|seat| seat.group == group);
        let inside = of_group.clone().filter(|seat| seat.stage == Stage::In).count();
        format!("of {} who came, only {inside} were in after {} s", of_group.count(), JOIN_PATIENCE.as_secs())
    }

    /// Takes what has arrived, once.
    fn look(&mut self, at_most: Duration) -> anyhow::Result<()> {
        let timeout = Timespec::try_from(at_most)?;
        let mut events = std::mem::take(&mut self.events);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for Event { data, .. } in events.drain(..) {
            let index = usize::try_from(data.u64())?;
            let seat = &mut self.seats[index];
            let group = &mut self.groups[seat.group];
            let greeting = if index == group.first { &group.host } else { &group.viewer };
            let before = (seat.stage == Stage::In, seat.stage == Stage::Connecting, seat.listens());
            if before.1 {
                seat.is_connected(greeting);
                epoll::modify(&self.epoll, &seat.stream, data, EventFlags::IN)?;
            } else {
                let heard = seat.hear(&mut self.buffer, greeting, group.awaited.as_ref());
                self.frames += heard.frames;
                self.bytes += heard.bytes;
                if heard.frames > 0 {
                    self.last_frame = Instant::now();
                }
                if heard.has_newest {
                    let arrived_ms = group.sent.elapsed().as_secs_f64() * 1000.0;
                    // It is asked how it is for viewers, and of those for the others, with and without some who stall.
                    let is_asked = index != group.first && !seat.can_stall;
                    group.arrived_ms.extend(is_asked.then_some(arrived_ms));
                    group.waiting = group.waiting.saturating_sub(1);
                }
            }
            let is_gone = matches!(seat.stage, Stage::Gone(_));
            if !before.0 && (is_gone || seat.stage == Stage::In) {
                group.at_the_door -= 1;
            }
            if is_gone {
                epoll::delete(&self.epoll, &seat.stream)?;
            }
        }
        self.events = events;
        Ok(())
    }

    fn begin(&mut self) {
        (self.frames, self.bytes) = (0, 0);
    }

    fn report(&mut self, group: usize) -> Report {
        let why = self.seats.iter().find_map(|seat| match &seat.stage {
            Stage::Gone(why) if !seat.is_stalled => Some(why.clone()),
            _ => None,
        });
        let Some(group) = self.groups.get_mut(group) else { return Report::default() };
        group.arrived_ms.sort_by(f64::total_cmp);
        let arrived_ms = std::mem::take(&mut group.arrived_ms);
        Report { took_ms: 0.0, frames: self.frames, bytes: self.bytes, missing: group.waiting, why, arrived_ms }
    }
}

fn greeting((host, path): &(String, String), lines: &[Line], welcome: &str) -> Greeting {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    Greeting { request, lines: lines.to_vec(), welcome: welcome.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use streamit_test_servers::free_port;

    use super::*;
    use crate::{bare, speech::FIRST_ORDER};

    pub(super) const BYTES: usize = 300;

    /// Where it is.
    pub(super) fn a_bare_server() -> String {
        let port = free_port();
        thread::spawn(move || bare::serve(port, BYTES));
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::yield_now();
        }
        format!("127.0.0.1:{port}")
    }

    #[test]
    fn everyone_who_is_there_gets_each_order_once_and_is_counted() -> anyhow::Result<()> {
        let mut crowd = Crowd::new()?;
        let joined = crowd.join(Speech::relay(&a_bare_server(), "/", BYTES), 100, 4)?;
        assert_eq!((joined.frames, joined.missing, joined.why), (100, 0, None), "each is welcomed once");

        let order = crowd.order(0, FIRST_ORDER + 1, 1, None)?;
        assert_eq!((order.frames, order.missing), (101, 0), "the host is told, too");
        assert_eq!(order.bytes, 101 * (BYTES as u64 + 4));
        assert_eq!(order.arrived_ms.len(), 96, "the host and those who can stall are not asked");
        let hundred = crowd.order(0, FIRST_ORDER + 2, 100, None)?;
        assert_eq!((hundred.frames, hundred.missing), (101 * 100, 0));

        crowd.stall()?;
        assert_eq!(crowd.order(0, FIRST_ORDER + 200, 1, None)?.frames, 97, "nobody waits for those who stall");
        crowd.leave(0, 50)?;
        crowd.more(0, 10)?;
        let order = crowd.order(0, FIRST_ORDER + 201, 1, None)?;
        assert_eq!((order.frames, order.missing, order.why), (97 - 50 + 10, 0, None));
        Ok(())
    }

    #[test]
    fn whoever_is_thrown_out_is_missed() -> anyhow::Result<()> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        thread::spawn(move || {
            // The host may stay, without ever being welcomed; it is told to go, like everyone.
            for stream in listener.incoming().map_while(Result::ok) {
                use std::io::Write;
                let _ = (&stream).write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
            }
        });
        let joined = Crowd::new()?.join(Speech::relay(&address, "/", 300), 3, 0)?;
        assert_eq!(joined.frames, 0);
        assert!(joined.why.is_some(), "and we know why");
        Ok(())
    }
}

//! One WebSocket: HELLO, who it is, and the loop between a room and a browser.

mod abilities;
#[cfg(test)]
pub(crate) mod echo;
mod members;
mod orders;
mod pulse;
mod reader;
mod wheel;

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;
use tungstenite::{Message, Utf8Bytes};

pub use self::abilities::Abilities;
pub(crate) use self::pulse::BACKLOG;
use self::{
    abilities::unsupported,
    members::Members,
    orders::{Orders, Outcome, Taken},
    pulse::Pulse,
    reader::Reader,
    wheel::Wheel,
};
use crate::{
    config::Limits,
    limit::Bucket,
    line::{End, Line, Stall, Writing},
    live::{JoinError, Live, LiveError, LiveRoom, Member, Seat},
    playback::Order,
    protocol::{BadMessage, ClientMessage, ErrorCode, Hello, MemberId, PROTOCOL, Role, ServerMessage, You, close},
    telemetry::{Closed, Metrics},
};

/// A client is told about this many messages it got wrong; after the next it is cut.
const MAX_BAD_MESSAGES: u32 = 5;

/// How long a closed socket is given to say goodbye, so that our close frame is read and not reset.
const GOODBYE: Duration = Duration::from_secs(2);

/// A node that leaves carries out what it is told for so long after it said so to itself.
const HEARING_OUT: Duration = Duration::from_secs(1);

/// What every session of a node shares.
pub struct Sessions {
    pub live: Live,
    abilities: Abilities,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    /// The node is stopping.
    stop: CancellationToken,
    /// What the node waits for before it ends.
    pub tracker: TaskTracker,
    wheel: Wheel,
    pulse: Arc<Pulse>,
    members: Members,
}

impl Sessions {
    pub fn new(
        live: Live,
        abilities: Abilities,
        limits: Limits,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
        tracker: TaskTracker,
    ) -> Arc<Sessions> {
        let wheel = Wheel::start(&limits, live.cut_off(), stop.clone(), &tracker);
        let pulse = Pulse::start(stop.clone(), &tracker);
        let members = Members::default();
        let sessions = Sessions { live, abilities, limits, metrics, stop, tracker, wheel, pulse, members };
        let sessions = Arc::new(sessions);
        let there = Arc::downgrade(&sessions);
        sessions.live.on_moved(move |room, was| {
            if let Some(sessions) = there.upgrade() {
                sessions.members.replace(was, room);
            }
        });
        sessions
    }

    /// Whether this node was held up until just now: what is read may have been said before that, and given up since.
    pub(crate) fn may_read_old(&self) -> bool {
        self.pulse.has_just_gone_on()
    }

    /// Runs a socket to its end. `first` was read before it was one; `judge` hears whether a key is the room's, and says
    /// it again, unless whoever showed it has shown too many that are not.
    pub(crate) fn run(
        self: Arc<Self>,
        line: Line,
        first: Vec<u8>,
        room: Arc<LiveRoom>,
        judge: impl FnOnce(bool) -> Option<bool>,
    ) -> impl Future<Output = ()> {
        // Made before the future is, which would keep a place for everything it is made of.
        let mut session = Session::new(self, line, first);
        async move {
            // What it takes to get in is let go of before the long wait.
            let end = match Box::pin(session.enter(room, judge)).await {
                Ok(()) => session.stay().await,
                Err(end) => end,
            };
            Box::pin(session.leave(end)).await;
        }
    }
}

struct Session {
    shared: Arc<Sessions>,
    line: Arc<Line>,
    reader: Reader,
    stall: Stall,
    bucket: Bucket,
    bad_messages: u32,
    seat: Option<Seat>,
    member: Option<Member>,
    id: MemberId,
    /// What is read was said after the node was held up so often.
    said_after: u64,
    /// That often, it was asked for a sign of that.
    asked_after: u64,
    /// A host's, from the first on; anybody's, who asks for what is not known here.
    orders: Option<Box<Orders>>,
}

/// What a session waits for.
enum Event {
    Heard(Message),
    /// What became of an order, or of a question.
    Done(Outcome),
}

impl Session {
    fn new(shared: Arc<Sessions>, line: Line, first: Vec<u8>) -> Self {
        let limits = &shared.limits;
        let bucket = Bucket::new(limits.messages_per_sec as f64, limits.messages_burst as f64, Instant::now());
        let reader = Reader::new(first, usize::try_from(limits.message_bytes).unwrap_or(usize::MAX));
        let said_after = shared.pulse.times_held_up();
        Session {
            shared,
            line: Arc::new(line),
            reader,
            stall: None,
            bucket,
            bad_messages: 0,
            seat: None,
            member: None,
            id: MemberId::random(),
            said_after,
            asked_after: said_after,
            orders: None,
        }
    }

    /// From HELLO to WELCOME.
    async fn enter(&mut self, room: Arc<LiveRoom>, judge: impl FnOnce(bool) -> Option<bool>) -> Result<(), End> {
        let hello_deadline = Duration::from_secs(self.shared.limits.hello_secs);
        let stop = self.shared.stop.clone();
        let Hello { name, key, was, seen } = tokio::select! {
            hello = timeout(hello_deadline, self.hello()) => match hello {
                Ok(hello) => hello?,
                Err(_) => return Err(End::Close(close::NO_HELLO, "no HELLO in time")),
            },
            () = stop.cancelled() => return Err(End::Close(close::RESTARTING, "the node is restarting")),
        };
        let record = room.record();
        let role = match key.map(|key| judge(record.host_key.matches(&key))) {
            None => Role::Viewer,
            Some(Some(true)) => Role::Host,
            Some(Some(false)) => {
                let _ = self.error(ErrorCode::BadHostKey, "this key is not the room's").await;
                return Err(End::Close(close::WRONG_KEY, "wrong key"));
            }
            Some(None) => return Err(End::Close(close::TOO_FAST, "too many wrong keys from this address")),
        };
        if role == Role::Host
            && let Some(seen) = seen
        {
            // Before anything is said about the room: the first STATE is the right one already.
            if let Err(error) = Box::pin(self.shared.live.offer(&room, &seen)).await {
                debug!(%error, "what the host saw last could not be offered");
            }
        }
        if let Some(was) = was
            && !self.shared.members.replace(was, room.code())
        {
            self.shared.live.moved_here(room.code(), was);
        }
        let member = match self.shared.live.join(&room, role) {
            Ok(member) => member,
            Err(JoinError::Closed) => return Err(End::Close(close::ROOM_GONE, "the room is gone")),
            Err(JoinError::Full) => {
                let _ = self.error(ErrorCode::RoomFull, "the room is full").await;
                return Err(End::Close(close::FULL, "the room is full"));
            }
        };
        self.shared.members.put(self.id, room.code(), Arc::downgrade(&self.line));
        let (id, pass) = (self.id.to_string(), record.host_key.pass());
        let you = You { id: &id, name: name.as_deref().unwrap_or("Guest"), role };
        let (server_ms, ping_secs) = (self.shared.live.now_ms(), self.shared.limits.ping_secs);
        let welcome = ServerMessage::Welcome { protocol: PROTOCOL, you, server_ms, pass: &pass, ping_secs };
        self.member = Some(member);
        self.say(&welcome).await?;
        // What is shown until the seat is taken this session writes; what is shown from then on, the room.
        self.line.fall_behind();
        self.seat = self.member.as_ref().map(|member| member.seat(self.line.clone()));
        self.shared.wheel.add(&self.line);
        Ok(())
    }

    /// Waits for HELLO.
    async fn hello(&mut self) -> Result<Hello, End> {
        loop {
            let text = self.next_text().await?;
            match ClientMessage::parse(&text, true) {
                Ok(Some(ClientMessage::Hello(hello))) => return Ok(hello),
                Ok(_) => return Err(End::Close(close::NO_HELLO, "the first message must be HELLO")),
                Err(bad) => self.complain(bad).await?,
            }
        }
    }

    /// The client's messages, while the room's frames go out beside them.
    async fn stay(&mut self) -> End {
        loop {
            let step = match self.next_text().await {
                Ok(text) => Box::pin(self.heard(&text)).await,
                Err(end) => Err(end),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Sees what was ordered through, says goodbye, and waits a little for the answer.
    async fn leave(mut self, end: End) {
        if let (End::Close(close::RESTARTING, _), Some(_)) = (&end, &self.member) {
            Box::pin(self.hear_out()).await;
        }
        let mut is_heard = !matches!(end, End::Gone);
        while let Some(outcome) = self.done().await {
            is_heard = is_heard && self.answer(outcome).await.is_ok();
        }
        (self.seat, self.member) = (None, None);
        self.shared.members.take_out(self.id);
        let goodbye = match end {
            End::Gone => return,
            End::Left => self.reader.replies(),
            End::Close(code, reason) => {
                self.shared.metrics.sockets_closed.get_or_create(&Closed { code }).inc();
                debug!(code, reason, "socket closed");
                self.reader.close(code, reason)
            }
        };
        self.line.begin_close();
        if self.send(goodbye).await.is_ok() {
            // There will be no answer, or none that can be read: a client that waits for the end sees it.
            if self.reader.has_failed() {
                poll_fn(|cx| self.line.poll_hang_up(cx)).await;
            }
            let _ = timeout(GOODBYE, async { while self.next().await.is_ok() {} }).await;
        }
    }

    /// What a client says before it hears that this node leaves is not swallowed: it is carried out while there is time,
    /// and refused afterwards.
    async fn hear_out(&mut self) {
        let deadline = Instant::now() + HEARING_OUT;
        loop {
            let is_busy = self.orders.as_ref().is_some_and(|orders| !orders.is_empty());
            // Nothing is under way, and nothing is there to be read: nobody is kept waiting.
            let next = poll_fn(|cx| match self.poll_next(cx) {
                Poll::Pending if !is_busy => Poll::Ready(None),
                next => next.map(Some),
            });
            let step = match next.await {
                None | Some(Err(_)) => return,
                Some(Ok(Event::Done(outcome))) => self.answer(outcome).await,
                Some(Ok(Event::Heard(_))) if !self.bucket.take(Instant::now()) => return,
                Some(Ok(Event::Heard(Message::Text(text)))) if Instant::now() < deadline => self.heard(&text).await,
                Some(Ok(Event::Heard(Message::Text(text)))) => self.refuse(&text).await,
                Some(Ok(Event::Heard(_))) => Ok(()),
            };
            if step.is_err() {
                return;
            }
        }
    }

    /// An order comes too late for this node.
    async fn refuse(&mut self, text: &str) -> Result<(), End> {
        let is_host = self.member.as_ref().is_some_and(|member| member.role() == Role::Host);
        match ClientMessage::parse(text, is_host) {
            Ok(Some(ClientMessage::Command(_))) => self.refuse_order().await,
            _ => Ok(()),
        }
    }

    async fn heard(&mut self, text: &str) -> Result<(), End> {
        let (live, member) = (&self.shared.live, self.member.as_ref().expect("entered"));
        match ClientMessage::parse(text, member.role() == Role::Host) {
            Ok(Some(ClientMessage::Command(_))) if self.may_be_old() => self.refuse_old_order().await,
            Ok(Some(ClientMessage::Command(order))) => self.order(order).await,
            // A command of somebody who is not the host: no error, no effect, no answer.
            Ok(None) => {
                self.shared.metrics.commands_ignored.inc();
                Ok(())
            }
            Ok(Some(ClientMessage::Ping { client_ms })) => {
                let server_ms = live.now_ms();
                self.say(&ServerMessage::Pong { client_ms, server_ms }).await
            }
            Ok(Some(ClientMessage::Sync)) => {
                let is_known = live.follows(member.room());
                match &mut self.orders {
                    None if is_known => self.line.owe_newest(),
                    // Whoever asks sees what they ordered.
                    known => orders(known, member).ask(),
                }
                Ok(())
            }
            Ok(Some(ClientMessage::Hello(_))) => self.complain(BadMessage("HELLO was said already".into())).await,
            Err(bad) => self.complain(bad).await,
        }
    }

    async fn order(&mut self, order: Order) -> Result<(), End> {
        let member = self.member.as_ref().expect("entered");
        let player = || (self.shared.abilities)(&member.room().record().source);
        if let Some(reason) = unsupported(&order.command, player) {
            self.shared.metrics.commands_unsupported.inc();
            return self.error(ErrorCode::Unsupported, reason).await;
        }
        match orders(&mut self.orders, member).push(order) {
            Taken::Waits => Ok(()),
            Taken::Replaces => {
                self.shared.metrics.commands_replaced.inc();
                Ok(())
            }
            Taken::Not => self.refuse_order().await,
        }
    }

    /// What became of what is under way; nothing if that is nothing.
    async fn done(&mut self) -> Option<Outcome> {
        let orders = self.orders.as_mut().filter(|orders| !orders.is_empty())?;
        Some(poll_fn(|cx| orders.poll(cx)).await)
    }

    /// Whoever gave an order sees in the next STATE that it was carried out, and is told that it was not.
    async fn answer(&mut self, outcome: Outcome) -> Result<(), End> {
        let error = match outcome {
            // The room has just been closed; its last frame is on the way.
            Outcome::CaughtUp(Err(error)) if !error.is_away() => return Ok(()),
            // Also if the store is away: the newest this node knows is still true, since positions go on by themselves.
            Outcome::CaughtUp(_) => {
                self.line.owe_newest();
                return Ok(());
            }
            Outcome::Ordered(Ok(())) => return Ok(()),
            Outcome::Ordered(Err(error)) => error,
        };
        match error {
            LiveError::Unavailable(_) => self.refuse_order().await,
            LiveError::Unanswered => {
                self.shared.metrics.commands_failed.inc();
                let sentence = "the order was not answered in time; it may have been carried out: the next STATE tells";
                self.error(ErrorCode::LiveUnavailable, sentence).await
            }
            // The room has just been closed; its last frame is on the way.
            LiveError::UnknownRoom | LiveError::Closed => {
                self.shared.metrics.commands_failed.inc();
                Ok(())
            }
        }
    }

    /// Whether what is read may have been said before the node was held up, and given up since.
    fn may_be_old(&self) -> bool {
        self.said_after != self.shared.pulse.times_held_up()
    }

    /// Not carried out however late. Pongs come in order with what else a client says: whatever follows the answer to a ping
    /// of after that time is new.
    async fn refuse_old_order(&mut self) -> Result<(), End> {
        let times = self.shared.pulse.times_held_up();
        if std::mem::replace(&mut self.asked_after, times) != times {
            let ping = self.reader.frame(Message::Ping(Bytes::copy_from_slice(&times.to_be_bytes())));
            self.send(ping).await?;
        }
        self.refuse_order().await
    }

    /// Nothing was done, and nothing will be.
    async fn refuse_order(&mut self) -> Result<(), End> {
        self.shared.metrics.commands_failed.inc();
        let sentence = "the order could not be carried out and will not be later; try again in a moment";
        self.error(ErrorCode::LiveUnavailable, sentence).await
    }

    /// The next text message. Counts bad frames.
    async fn next_text(&mut self) -> Result<Utf8Bytes, End> {
        loop {
            match self.next_message().await? {
                Message::Text(text) => return Ok(text),
                _ => {
                    // Rare, and no part of what every viewer keeps.
                    let binary = BadMessage("binary messages have no meaning here; send JSON text".into());
                    Box::pin(self.complain(binary)).await?;
                }
            }
        }
    }

    /// The next text or binary message. Answers pings, and keeps to the rate.
    async fn next_message(&mut self) -> Result<Message, End> {
        loop {
            let message = match self.next().await? {
                Event::Heard(message) => message,
                Event::Done(outcome) => {
                    Box::pin(self.answer(outcome)).await?;
                    continue;
                }
            };
            self.line.heard();
            if !self.bucket.take(Instant::now()) {
                return Err(End::Close(close::TOO_FAST, "too many messages"));
            }
            match message {
                Message::Text(_) | Message::Binary(_) => return Ok(message),
                Message::Ping(_) => {
                    let pong = self.reader.replies();
                    Box::pin(self.send(pong)).await?;
                }
                Message::Pong(payload) if payload[..] == self.asked_after.to_be_bytes() => {
                    self.said_after = self.asked_after;
                }
                Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(_) => return Err(End::Left),
            }
        }
    }

    /// What happens next. Until then what is still to be written is.
    async fn next(&mut self) -> Result<Event, End> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, End>> {
        if let Some(orders) = &mut self.orders
            && let Poll::Ready(outcome) = orders.poll(cx)
        {
            return Poll::Ready(Ok(Event::Done(outcome)));
        }
        let mut nothing = Bytes::new();
        let (line, writing) = self.writing(&mut nothing);
        if let Poll::Ready(end) = line.poll_end(cx, writing) {
            return Poll::Ready(Err(end));
        }
        self.reader.poll(cx, &self.line).map_ok(Event::Heard)
    }

    /// Tells the client what it got wrong; too often, and it is cut.
    async fn complain(&mut self, BadMessage(text): BadMessage) -> Result<(), End> {
        self.bad_messages += 1;
        if self.bad_messages > MAX_BAD_MESSAGES {
            return Err(End::Close(close::BAD_MESSAGES, "too many bad messages"));
        }
        self.error(ErrorCode::BadMessage, &text).await
    }

    async fn error(&mut self, code: ErrorCode, message: &str) -> Result<(), End> {
        self.say(&ServerMessage::Error { code, message }).await
    }

    async fn say(&mut self, message: &ServerMessage<'_>) -> Result<(), End> {
        let text = self.reader.frame(Message::text(message.encode().as_str()));
        self.send(text).await
    }

    /// Writes whole frames of this session's own.
    async fn send(&mut self, mut own: Bytes) -> Result<(), End> {
        poll_fn(|cx| {
            let (line, writing) = self.writing(&mut own);
            line.poll_send(cx, writing)
        })
        .await
    }

    fn writing<'a>(&'a mut self, own: &'a mut Bytes) -> (&'a Line, Writing<'a>) {
        let Session { line, shared, member, stall, .. } = self;
        let frames = member.as_ref().map(|member| &member.frames);
        (line, Writing { own, frames, metrics: &shared.metrics, stall })
    }
}

/// What a member has ordered and asked for; begun with the first of it.
fn orders<'a>(known: &'a mut Option<Box<Orders>>, member: &Member) -> &'a mut Orders {
    known.get_or_insert_with(|| Box::new(Orders::new(member.live().clone(), member.room().clone())))
}

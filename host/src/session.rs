//! One WebSocket: HELLO, who it is, and the loop between a room and a browser. The seed's RoomPresenceConsumer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Bytes,
    extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket},
};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use crate::{
    config::Limits,
    limit::Bucket,
    live::{JoinError, Live, LiveError, LiveRoom, Member, Shown},
    protocol::{BadMessage, ClientMessage, ErrorCode, Hello, PROTOCOL, Role, ServerMessage, You, close},
    rooms::{hex, random_bytes, random_share},
    telemetry::{Closed, Metrics},
};

/// A client is told about this many messages it got wrong; after the next it is cut.
const MAX_BAD_MESSAGES: u32 = 5;

/// A client that takes in nothing for so long is given up.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a closed socket is given to say goodbye, so that our close frame is read and not reset.
const GOODBYE: Duration = Duration::from_secs(2);

/// A node that stops closes its sockets over at most this time, so that they do not all come back at once.
const DRAIN: Duration = Duration::from_secs(3);

/// What every session of a node shares.
#[derive(Clone)]
pub struct Sessions {
    pub live: Live,
    pub limits: Arc<Limits>,
    pub metrics: Arc<Metrics>,
    /// The node is stopping.
    pub stop: CancellationToken,
    /// What the node waits for before it ends.
    pub tracker: TaskTracker,
}

/// Why a session ends.
enum End {
    /// The client went, or cannot be reached.
    Gone,
    /// We close it, saying why.
    Close(u16, &'static str),
}

impl Sessions {
    /// Runs a socket to its end.
    pub async fn run(self, mut socket: WebSocket, room: Arc<LiveRoom>) {
        let end = Session::new(&self, &mut socket).run(&room).await;
        if let End::Close(code, reason) = end {
            self.metrics.sockets_closed.get_or_create(&Closed { code }).inc();
            debug!(code, reason, "socket closed");
            let frame = CloseFrame { code, reason: reason.into() };
            if let Ok(Ok(())) = timeout(WRITE_DEADLINE, socket.send(Message::Close(Some(frame)))).await {
                let _ = timeout(GOODBYE, async { while let Some(Ok(_)) = socket.recv().await {} }).await;
            }
        }
    }
}

struct Session<'a> {
    shared: &'a Sessions,
    socket: &'a mut WebSocket,
    bucket: Bucket,
    bad_messages: u32,
    last_heard: Instant,
    /// The number of the newest frame written.
    last_shown: Option<u64>,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Sessions, socket: &'a mut WebSocket) -> Self {
        let limits = &shared.limits;
        let now = Instant::now();
        let bucket = Bucket::new(limits.messages_per_sec as f64, limits.messages_burst as f64, now);
        Session { shared, socket, bucket, bad_messages: 0, last_heard: now, last_shown: None }
    }

    async fn run(mut self, room: &Arc<LiveRoom>) -> End {
        let hello_deadline = Duration::from_secs(self.shared.limits.hello_secs);
        let stop = self.shared.stop.clone();
        let Hello { name, key, seen } = tokio::select! {
            hello = timeout(hello_deadline, self.hello()) => match hello {
                Ok(Ok(hello)) => hello,
                Ok(Err(end)) => return end,
                Err(_) => return End::Close(close::NO_HELLO, "no HELLO in time"),
            },
            () = stop.cancelled() => return drain().await,
        };
        let record = room.record();
        let role = match key {
            None => Role::Viewer,
            Some(key) if record.host_key.matches(&key) => Role::Host,
            Some(_) => {
                let _ = self.error(ErrorCode::BadHostKey, "this key is not the room's").await;
                return End::Close(close::WRONG_KEY, "wrong key");
            }
        };
        if role == Role::Host
            && let Some(seen) = seen
        {
            // Before anything is said about the room: the first STATE is the right one already.
            if let Err(error) = self.shared.live.offer(room, &seen).await {
                debug!(%error, "what the host saw last could not be offered");
            }
        }
        let member = match self.shared.live.join(room, role) {
            Ok(member) => member,
            Err(JoinError::Closed) => return End::Close(close::ROOM_GONE, "the room is gone"),
            Err(JoinError::Full) => {
                let _ = self.error(ErrorCode::RoomFull, "the room is full").await;
                return End::Close(close::FULL, "the room is full");
            }
        };
        self.stay(member, role, record.key_generation, name).await
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

    /// The loop of a member: the room's newest frame out, the client's messages in.
    async fn stay(mut self, mut member: Member, role: Role, key_generation: i64, name: Option<String>) -> End {
        let id = hex(&random_bytes::<8>());
        let name = name.as_deref().unwrap_or("Guest");
        let you = You { id: &id, name, role };
        let (server_ms, ping_secs) = (self.shared.live.now_ms(), self.shared.limits.ping_secs);
        let welcome = ServerMessage::Welcome { protocol: PROTOCOL, you, server_ms, ping_secs };
        if let Err(end) = self.send(Message::Text(welcome.encode())).await {
            return end;
        }
        member.frames.mark_changed();
        let stop = self.shared.stop.clone();
        let mut cut_off = self.shared.live.cut_off();
        let ping_every = Duration::from_secs(self.shared.limits.ping_secs);
        let silence = Duration::from_secs(self.shared.limits.silence_secs);
        let mut next_ping = Instant::now() + ping_every;
        loop {
            let wake = next_ping.min(self.last_heard + silence);
            let step = tokio::select! {
                changed = member.frames.changed() => match changed {
                    Ok(()) => self.show(&mut member).await,
                    Err(_) => Err(End::Close(close::ROOM_GONE, "the room is gone")),
                },
                text = self.next_text() => match text {
                    Ok(text) => self.heard(&text, &member, role, key_generation).await,
                    Err(end) => Err(end),
                },
                () = sleep_until(wake.into()) => {
                    // Pongs have been heard since the sleep began: only now is it known who was silent.
                    if self.last_heard.elapsed() >= silence {
                        Err(End::Gone)
                    } else if Instant::now() >= next_ping {
                        next_ping += ping_every;
                        self.send(Message::Ping(Bytes::new())).await
                    } else {
                        Ok(())
                    }
                }
                // The answer of `wait_for` holds a lock: only whether it came may leave this branch.
                true = async { cut_off.wait_for(|is_cut_off| *is_cut_off).await.is_ok() } => {
                    Err(spread(close::LIVE_UNAVAILABLE, "the live store has been away for too long").await)
                }
                () = stop.cancelled() => Err(drain().await),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Writes the newest frame; those between the last one written and this are skipped.
    async fn show(&mut self, member: &mut Member) -> Result<(), End> {
        let Shown { frame, number, at } = member.frames.borrow_and_update().clone();
        self.send(Message::Text(frame.text)).await?;
        let metrics = &self.shared.metrics;
        match self.last_shown.replace(number) {
            // The first frame of a newcomer is no delay: it may have been there for hours.
            None => {}
            Some(last) => {
                metrics.frames_skipped.inc_by(number.saturating_sub(last + 1));
                metrics.written_after(at.elapsed());
            }
        }
        if frame.is_last { Err(End::Close(close::ROOM_CLOSED, "the room is closed")) } else { Ok(()) }
    }

    async fn heard(&mut self, text: &Utf8Bytes, member: &Member, role: Role, key_generation: i64) -> Result<(), End> {
        let live = &self.shared.live;
        match ClientMessage::parse(text, role == Role::Host) {
            Ok(Some(ClientMessage::Command(order))) => match live.command(member.room(), key_generation, order).await {
                Ok(()) => Ok(()),
                Err(error) => self.command_failed(&error).await,
            },
            // A command of somebody who is not the host: no error, no effect, no answer.
            Ok(None) => {
                self.shared.metrics.commands_ignored.inc();
                Ok(())
            }
            Ok(Some(ClientMessage::Ping { client_ms })) => {
                let pong = ServerMessage::Pong { client_ms, server_ms: live.now_ms() };
                self.send(Message::Text(pong.encode())).await
            }
            Ok(Some(ClientMessage::Sync)) => match live.read(member.room().code()).await {
                Ok(current) => self.send(Message::Text(current.frame.text)).await,
                // The newest this node knows is still true: positions go on by themselves.
                Err(LiveError::Unavailable(_)) => {
                    let text = member.frames.borrow().frame.text.clone();
                    self.send(Message::Text(text)).await
                }
                // The room has just been closed; its last frame is on the way.
                Err(LiveError::UnknownRoom | LiveError::KeyReplaced) => Ok(()),
            },
            Ok(Some(ClientMessage::Hello(_))) => self.complain(BadMessage("HELLO was said already".into())).await,
            Err(bad) => self.complain(bad).await,
        }
    }

    async fn command_failed(&mut self, error: &LiveError) -> Result<(), End> {
        self.shared.metrics.commands_failed.inc();
        match error {
            LiveError::KeyReplaced => Err(End::Close(close::WRONG_KEY, "the room's key was replaced")),
            LiveError::Unavailable(_) => {
                let sentence = "the order could not be carried out and will not be later; try again in a moment";
                self.error(ErrorCode::LiveUnavailable, sentence).await
            }
            // The room has just been closed; its last frame is on the way.
            LiveError::UnknownRoom => Ok(()),
        }
    }

    /// The next text message. Answers pings, counts bad frames, and keeps to the rate.
    async fn next_text(&mut self) -> Result<Utf8Bytes, End> {
        loop {
            let message = match self.socket.recv().await {
                Some(Ok(message)) => message,
                None => return Err(End::Gone),
                Some(Err(error)) => return Err(unreadable(error)),
            };
            self.last_heard = Instant::now();
            if !self.bucket.take(self.last_heard) {
                return Err(End::Close(close::TOO_FAST, "too many messages"));
            }
            match message {
                Message::Text(text) => return Ok(text),
                Message::Binary(_) => {
                    self.complain(BadMessage("binary messages have no meaning here; send JSON text".into())).await?;
                }
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(_) => return Err(End::Gone),
            }
        }
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
        self.send(Message::Text(ServerMessage::Error { code, message }.encode())).await
    }

    /// The one place that writes.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(WRITE_DEADLINE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}

async fn drain() -> End {
    spread(close::RESTARTING, "the node is restarting").await
}

/// Waits for a share of the drain time, so that a node's sockets end one after another.
async fn spread(code: u16, reason: &'static str) -> End {
    sleep(DRAIN.mul_f64(random_share())).await;
    End::Close(code, reason)
}

/// A frame that cannot be read ends the socket, with the reason where the peer can hear it.
fn unreadable(error: axum::Error) -> End {
    use axum::extract::ws::close_code::{INVALID, PROTOCOL};
    use tungstenite::Error;
    match error.into_inner().downcast_ref::<Error>() {
        Some(Error::Capacity(_)) => End::Close(close::TOO_BIG, "the message is too big"),
        Some(Error::Utf8(_)) => End::Close(INVALID, "a text message must be UTF-8"),
        Some(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => End::Gone,
        Some(Error::Protocol(_)) => End::Close(PROTOCOL, "not the WebSocket protocol"),
        _ => End::Gone,
    }
}

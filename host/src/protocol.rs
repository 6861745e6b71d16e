//! The WebSocket's messages, and nothing else: what they look like, not what they do.

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use axum::extract::ws::Utf8Bytes;
use serde::{Deserialize, Serialize};
use streamit_plugin_api::MediaType;

use crate::{
    playback::{Command, Hold, Order, PlaybackState},
    rooms::{Source, random_bytes},
    text::can_be_seen,
    timeline::{Seen, Timeline},
};

/// The version of this protocol, said in WELCOME.
pub const PROTOCOL: u32 = 1;

/// A name longer than this is not shown to anyone.
const NAME_CHARS: usize = 40;

/// Codes a socket is closed with.
pub mod close {
    pub const RESTARTING: u16 = 1012;
    pub const TOO_BIG: u16 = 1009;
    pub const FULL: u16 = 1013;
    pub const BAD_MESSAGES: u16 = 4400;
    pub const WRONG_KEY: u16 = 4401;
    pub const ROOM_GONE: u16 = 4404;
    pub const NO_HELLO: u16 = 4408;
    pub const ROOM_CLOSED: u16 = 4410;
    pub const TOO_FAST: u16 = 4429;
    pub const LIVE_UNAVAILABLE: u16 = 4503;
}

/// What a client may say.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientMessage {
    Hello(Hello),
    Command(Order),
    Ping { client_ms: i64 },
    Sync,
}

/// Who a client says it is, and what it saw before its line broke.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hello {
    pub name: Option<String>,
    pub key: Option<String>,
    /// Who the client was on its former line.
    pub was: Option<MemberId>,
    pub seen: Option<SeenRoom>,
}

/// Who somebody is on one line. Nobody else is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemberId(u64);

impl MemberId {
    pub fn random() -> MemberId {
        MemberId(u64::from_be_bytes(random_bytes()))
    }

    pub fn parse(text: &str) -> Option<MemberId> {
        u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16).map(MemberId)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a client last saw of a room, and playing what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRoom {
    pub source: Source,
    pub state: Seen,
}

/// Why a message was not understood: a sentence for its sender.
#[derive(Debug, PartialEq, Eq)]
pub struct BadMessage(pub String);

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct HelloText {
    name: Option<String>,
    key: Option<String>,
    was: Option<String>,
    seen: Option<SeenText>,
}

/// What a STATE said, without what it has no need of. A later server's words in it are not minded.
#[derive(Deserialize)]
struct SeenText {
    version: i64,
    source: SeenSource,
    playback: PlaybackState,
}

#[derive(Deserialize)]
struct SeenSource {
    provider: String,
    media_type: MediaType,
    external_id: String,
    season: Option<u32>,
    episode: Option<u32>,
}

#[derive(Deserialize)]
struct Play {
    position_ms: Option<i64>,
    at_ms: Option<i64>,
    version: Option<i64>,
}

#[derive(Deserialize)]
struct Pause<'a> {
    position_ms: Option<i64>,
    /// A reason that is not known is none.
    #[serde(borrow)]
    because: Option<Cow<'a, str>>,
    at_ms: Option<i64>,
    version: Option<i64>,
}

#[derive(Deserialize)]
struct Seek {
    position_ms: i64,
    at_ms: Option<i64>,
    version: Option<i64>,
}

#[derive(Deserialize)]
struct Progress {
    position_ms: i64,
    ended: Option<bool>,
    at_ms: Option<i64>,
    version: Option<i64>,
}

#[derive(Deserialize)]
struct Ping {
    client_ms: i64,
}

impl ClientMessage {
    /// Reads a message. `is_host` is the sender's role: a command of anyone else is `Ok(None)`, whatever is in it,
    /// because it is ignored in silence.
    pub fn parse(text: &str, is_host: bool) -> Result<Option<ClientMessage>, BadMessage> {
        let Kind { kind, .. } = read(text)?;
        let message = match &*kind {
            "PLAY" | "PAUSE" | "SEEK" | "PROGRESS" if !is_host => return Ok(None),
            "HELLO" => {
                let HelloText { name, key, was, seen } = read(text)?;
                let name = name.as_deref().map(checked_name).transpose()?;
                // One that this server never gave is nobody's.
                let was = was.and_then(|was| MemberId::parse(&was));
                ClientMessage::Hello(Hello { name, key, was, seen: seen.map(SeenRoom::from) })
            }
            "PLAY" => {
                let Play { position_ms, at_ms, version } = read(text)?;
                ClientMessage::Command(Order { command: Command::Play { position_ms }, at_ms, version })
            }
            "PAUSE" => {
                let Pause { position_ms, because, at_ms, version } = read(text)?;
                let hold = because.filter(|reason| *reason == Hold::Buffering.word()).map(|_| Hold::Buffering);
                ClientMessage::Command(Order { command: Command::Pause { position_ms, hold }, at_ms, version })
            }
            "SEEK" => {
                let Seek { position_ms, at_ms, version } = read(text)?;
                ClientMessage::Command(Order { command: Command::Seek { position_ms }, at_ms, version })
            }
            "PROGRESS" => {
                let Progress { position_ms, ended, at_ms, version } = read(text)?;
                let command = Command::Progress { position_ms, has_ended: ended == Some(true) };
                ClientMessage::Command(Order { command, at_ms, version })
            }
            "PING" => ClientMessage::Ping { client_ms: read::<Ping>(text)?.client_ms },
            "SYNC" => ClientMessage::Sync,
            other => {
                let shown: String = other.chars().take(20).collect();
                return Err(BadMessage(format!(
                    "unknown type {shown:?}; expected HELLO, PLAY, PAUSE, SEEK, PROGRESS, PING or SYNC"
                )));
            }
        };
        Ok(Some(message))
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BadMessage> {
    serde_json::from_str(text).map_err(|error| BadMessage(format!("not a message of this protocol: {error}")))
}

fn checked_name(name: &str) -> Result<String, BadMessage> {
    let trimmed = name.trim();
    let chars = trimmed.chars().count();
    if chars <= NAME_CHARS && can_be_seen(trimmed) && !trimmed.chars().any(char::is_control) {
        Ok(trimmed.to_owned())
    } else {
        let sentence = format!(
            "a name has 1 to {NAME_CHARS} characters, none of them a control character, and something of it can be seen"
        );
        Err(BadMessage(sentence))
    }
}

impl From<SeenText> for SeenRoom {
    fn from(SeenText { version, source, playback }: SeenText) -> Self {
        let SeenSource { provider, media_type, external_id, season, episode } = source;
        let source = Source { provider, media_type, external_id, season, episode };
        SeenRoom { source, state: Seen { version, playback } }
    }
}

/// What the server says to one client. STATE goes to everyone and is encoded by [`state`].
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerMessage<'a> {
    Welcome {
        protocol: u32,
        you: You<'a>,
        server_ms: i64,
        /// For those who ask over REST for what only people in the room are told.
        pass: &'a str,
        /// How often a quiet line is tried: after a longer silence a client had better ask.
        ping_secs: u64,
    },
    Pong {
        client_ms: i64,
        server_ms: i64,
    },
    Closed {
        reason: CloseReason,
    },
    Error {
        code: ErrorCode,
        message: &'a str,
    },
}

/// Who the client is in the room.
#[derive(Debug, Serialize)]
pub struct You<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Host,
    Viewer,
}

/// Why a room ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    ClosedByHost,
    HostGone,
}

/// What an ERROR message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    BadMessage,
    BadHostKey,
    RoomFull,
    LiveUnavailable,
    Unsupported,
}

/// A STATE read back: what a node does when it needs the numbers of a frame it was handed.
#[derive(Debug, Deserialize)]
pub struct State {
    pub version: i64,
    pub room: StoredHalf,
    pub playback: PlaybackState,
    pub presence: Presence,
}

/// The stored half of a room, as STATE carries it.
#[derive(Debug, Deserialize)]
pub struct StoredHalf {
    pub title: Option<String>,
    pub source: Source,
}

/// Who is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Connected members, the host included.
    pub viewers: u64,
    pub host: HostState,
    /// When the room closes if no host comes back.
    pub host_away_until_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    Connected,
    Away,
}

impl ServerMessage<'_> {
    pub fn encode(&self) -> Utf8Bytes {
        serde_json::to_string(self).expect("plain data").into()
    }
}

/// The stored half of STATE, encoded once per change of source.
pub fn room_json(title: Option<&str>, source: &Source) -> String {
    #[derive(Serialize)]
    struct Room<'a> {
        title: Option<&'a str>,
        source: &'a Source,
    }
    serde_json::to_string(&Room { title, source }).expect("plain data")
}

/// STATE: the whole truth about a room, from its encoded stored half and its live numbers.
pub fn state(version: i64, room_json: &str, timeline: &Timeline, presence: &Presence) -> Utf8Bytes {
    let PlaybackState { is_playing, position_ms, at_ms, hold } = timeline.playback;
    let is_initial = timeline.is_initial();
    let hold = match hold {
        Some(Hold::Buffering) => r#""buffering""#,
        None => "null",
    };
    let Presence { viewers, host, host_away_until_ms } = presence;
    let host = match host {
        HostState::Connected => "connected",
        HostState::Away => "away",
    };
    // 260 bytes are the fixed words and the longest numbers.
    let mut text = String::with_capacity(room_json.len() + 300);
    write!(
        text,
        r#"{{"type":"STATE","version":{version},"room":{room_json},"playback":{{"is_playing":{is_playing},"position_ms":{position_ms},"at_ms":{at_ms},"hold":{hold},"is_initial":{is_initial}}},"presence":{{"viewers":{viewers},"host":"{host}","host_away_until_ms":"#
    )
    .expect("a String takes everything");
    match host_away_until_ms {
        Some(until) => write!(text, "{until}}}}}"),
        None => write!(text, "null}}}}"),
    }
    .expect("a String takes everything");
    text.into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn state_is_the_documented_json() {
        let source = Source {
            provider: "acme".into(),
            media_type: streamit_plugin_api::MediaType::Tv,
            external_id: "a\"b".into(),
            season: Some(1),
            episode: Some(8),
        };
        let playback = PlaybackState { is_playing: true, position_ms: 754_200, at_ms: 1_790_000_123_000, hold: None };
        let presence = Presence { viewers: 12, host: HostState::Away, host_away_until_ms: Some(5) };
        let seed = Timeline::seed(playback.at_ms);
        let text = state(7, &room_json(Some("Friday \"film\""), &source), &Timeline { playback, ..seed }, &presence);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let expected = json!({
            "type": "STATE", "version": 7,
            "room": { "title": "Friday \"film\"",
                      "source": { "provider": "acme", "media_type": "tv", "external_id": "a\"b", "season": 1, "episode": 8 } },
            "playback": { "is_playing": true, "position_ms": 754_200, "at_ms": 1_790_000_123_000_i64, "hold": null, "is_initial": true },
            "presence": { "viewers": 12, "host": "away", "host_away_until_ms": 5 }
        });
        assert_eq!(value, expected);
        let held = PlaybackState { is_playing: false, hold: Some(Hold::Buffering), ..playback };
        let timeline = Timeline { playback: held, ..Timeline::of_source(8, playback.at_ms) };
        let text = state(8, &room_json(None, &source), &timeline, &presence);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&value["playback"]["hold"], &value["playback"]["is_initial"]),
            (&json!("buffering"), &json!(false))
        );
        let read: State = serde_json::from_str(&text).expect("a STATE");
        assert_eq!(read.playback, held);
    }

    #[test]
    fn a_state_of_an_older_host_is_not_held() {
        let read: PlaybackState =
            serde_json::from_str(r#"{"is_playing":true,"position_ms":1,"at_ms":2}"#).expect("a playback");
        assert_eq!(read.hold, None);
    }

    #[test]
    fn a_viewers_command_is_ignored_even_if_it_is_malformed() {
        for text in [r#"{"type":"PLAY"}"#, r#"{"type":"SEEK"}"#, r#"{"type":"PAUSE","position_ms":"x"}"#] {
            assert_eq!(ClientMessage::parse(text, false), Ok(None), "{text}");
        }
        assert!(ClientMessage::parse(r#"{"type":"SEEK"}"#, true).is_err());
    }

    #[test]
    fn messages_are_read_as_documented() {
        let parse = |text: &str| ClientMessage::parse(text, true).expect("understood").expect("not ignored");
        let order = |command, at_ms, version| ClientMessage::Command(Order { command, at_ms, version });
        assert_eq!(parse(r#"{"type":"PLAY"}"#), order(Command::Play { position_ms: None }, None, None));
        assert_eq!(
            parse(r#"{"type":"PAUSE","position_ms":5,"at_ms":9,"extra":[1]}"#),
            order(Command::Pause { position_ms: Some(5), hold: None }, Some(9), None)
        );
        assert_eq!(
            parse(r#"{"version":7,"position_ms":5,"at_ms":9,"type":"SEEK"}"#),
            order(Command::Seek { position_ms: 5 }, Some(9), Some(7))
        );
        for (ended, has_ended) in [("", false), (r#","ended":false"#, false), (r#","ended":true"#, true)] {
            let text = format!(r#"{{"type":"PROGRESS","position_ms":5{ended}}}"#);
            assert_eq!(parse(&text), order(Command::Progress { position_ms: 5, has_ended }, None, None));
        }
        assert_eq!(parse(r#"{"type":"PING","client_ms":3}"#), ClientMessage::Ping { client_ms: 3 });
        assert_eq!(parse(r#"{"type":"SYNC"}"#), ClientMessage::Sync);
        let hello = Hello { name: Some("Ann".into()), ..Hello::default() };
        assert_eq!(parse(r#"{"type":"HELLO","name":" Ann ","seen":null}"#), ClientMessage::Hello(hello));
    }

    #[test]
    fn only_a_reason_that_is_known_holds_the_room() {
        let hold = |because: &str| {
            let text = format!(r#"{{"type":"PAUSE","because":{because}}}"#);
            match ClientMessage::parse(&text, true) {
                Ok(Some(ClientMessage::Command(Order { command: Command::Pause { hold, .. }, .. }))) => hold,
                other => panic!("{text}: {other:?}"),
            }
        };
        assert_eq!(hold(r#""buffering""#), Some(Hold::Buffering));
        for because in ["null", r#""""#, r#""the door bell""#, r#""Buffering""#] {
            assert_eq!(hold(because), None, "{because}");
        }
    }

    #[test]
    fn what_was_seen_is_read_and_a_later_servers_words_in_it_are_not_minded() {
        let seen = |seen: Value| -> Result<Option<SeenRoom>, BadMessage> {
            let text = json!({ "type": "HELLO", "seen": seen }).to_string();
            match ClientMessage::parse(&text, true)? {
                Some(ClientMessage::Hello(Hello { seen, .. })) => Ok(seen),
                other => panic!("{text}: {other:?}"),
            }
        };
        let source = json!({ "provider": "acme", "media_type": "movie", "external_id": "1", "season": null, "x": 1 });
        let playback = json!({ "is_playing": false, "position_ms": 5, "at_ms": 9, "hold": "buffering", "x": 1 });
        let read = seen(json!({ "version": 7, "source": source, "playback": playback, "x": 1 }));
        let read = read.expect("understood").expect("seen");
        let playback_read = PlaybackState { is_playing: false, position_ms: 5, at_ms: 9, hold: Some(Hold::Buffering) };
        assert_eq!(read.state, Seen { version: 7, playback: playback_read });
        assert_eq!((&*read.source.provider, &*read.source.external_id, read.source.season), ("acme", "1", None));
        for malformed in [json!(1), json!({}), json!({ "version": 7 }), json!({ "version": 7, "source": source })] {
            assert!(seen(malformed.clone()).is_err(), "{malformed}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let refused = |text: &str| ClientMessage::parse(text, true).expect_err(text).0;
        assert!(refused("nonsense").starts_with("not a message of this protocol"));
        assert!(refused("{}").contains("missing field `type`"));
        assert!(refused(r#"{"type":"JUMP"}"#).starts_with("unknown type \"JUMP\""));
        assert!(refused(r#"{"type":"SEEK","position_ms":1.5}"#).contains("expected i64"));
        assert!(refused(r#"{"type":"HELLO","name":""}"#).starts_with("a name has"));
        assert!(refused("[]").contains("not a message"));
    }
}

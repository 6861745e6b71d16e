//! The WebSocket's messages, and nothing else: what they look like, not what they do.

use std::{borrow::Cow, fmt::Write};

use axum::extract::ws::Utf8Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    playback::{Command, PlaybackState, Report},
    rooms::Source,
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
    Hello { name: Option<String>, key: Option<String> },
    Command(Command),
    Ping { client_ms: i64 },
    Sync,
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
struct Hello {
    name: Option<String>,
    key: Option<String>,
}

#[derive(Deserialize)]
struct MaybeReport {
    position_ms: Option<i64>,
    at_ms: Option<i64>,
}

#[derive(Deserialize)]
struct RequiredReport {
    position_ms: i64,
    at_ms: Option<i64>,
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
                let Hello { name, key } = read(text)?;
                ClientMessage::Hello { name: name.as_deref().map(checked_name).transpose()?, key }
            }
            "PLAY" => ClientMessage::Command(Command::Play(read::<MaybeReport>(text)?.report())),
            "PAUSE" => ClientMessage::Command(Command::Pause(read::<MaybeReport>(text)?.report())),
            "SEEK" => ClientMessage::Command(Command::Seek(read::<RequiredReport>(text)?.report())),
            "PROGRESS" => ClientMessage::Command(Command::Progress(read::<RequiredReport>(text)?.report())),
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
    if (1..=NAME_CHARS).contains(&chars) && !trimmed.chars().any(char::is_control) {
        Ok(trimmed.to_owned())
    } else {
        Err(BadMessage(format!("a name has 1 to {NAME_CHARS} characters, none of them a control character")))
    }
}

impl MaybeReport {
    /// A moment without a position says nothing.
    fn report(self) -> Option<Report> {
        self.position_ms.map(|position_ms| Report { position_ms, at_ms: self.at_ms })
    }
}

impl RequiredReport {
    fn report(self) -> Report {
        Report { position_ms: self.position_ms, at_ms: self.at_ms }
    }
}

/// What the server says to one client. STATE goes to everyone and is encoded by [`state`].
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerMessage<'a> {
    Welcome { protocol: u32, you: You<'a>, server_ms: i64 },
    Pong { client_ms: i64, server_ms: i64 },
    Closed { reason: CloseReason },
    Error { code: ErrorCode, message: &'a str },
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
pub fn state(version: i64, room_json: &str, playback: &PlaybackState, presence: &Presence) -> Utf8Bytes {
    let PlaybackState { is_playing, position_ms, at_ms } = playback;
    let Presence { viewers, host, host_away_until_ms } = presence;
    let host = match host {
        HostState::Connected => "connected",
        HostState::Away => "away",
    };
    // 220 bytes are the fixed words and the longest numbers.
    let mut text = String::with_capacity(room_json.len() + 260);
    write!(
        text,
        r#"{{"type":"STATE","version":{version},"room":{room_json},"playback":{{"is_playing":{is_playing},"position_ms":{position_ms},"at_ms":{at_ms}}},"presence":{{"viewers":{viewers},"host":"{host}","host_away_until_ms":"#
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
        let playback = PlaybackState { is_playing: true, position_ms: 754_200, at_ms: 1_790_000_123_000 };
        let presence = Presence { viewers: 12, host: HostState::Away, host_away_until_ms: Some(5) };
        let text = state(7, &room_json(Some("Friday \"film\""), &source), &playback, &presence);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let expected = json!({
            "type": "STATE", "version": 7,
            "room": { "title": "Friday \"film\"",
                      "source": { "provider": "acme", "media_type": "tv", "external_id": "a\"b", "season": 1, "episode": 8 } },
            "playback": { "is_playing": true, "position_ms": 754_200, "at_ms": 1_790_000_123_000_i64 },
            "presence": { "viewers": 12, "host": "away", "host_away_until_ms": 5 }
        });
        assert_eq!(value, expected);
        assert!(text.len() <= text.as_str().len());
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
        let report = Report { position_ms: 5, at_ms: Some(9) };
        let parse = |text| ClientMessage::parse(text, true).expect("understood").expect("not ignored");
        assert_eq!(parse(r#"{"type":"PLAY"}"#), ClientMessage::Command(Command::Play(None)));
        assert_eq!(
            parse(r#"{"type":"PAUSE","position_ms":5,"at_ms":9,"extra":[1]}"#),
            ClientMessage::Command(Command::Pause(Some(report)))
        );
        assert_eq!(
            parse(r#"{"position_ms":5,"at_ms":9,"type":"SEEK"}"#),
            ClientMessage::Command(Command::Seek(report))
        );
        assert_eq!(parse(r#"{"type":"PING","client_ms":3}"#), ClientMessage::Ping { client_ms: 3 });
        assert_eq!(parse(r#"{"type":"SYNC"}"#), ClientMessage::Sync);
        let hello = ClientMessage::Hello { name: Some("Ann".into()), key: None };
        assert_eq!(parse(r#"{"type":"HELLO","name":" Ann "}"#), hello);
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

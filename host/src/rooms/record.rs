//! What a room is: its record, its code and its key. Pure; nothing here knows the database.

use std::{borrow::Cow, fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::FromRow;
use streamit_plugin_api::{Media, MediaType};
use subtle::ConstantTimeEq;

use super::RoomError;

/// One durable room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    pub code: RoomCode,
    pub title: Option<String>,
    pub visibility: Visibility,
    pub host_key: KeyHash,
    pub source: Source,
    /// Grows with each change of source; from the second on it is the moment of the change, if that is more.
    pub revision: i64,
    pub created_at_ms: i64,
}

/// Whether a room is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    Public,
    Unlisted,
}

/// What a room plays: a provider's name and an identity. The room does not know what either means.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub provider: String,
    pub media_type: MediaType,
    pub external_id: String,
    #[serde(default)]
    pub season: Option<u32>,
    #[serde(default)]
    pub episode: Option<u32>,
}

/// What the creator of a room decides.
#[derive(Clone, Debug)]
pub struct NewRoom {
    pub title: Option<String>,
    pub visibility: Visibility,
    pub source: Source,
}

impl Source {
    /// That identity, played by the provider of that id.
    pub fn of(provider: &str, media: Media<'_>) -> Self {
        let Media { media_type, external_id, season, episode } = media;
        Source { provider: provider.to_owned(), media_type, external_id: external_id.into_owned(), season, episode }
    }

    /// The identity a provider is asked about.
    pub fn media(&self) -> Media<'_> {
        Media {
            media_type: self.media_type,
            external_id: Cow::Borrowed(&self.external_id),
            season: self.season,
            episode: self.episode,
        }
    }
}

impl Visibility {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Visibility::Public => "public",
            Visibility::Unlisted => "unlisted",
        }
    }
}

/// The letters of a room code: none that looks like another (no 0 O, 1 I L, U).
const ALPHABET: &[u8; 30] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A room's name in links: six characters, upper case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomCode([u8; 6]);

/// The text is not a room code.
#[derive(Debug, thiserror::Error)]
#[error("a room code has six letters or digits")]
pub struct NotACode;

impl RoomCode {
    pub(super) fn random() -> Self {
        // 30 × 8 = 240: bytes above are drawn again, so that every letter is as likely.
        let mut code = [0; 6];
        for letter in &mut code {
            *letter = loop {
                let [byte] = random_bytes();
                if byte < 240 {
                    break ALPHABET[usize::from(byte % 30)];
                }
            };
        }
        RoomCode(code)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made of ASCII letters")
    }

    /// Its place among all codes, in their order.
    pub(crate) fn number(self) -> u32 {
        self.0.iter().fold(0, |number, letter| {
            let digit = ALPHABET.iter().position(|known| known == letter).unwrap_or_default();
            number * 30 + u32::try_from(digit).unwrap_or_default()
        })
    }
}

impl FromStr for RoomCode {
    type Err = NotACode;

    fn from_str(text: &str) -> Result<Self, NotACode> {
        let code: [u8; 6] = text.as_bytes().try_into().map_err(|_| NotACode)?;
        let code = code.map(|letter| letter.to_ascii_uppercase());
        if code.iter().all(|letter| ALPHABET.contains(letter)) { Ok(RoomCode(code)) } else { Err(NotACode) }
    }
}

impl fmt::Display for RoomCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RoomCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RoomCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The secret that makes its bearer the host: shown once, at creation.
pub struct HostKey(String);

impl HostKey {
    pub(super) fn random() -> Self {
        HostKey(BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<32>()))
    }

    /// The key itself, for its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// SHA-256 of a host key: all that is kept of it. A key has 256 random bits, so a plain hash is enough.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    pub(super) fn of(key: &str) -> Self {
        KeyHash(Sha256::digest(key.as_bytes()).into())
    }

    /// Whether `key` is the one, in constant time.
    pub fn matches(&self, key: &str) -> bool {
        self.0.ct_eq(&KeyHash::of(key).0).into()
    }

    /// What shows that somebody is or was in the room, and nothing about the key. Every node that knows the room knows it.
    pub fn pass(&self) -> String {
        let pass = Sha256::new().chain_update(b"in the room").chain_update(self.0).finalize();
        BASE64_URL_SAFE_NO_PAD.encode(pass)
    }

    /// Whether `shown` is the key or the pass, in constant time.
    pub fn lets_in(&self, shown: &str) -> bool {
        let is_pass: bool = self.pass().as_bytes().ct_eq(shown.as_bytes()).into();
        is_pass || self.matches(shown)
    }

    /// The hash of no key.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        KeyHash([0; 32])
    }

    pub(super) fn to_hex(self) -> String {
        hex(&self.0)
    }

    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(KeyHash(bytes))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes
}

/// A number from 0 to 1: what parts those who would otherwise all act at the same moment.
pub(crate) fn random_share() -> f64 {
    let [byte] = random_bytes();
    f64::from(byte) / 255.0
}

/// A row as it is stored; `Room::try_from` makes it a room.
#[derive(FromRow)]
pub(super) struct Row {
    code: String,
    title: Option<String>,
    visibility: String,
    host_key_sha256: String,
    playback_provider: String,
    playback_external_id: String,
    playback_media_type: String,
    playback_season: Option<i64>,
    playback_episode: Option<i64>,
    revision: i64,
    created_at_ms: i64,
}

impl TryFrom<Row> for Room {
    type Error = RoomError;

    fn try_from(row: Row) -> Result<Room, RoomError> {
        let unreadable = RoomError::Unreadable;
        let number = |value: Option<i64>| value.map(u32::try_from).transpose();
        Ok(Room {
            code: row.code.parse().map_err(|_| unreadable("code"))?,
            visibility: match row.visibility.as_str() {
                "public" => Visibility::Public,
                "unlisted" => Visibility::Unlisted,
                _ => return Err(unreadable("visibility")),
            },
            host_key: KeyHash::from_hex(&row.host_key_sha256).ok_or_else(|| unreadable("host_key_sha256"))?,
            source: Source {
                media_type: row.playback_media_type.parse().map_err(|_| unreadable("playback_media_type"))?,
                season: number(row.playback_season).map_err(|_| unreadable("playback_season"))?,
                episode: number(row.playback_episode).map_err(|_| unreadable("playback_episode"))?,
                provider: row.playback_provider,
                external_id: row.playback_external_id,
            },
            title: row.title,
            revision: row.revision,
            created_at_ms: row.created_at_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_in_any_case_and_have_no_look_alikes() {
        let code: RoomCode = "k7qm2x".parse().expect("a code");
        assert_eq!(code.as_str(), "K7QM2X");
        for bad in ["", "K7QM2", "K7QM2XX", "K7QM20", "K7QM2O", "K7QM21", "K7QM2I", "K7QM2L", "K7QM2U", "K7QM2Ä"] {
            assert!(bad.parse::<RoomCode>().is_err(), "{bad}");
        }
        assert!(RoomCode::random().as_str().parse::<RoomCode>().is_ok());
    }

    #[test]
    fn a_key_matches_its_hash_and_no_other() {
        let key = HostKey::random();
        assert_eq!(key.reveal().len(), 43);
        let hash = KeyHash::from_hex(&KeyHash::of(key.reveal()).to_hex()).expect("hex");
        assert!(hash.matches(key.reveal()));
        assert!(!hash.matches(HostKey::random().reveal()));
        assert!(!hash.matches(""));
        let pass = hash.pass();
        assert_eq!(pass.len(), 43);
        assert!(hash.lets_in(&pass) && hash.lets_in(key.reveal()) && !hash.matches(&pass));
        for wrong in ["", &pass[1..], KeyHash::none().pass().as_str(), HostKey::random().reveal()] {
            assert!(!hash.lets_in(wrong), "{wrong}");
        }
    }
}

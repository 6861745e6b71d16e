//! What a cluster says of itself: which slot a key is in, and which server has which slots.

use crc::{CRC_16_XMODEM, Crc};
use redis::{Cmd, Value};

pub(super) const SLOTS: u16 = 16_384;

/// The slot of a key, as the cluster's specification has it.
pub(super) fn slot(key: &[u8]) -> u16 {
    const CRC16: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);
    let tag = || {
        let tag = &key[key.iter().position(|b| *b == b'{')? + 1..];
        let end = tag.iter().position(|b| *b == b'}')?;
        (end > 0).then(|| &tag[..end])
    };
    CRC16.checksum(tag().unwrap_or(key)) % SLOTS
}

/// Host and port.
pub(super) type Address = (String, u16);

/// Who has which slots, from and to, as some server sees it. In order.
pub(super) type View = Vec<(u16, u16, Address)>;

/// Asks for a [`View`].
pub(super) fn slots() -> Cmd {
    redis::cmd("CLUSTER").arg("SLOTS").to_owned()
}

/// What most say; if as many say one thing as another, what was believed already.
pub(super) fn most_seen(views: &[View], believed: &View) -> Option<View> {
    let count = |view: &View| views.iter().filter(|other| *other == view).count();
    let best = views.iter().max_by_key(|view| (count(view), *view == believed))?;
    Some(best.clone())
}

/// Reads an answer of `CLUSTER SLOTS`. A server that does not say where it is, is where it was asked.
pub(super) fn view(answer: &Value, asked: &str) -> Option<View> {
    let Value::Array(rows) = answer else { return None };
    let mut view: View = rows
        .iter()
        .filter_map(|row| {
            let Value::Array(row) = row else { return None };
            let [Value::Int(from), Value::Int(to), Value::Array(owner), ..] = row.as_slice() else { return None };
            let [host, Value::Int(port), ..] = owner.as_slice() else { return None };
            let host = match host {
                Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
                Value::SimpleString(host) => host.clone(),
                _ => String::new(),
            };
            let host = if host.is_empty() || host == "?" { asked.to_owned() } else { host };
            Some((u16::try_from(*from).ok()?, u16::try_from(*to).ok()?, (host, u16::try_from(*port).ok()?)))
        })
        .collect();
    view.sort();
    (!view.is_empty()).then_some(view)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"streamit:{K7QM2X}:state"), slot(b"K7QM2X"));
        assert_eq!(
            slot(b"a{}b{c}"),
            Crc::<u16>::new(&CRC_16_XMODEM).checksum(b"a{}b{c}") % 16_384,
            "an empty tag is none"
        );
    }

    fn row(from: i64, to: i64, host: Value, port: i64) -> Value {
        let owner = vec![host, Value::Int(port), Value::BulkString(b"id".to_vec())];
        let replica = vec![Value::BulkString(b"10.0.0.9".to_vec()), Value::Int(1)];
        Value::Array(vec![Value::Int(from), Value::Int(to), Value::Array(owner), Value::Array(replica)])
    }

    #[test]
    fn a_view_is_read_whoever_says_it() {
        let named = row(0, 99, Value::BulkString(b"10.0.0.1".to_vec()), 7000);
        let unnamed = row(100, 16_383, Value::Nil, 7001);
        let expected = vec![(0, 99, ("10.0.0.1".to_owned(), 7000)), (100, 16_383, ("asked".to_owned(), 7001))];
        assert_eq!(view(&Value::Array(vec![unnamed, named]), "asked"), Some(expected));
        assert_eq!(view(&Value::Array(vec![]), "asked"), None);
        assert_eq!(view(&Value::Okay, "asked"), None);
    }

    #[test]
    fn what_most_servers_say_is_believed() {
        let view = |port| vec![(0, 1, ("a".to_owned(), port))];
        assert_eq!(most_seen(&[view(1), view(2), view(2)], &view(1)), Some(view(2)));
        assert_eq!(most_seen(&[view(2), view(1)], &view(1)), Some(view(1)), "one says this and one that");
        assert_eq!(most_seen(&[], &view(1)), None);
    }
}

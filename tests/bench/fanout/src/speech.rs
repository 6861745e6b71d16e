//! What is said at a server's socket: how one gets in, gives an order, and knows it when it arrives.

use serde::{Deserialize, Serialize};

/// Numbers of orders begin here: they have as many digits all the time, and are positions that a room takes.
pub(crate) const FIRST_ORDER: u64 = 1_000_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Speech {
    /// Address and path, for the host and for viewers. On two nodes the addresses differ.
    pub(crate) host_at: (String, String),
    pub(crate) viewers_at: (String, String),
    /// What a newcomer says, one after the other.
    pub(crate) host: Vec<Line>,
    pub(crate) viewer: Vec<Line>,
    /// What is in the first message of somebody who is in.
    pub(crate) welcome: String,
    /// What is before and after an order's number, as it is given and as it arrives.
    pub(crate) order: (String, String),
    pub(crate) newest: (String, String),
    /// So many may be at the door at once.
    pub(crate) at_the_door: usize,
    /// After so long without a message none is on its way that nobody asked for.
    pub(crate) quiet_ms: u64,
}

/// Said as soon as a message with `after` in it arrived; at once if that is empty.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) after: String,
    pub(crate) say: String,
}

impl Line {
    pub(crate) fn new(after: &str, say: impl Into<String>) -> Line {
        Line { after: after.into(), say: say.into() }
    }
}

impl Speech {
    /// Of a server that answers "hello" with the newest message, and sends everyone what the host says, byte by byte.
    pub(crate) fn relay(address: &str, path: &str, bytes: usize) -> Speech {
        let at = (address.to_owned(), path.to_owned());
        let (before, after) = Speech::padded(bytes);
        Speech {
            host_at: at.clone(),
            viewers_at: at,
            host: vec![Line::new("", "hello")],
            viewer: vec![Line::new("", "hello")],
            welcome: r#"{"n":"#.into(),
            newest: (before.clone(), ",".into()),
            order: (before, after),
            at_the_door: 500,
            quiet_ms: 300,
        }
    }

    /// What is around a number, so that it is a message of so many bytes.
    pub(crate) fn padded(bytes: usize) -> (String, String) {
        const AROUND: usize = r#"{"n":1000000,"room":""}"#.len();
        (r#"{"n":"#.into(), format!(r#","room":"{}"}}"#, "x".repeat(bytes.saturating_sub(AROUND))))
    }

    pub(crate) fn order(&self, number: u64) -> String {
        format!("{}{number}{}", self.order.0, self.order.1)
    }

    pub(crate) fn newest(&self, number: u64) -> String {
        format!("{}{number}{}", self.newest.0, self.newest.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_the_size_that_was_asked_for_and_is_known_by_its_number() {
        let speech = Speech::relay("127.0.0.1:1", "/", 400);
        let order = speech.order(FIRST_ORDER + 7);
        assert_eq!(order.len(), 400);
        assert!(order.contains(&speech.newest(FIRST_ORDER + 7)));
        assert!(!order.contains(&speech.newest(FIRST_ORDER + 70)));
    }
}

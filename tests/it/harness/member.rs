//! A real WebSocket in a room.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

use super::{App, PATIENCE};

const TRY_AGAIN: Duration = Duration::from_millis(200);

pub(crate) struct Member {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The newest STATE.
    pub(crate) state: Value,
    pub(crate) welcome: Value,
}

/// An upgrade that was answered with an HTTP status.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) problem: Value,
}

impl Member {
    /// An open socket that has said nothing.
    pub(crate) async fn connect(app: &App, code: &str, origin: Option<&str>) -> Result<Member, Refused> {
        let url = format!("{}/ws/v1/rooms/{code}", app.url.replace("http:", "ws:"));
        let mut request = url.into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Member { socket, state: Value::Null, welcome: Value::Null }),
            Err(tungstenite::Error::Http(response)) => Err(Refused {
                status: response.status(),
                problem: serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap(),
            }),
            Err(error) => panic!("no answer to the upgrade: {error}"),
        }
    }

    /// Says `hello`, and waits for WELCOME and the first STATE. As any client does, it tries again where a store was too busy.
    pub(crate) async fn join(app: &App, code: &str, hello: Value) -> Member {
        let deadline = Instant::now() + PATIENCE;
        let mut member = loop {
            match Member::connect(app, code, None).await {
                Err(refused) if refused.status == 503 && Instant::now() < deadline => sleep(TRY_AGAIN).await,
                connected => break connected.unwrap(),
            }
        };
        member.send(hello).await;
        member.welcome = member.next().await;
        assert_eq!(member.welcome["type"], "WELCOME", "{}", member.welcome);
        member.sees(|_| true).await;
        member
    }

    pub(crate) async fn send(&mut self, message: Value) {
        self.send_raw(Message::text(message.to_string())).await;
    }

    pub(crate) async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Sends without minding whether the other side still listens.
    pub(crate) async fn try_send(&mut self, message: Message) -> bool {
        self.socket.send(message).await.is_ok()
    }

    /// The next message, whatever it is.
    pub(crate) async fn next(&mut self) -> Value {
        self.next_within(PATIENCE).await
    }

    pub(crate) async fn next_within(&mut self, patience: Duration) -> Value {
        loop {
            let message = timeout(patience, self.socket.next()).await.expect("a message in time");
            match message.expect("an open socket").expect("a readable message") {
                Message::Text(text) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if message["type"] == "STATE" {
                        self.saw(message.clone());
                    }
                    return message;
                }
                Message::Close(frame) => panic!("the socket was closed: {frame:?}"),
                _ => {}
            }
        }
    }

    fn saw(&mut self, state: Value) {
        let version = |state: &Value| state["version"].as_i64().unwrap_or(0);
        assert!(version(&state) >= version(&self.state), "a state went back: {} after {}", state, self.state);
        self.state = state;
    }

    /// Waits for a STATE like this, and answers it.
    pub(crate) async fn sees(&mut self, like: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if !self.state.is_null() && like(&self.state) {
                return self.state.clone();
            }
            let Ok(message) = timeout_at(deadline, self.next()).await else {
                panic!("no such state in time; the newest is {}", self.state);
            };
            assert_eq!(message["type"], "STATE", "{message}");
        }
    }

    /// Waits until the room is at this position, as it would be without having moved on.
    pub(crate) async fn sees_position(&mut self, position_ms: i64) -> Value {
        self.sees(|state| state["playback"]["position_ms"] == position_ms).await
    }

    pub(crate) async fn play(&mut self) {
        self.send(json!({ "type": "PLAY" })).await;
    }

    pub(crate) async fn seek(&mut self, position_ms: i64) {
        self.send(json!({ "type": "SEEK", "position_ms": position_ms })).await;
    }

    /// A PING's answer, and everything that came before it: what the server says by itself is never a reply.
    pub(crate) async fn ping(&mut self) -> (Value, Vec<Value>) {
        self.send(json!({ "type": "PING", "client_ms": 4711 })).await;
        let mut before = Vec::new();
        loop {
            let message = self.next().await;
            if message["type"] == "PONG" {
                return (message, before);
            }
            before.push(message);
        }
    }

    /// Waits until whatever it has ordered is carried out or refused; answers what it heard meanwhile. A SYNC waits for that;
    /// and only a STATE that says nothing new is certainly its answer.
    pub(crate) async fn outcome(&mut self) -> Vec<Value> {
        let mut heard = Vec::new();
        loop {
            let (mut known, asked) = (self.state["version"].clone(), heard.len());
            self.send(json!({ "type": "SYNC" })).await;
            while heard[asked..].last().is_none_or(|message: &Value| message["type"] != "STATE") {
                heard.push(self.next().await);
                if heard.last().is_some_and(|message| message["type"] == "CLOSED") {
                    return heard;
                }
            }
            heard.extend(self.ping().await.1);
            for state in heard[asked..].iter().filter(|message| message["type"] == "STATE") {
                if std::mem::replace(&mut known, state["version"].clone()) == state["version"] {
                    return heard;
                }
            }
        }
    }

    /// The STATE as the store has it now.
    pub(crate) async fn sync(&mut self) -> Value {
        self.send(json!({ "type": "SYNC" })).await;
        let state = self.next().await;
        assert_eq!(state["type"], "STATE", "{state}");
        state
    }

    /// Waits for an ERROR with this code, and answers its sentence.
    pub(crate) async fn hears_error(&mut self, code: &str) -> String {
        loop {
            let message = self.next().await;
            if message["type"] != "STATE" {
                assert_eq!((&message["type"], &message["code"]), (&json!("ERROR"), &json!(code)), "{message}");
                return message["message"].as_str().unwrap().to_owned();
            }
        }
    }

    /// Reads to the end of the socket, and answers the code it was closed with, and what was said before.
    pub(crate) async fn is_closed(&mut self) -> (u16, Vec<Value>) {
        let mut said = Vec::new();
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("an end in time") {
                Some(Ok(Message::Text(text))) => said.push(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return (frame.expect("a reason").code.into(), said),
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("cut without a close frame: {error}; before: {said:?}"),
                None => panic!("ended without a close frame; before: {said:?}"),
            }
        }
    }

    /// Waits until the connection is gone. Answers whether that was without a goodbye.
    pub(crate) async fn has_ended(&mut self) -> bool {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("an end in time") {
                Some(Ok(Message::Close(_))) => return false,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return true,
            }
        }
    }
}

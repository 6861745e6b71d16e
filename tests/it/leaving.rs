//! A node that stops: its people are served to their end, its word about them is taken back, and nothing holds it.

use std::{process::ExitStatus, time::Duration};

use serde_json::json;
use streamit_test_servers::{Postgres, Proxy};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use crate::{
    harness::{App, until},
    nodes::Nodes,
};

const MP4: &str = "[providers.mp4]\nconfig = { base_url = \"/media/\" }";

/// What it may take to end, and something for a machine that is busy.
const END: Duration = Duration::from_secs(18);

async fn ended(app: &mut App) -> ExitStatus {
    timeout(END, app.stopped()).await.expect("it ends")
}

#[tokio::test]
async fn an_order_given_while_the_node_leaves_is_carried_out() {
    let mut shared = Nodes::start(2).await;
    let room = shared.nodes[0].room().await;
    let mut hosts = Vec::new();
    for _ in 0..4 {
        hosts.push(shared.nodes[0].host(&room).await);
    }
    let mut ben = shared.nodes[1].viewer(&room).await;
    ben.sees(|s| s["presence"]["viewers"] == 5).await;
    shared.nodes[0].terminate();
    until(|| async { shared.nodes[0].log().contains("stopping") }).await;
    // One of them goes last, and has most of the time until then; whoever is gone cannot be heard.
    for ann in &mut hosts {
        let order = json!({ "type": "SEEK", "position_ms": 77_000, "at_ms": 0 });
        ann.try_send(tokio_tungstenite::tungstenite::Message::text(order.to_string())).await;
    }
    ben.sees_position(77_000).await;
    for ann in &mut hosts {
        assert_eq!(ann.is_closed().await.0, 1012);
    }
    assert!(ended(&mut shared.nodes[0]).await.success());
}

#[tokio::test]
async fn when_a_node_has_ended_nobody_is_on_it_any_more() {
    let mut shared = Nodes::with(2, 300, "").await;
    let (mut leaving, other) = (shared.nodes.remove(0), shared.nodes.remove(0));
    let room = leaving.room().await;
    // A crowd leaves over three seconds, and is told of in steps: the last of them while the step before is not over.
    let mut members = vec![leaving.host(&room).await];
    for _ in 0..30 {
        members.push(leaving.viewer(&room).await);
    }
    until(|| async { other.view(&room).await["presence"]["viewers"] == 31 }).await;
    leaving.terminate();
    // Each says goodbye as soon as they are told to: nothing else keeps the node up.
    let told = members.into_iter().map(|mut member| tokio::spawn(async move { member.is_closed().await.0 }));
    let told: Vec<_> = told.collect();
    assert!(ended(&mut leaving).await.success());
    for code in told {
        assert_eq!(code.await.unwrap(), 1012);
    }
    let presence = other.view(&room).await["presence"].clone();
    assert_eq!((&presence["viewers"], &presence["host"]), (&json!(0), &json!("away")));
}

#[tokio::test]
async fn neither_half_a_request_nor_a_silent_database_holds_a_node() {
    let postgres = Postgres::start();
    let line = Proxy::to(&[&format!("127.0.0.1:{}", postgres.port())]);
    let url = format!("postgres://streamit@{}/postgres", line.address());
    let mut app = App::with(&format!("[database]\nurl = \"{url}\"\n{MP4}")).await;
    let mut half = TcpStream::connect(app.url.strip_prefix("http://").unwrap()).await.unwrap();
    half.write_all(b"POST /api/v1/rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").await.unwrap();
    line.silence(true);
    let client = reqwest::Client::new();
    let lost = tokio::spawn(client.get(format!("{}/api/v1/rooms/K7QM2X", app.url)).send());
    app.terminate();
    assert!(ended(&mut app).await.success());
    drop((half, lost));
}

#[tokio::test]
async fn who_asks_twice_does_not_wait() {
    let mut app = App::start().await;
    let mut half = TcpStream::connect(app.url.strip_prefix("http://").unwrap()).await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    // It has been accepted: an answer to somebody later says so.
    app.get("/healthz").await;
    app.terminate();
    until(|| async { app.log().contains("stopping") }).await;
    app.terminate();
    assert!(ended(&mut app).await.success());
    assert!(app.log().contains("stopped at once"), "{}", app.log());
    drop(half);
}

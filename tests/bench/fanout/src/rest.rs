//! How long the REST calls take, one after the other over one connection.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    figures::percentile,
    http::Http,
    server::{Serves, start},
};

pub(crate) struct Latency {
    pub(crate) call: &'static str,
    /// The median and the 99th percentile, or why there is none.
    pub(crate) ms: Result<(f64, f64), String>,
}

pub(crate) fn latencies(server: &dyn Serves, calls: usize) -> anyhow::Result<Vec<Latency>> {
    let running = start(server, 0)?;
    let mut http = Http::connect(&running.speech.host_at.0)?;
    let media = json!({ "media_type": "movie", "external_id": "clock.webm" });
    let source = json!({ "provider": "mp4", "media_type": "movie", "external_id": "clock.webm" });
    let room = json!({ "title": "One of many", "visibility": "public", "source": source });
    let link = json!({ "link": "https://www.youtube.com/watch?v=dQw4w9WgXcQ" });
    let created = http.ask("POST", "/api/v1/rooms", &room)?;
    let read = format!("/api/v1/rooms/{}", created["room"]["code"].as_str().unwrap_or_default());
    let asked = [
        ("create a room", "POST", "/api/v1/rooms", room),
        ("read a room", "GET", &read, Value::Null),
        ("list rooms", "GET", "/api/v1/rooms", Value::Null),
        ("resolve an identity", "POST", "/api/v1/providers/mp4/resolve", media),
        ("whose link is it", "POST", "/api/v1/links", link),
    ];
    let latency = |(call, method, path, body): (_, &str, &str, Value)| {
        let ms = latency(&mut http, calls, method, path, &body).map_err(|why| format!("{why:#}"));
        Latency { call, ms }
    };
    Ok(asked.into_iter().map(latency).collect())
}

fn latency(http: &mut Http, calls: usize, method: &str, path: &str, body: &Value) -> anyhow::Result<(f64, f64)> {
    let mut ms = Vec::new();
    for _ in 0..calls {
        let start = Instant::now();
        http.ask(method, path, body)?;
        ms.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    ms.sort_by(f64::total_cmp);
    Ok((percentile(&ms, 0.5), percentile(&ms, 0.99)))
}

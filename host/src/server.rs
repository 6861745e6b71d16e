//! Connections: how many there may be, and how long they may take to say what they want.

use std::{
    collections::{HashMap, hash_map::Entry},
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{Router, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{ServiceExt, service_fn};
use tracing::{debug, warn};

use crate::limit::household;

/// Until a request's head is there, and between two requests.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// A peer that acknowledges nothing for so long is gone, whatever TCP would hope.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// After a connection could not be accepted: there are no files left, and there will be some soon.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// That connections are turned away is said this often.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How many connections a listener takes.
pub struct Places {
    all: usize,
    /// From one address (of version 6: one /64); 0: no limit.
    of_one: usize,
    /// Who speaks for many: proxies that are trusted. This machine and its own network may, whether they are named or not.
    is_exempt: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<IpAddr, usize>,
    warned_at: Option<Instant>,
}

/// A connection's place, until it is dropped: also after it has become a WebSocket.
struct Place {
    places: Arc<Places>,
    by: Option<IpAddr>,
}

impl Places {
    pub fn new(all: usize, of_one: usize, is_exempt: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Arc<Places> {
        Arc::new(Places { all, of_one, is_exempt: Box::new(is_exempt), taken: Mutex::default() })
    }

    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let by = (self.of_one > 0 && !is_near(address) && !(self.is_exempt)(address)).then(|| household(address));
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = by.map_or(0, |by| taken.by.get(&by).copied().unwrap_or_default());
        let is_full = taken.all >= self.all;
        if is_full || (by.is_some() && of_one >= self.of_one) {
            if taken.warned_at.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                taken.warned_at = Some(Instant::now());
                let (limit, key) = match is_full {
                    true => (self.all, "limits.connections"),
                    false => (self.of_one, "limits.connections_per_address"),
                };
                warn!(limit, "connections are turned away; {key} in the configuration sets how many there may be");
            }
            return None;
        }
        taken.all += 1;
        if let Some(by) = by {
            *taken.by.entry(by).or_default() += 1;
        }
        Some(Place { places: self.clone(), by })
    }
}

fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(Entry::Occupied(mut count)) = self.by.map(|by| taken.by.entry(by)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Answers on a listener until `stop`, and then lets what is under way end; `tracker` knows of every connection.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    places: Arc<Places>,
    stop: CancellationToken,
    tracker: TaskTracker,
) {
    // Linux's connections have what their listener has: two calls fewer for each.
    let is_inherited = cfg!(target_os = "linux");
    if is_inherited {
        tune(&SockRef::from(&listener));
    }
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        // Who is turned away costs nothing more.
        let Some(place) = places.take(peer.ip()) else { continue };
        if !is_inherited {
            tune(&SockRef::from(&stream));
        }
        tracker.spawn(connection(Held { stream, _place: place }, peer, app.clone(), stop.clone()));
    }
}

async fn connection(stream: Held, peer: SocketAddr, app: Router, stop: CancellationToken) {
    // Whoever says nothing yet has no buffers. The socket itself is asked: `readable` answers for one that has nothing, too.
    let mut first = [0];
    let said_something = timeout(HEAD_DEADLINE, stream.stream().peek(&mut first));
    if !matches!(stop.run_until_cancelled(said_something).await, Some(Ok(Ok(1)))) {
        return;
    }
    // On the heap, so that who is silent has no room for it either.
    Box::pin(speak(stream, peer, app, stop)).await;
}

async fn speak(stream: Held, peer: SocketAddr, app: Router, stop: CancellationToken) {
    let service = service_fn(move |mut request: axum::http::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        app.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_header_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}

/// Small frames leave at once, and a vanished peer is noticed.
fn tune(socket: &SockRef<'_>) {
    let tuned = socket.set_tcp_nodelay(true);
    #[cfg(target_os = "linux")]
    let tuned = tuned.and_then(|()| socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT)));
    if let Err(error) = tuned {
        debug!(%error, "a connection could not be tuned");
    }
}

/// A connection in its place.
pub(crate) struct Held {
    stream: TcpStream,
    _place: Place,
}

impl Held {
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// A connection that takes nobody's place.
    #[cfg(test)]
    pub(crate) fn alone(stream: TcpStream) -> Held {
        let place = Places::new(1, 0, |_| true).take(IpAddr::from([127, 0, 0, 1])).expect("a place");
        Held { stream, _place: place }
    }
}

impl AsyncRead for Held {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// What a peer reads to the end who has said so much and says nothing more, and after what time.
    async fn answer_to(said: &str) -> (String, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        tokio::spawn(serve(listener, app, Places::new(9, 0, |_| true), stop, tracker));
        let mut peer = TcpStream::connect(address).await.expect("a connection");
        peer.write_all(said.as_bytes()).await.expect("said");
        let (start, mut answer) = (tokio::time::Instant::now(), String::new());
        let _ = peer.read_to_string(&mut answer).await;
        (answer, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_end_a_head_or_asks_for_nothing_more_is_left() {
        let deadline = HEAD_DEADLINE..HEAD_DEADLINE + Duration::from_secs(2);
        for said in ["GET / HTTP/1.1\r\nHost: a", ""] {
            let (answer, after) = answer_to(said).await;
            assert!(!answer.contains("here") && deadline.contains(&after), "{said}: {answer} after {after:?}");
        }
        let (answer, after) = answer_to("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answer.contains("here") && deadline.contains(&after), "{answer} after {after:?}");
    }

    #[test]
    fn whoever_says_nothing_takes_no_room() {
        const SILENT: usize = 64;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let tracker = TaskTracker::new();
        let places = Places::new(SILENT, 0, |_| true);
        runtime.spawn(serve(listener, Router::new(), places, CancellationToken::new(), tracker.clone()));
        let peers: Vec<_> = (0..SILENT).map(|_| std::net::TcpStream::connect(address).expect("a connection")).collect();
        let taken = allocation_counter::measure(|| {
            runtime.block_on(async {
                while tracker.len() < SILENT {
                    tokio::task::yield_now().await;
                }
                // Each has been looked at once they have all been accepted.
                for _ in 0..2 * SILENT {
                    tokio::task::yield_now().await;
                }
            });
        });
        let each = taken.bytes_current / SILENT as i64;
        assert!(each < 4096, "{each} bytes each; whoever speaks has two buffers of 8192");
        drop(peers);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_connection_has_what_its_listener_has() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        tune(&SockRef::from(&listener));
        let _peer = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
        let (accepted, _) = listener.accept().await.expect("a connection");
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().expect("known"));
        assert_eq!(socket.tcp_user_timeout().expect("known"), Some(TCP_USER_TIMEOUT));
    }

    #[test]
    fn a_place_is_taken_until_it_is_left() {
        let places = Places::new(2, 0, |_| false);
        let first = places.take(address("192.0.2.1"));
        let second = places.take(address("192.0.2.1"));
        assert!(first.is_some() && second.is_some() && places.take(address("192.0.2.2")).is_none());
        drop(first);
        assert!(places.take(address("192.0.2.2")).is_some());
    }

    #[test]
    fn one_address_leaves_places_for_others() {
        let places = Places::new(20, 2, |address| address == IpAddr::from([192, 0, 2, 9]));
        let take = |text: &str| places.take(address(text));
        let held = [take("192.0.2.1"), take("192.0.2.1"), take("2001:db8::1"), take("2001:db8::2")];
        assert!(held.iter().all(Option::is_some));
        assert!(take("192.0.2.1").is_none() && take("::ffff:192.0.2.1").is_none() && take("2001:db8::3").is_none());
        let proxied =
            ["192.0.2.9", "192.0.2.9", "192.0.2.9", "10.0.0.1", "10.0.0.1", "10.0.0.1", "::1", "::1", "::1"].map(take);
        assert!(proxied.iter().all(Option::is_some), "who speaks for many may");
        drop(held);
        assert!(take("192.0.2.1").is_some());
        assert!(places.taken.lock().expect("whole").by.len() <= 1, "nothing stays of who is gone");
    }
}

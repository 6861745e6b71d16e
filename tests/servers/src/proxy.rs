//! A plain TCP proxy: what a load balancer is to the hosts behind it, and what a bad network is to a connection.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

/// Hands connections to its targets in turn. Whatever is set applies at once, to the connections there are as well.
pub struct Proxy {
    port: u16,
    line: Arc<Line>,
}

#[derive(Default)]
struct Line {
    targets: Vec<String>,
    weather: Mutex<Weather>,
    /// When what is throttled will have left: all connections share the line.
    free_at: Mutex<Option<Instant>>,
    connections: Mutex<Connections>,
    is_over: AtomicBool,
}

#[derive(Clone, Copy, Default)]
struct Weather {
    is_silent: bool,
    delay: Duration,
    bytes_per_sec: Option<usize>,
}

#[derive(Default)]
struct Connections {
    accepted: usize,
    /// Those accepted before this one are forgotten.
    first_known: usize,
    open: Vec<(usize, [TcpStream; 2])>,
}

/// What was read, and when. Empty: the end.
type Chunk = (Instant, Vec<u8>);

const CHUNK_BYTES: usize = 16_384;
/// Enough that a delay limits nobody, and little enough that a sender feels a throttled line.
const CHUNKS_IN_FLIGHT: usize = 1024;
/// What waits looks at the weather this often.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A throttled line sends so many times a second.
const SLICES_PER_SEC: usize = 50;

impl Proxy {
    /// `targets` are addresses like `127.0.0.1:6379`.
    pub fn to(targets: &[&str]) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let targets = targets.iter().map(|target| (*target).to_owned()).collect();
        let line = Arc::new(Line { targets, ..Line::default() });
        let accepting = line.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.is_over.load(Ordering::SeqCst) {
                    return;
                }
                accepting.carry(&client);
            }
        });
        Proxy { port, line }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Cuts every connection there is; new ones pass.
    pub fn cut(&self) {
        for (_, streams) in self.line.connections.lock().unwrap().open.drain(..) {
            hang_up(&streams);
        }
    }

    /// Nothing passes and nobody is told: a cable that is pulled. What is said meanwhile arrives afterwards.
    pub fn silence(&self, is_silent: bool) {
        self.line.weather.lock().unwrap().is_silent = is_silent;
    }

    /// Loses what is under way and whatever will be said on the connections there are. They stay open and nobody is
    /// told: a balancer that forgot them. New ones pass.
    pub fn forget(&self) {
        let mut connections = self.line.connections.lock().unwrap();
        connections.first_known = connections.accepted;
    }

    /// As [`Proxy::forget`], and so with every new connection until that ends: a network that is away and tells nobody.
    pub fn swallow(&self, is_swallowing: bool) {
        let mut connections = self.line.connections.lock().unwrap();
        connections.first_known = if is_swallowing { usize::MAX } else { connections.accepted };
    }

    /// Everything takes this much longer, in either direction: a round trip takes twice as much longer. Order is kept,
    /// and as much passes as before. An end arrives as late as a word; connecting takes no longer.
    pub fn delay(&self, delay: Duration) {
        self.line.weather.lock().unwrap().delay = delay;
    }

    /// So much passes per second from the targets to the clients, over all connections together; `None`: all there is.
    pub fn throttle(&self, bytes_per_sec: Option<usize>) {
        self.line.weather.lock().unwrap().bytes_per_sec = bytes_per_sec;
    }

    /// How many connections are open at this moment.
    pub fn connections(&self) -> usize {
        self.line.connections.lock().unwrap().open.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.line.is_over.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the accepting thread, so that it sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Line {
    fn carry(self: &Arc<Self>, client: &TcpStream) {
        let number = {
            let mut connections = self.connections.lock().unwrap();
            connections.accepted += 1;
            connections.accepted - 1
        };
        let Ok(server) = TcpStream::connect(&self.targets[number % self.targets.len()]) else { return };
        for stream in [client, &server] {
            let _ = stream.set_nodelay(true);
        }
        let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
        self.connections.lock().unwrap().open.push((number, [client_too, server_too]));
        for is_download in [false, true] {
            let (from, to) = if is_download { (&server, client) } else { (client, &server) };
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
            let (sender, chunks) = mpsc::sync_channel(CHUNKS_IN_FLIGHT);
            let line = self.clone();
            thread::spawn(move || line.read(number, from, &sender));
            let line = self.clone();
            thread::spawn(move || line.write(number, to, &chunks, is_download));
        }
    }

    fn read(&self, number: usize, mut from: TcpStream, chunks: &SyncSender<Chunk>) {
        let mut buffer = [0; CHUNK_BYTES];
        loop {
            let length = from.read(&mut buffer).unwrap_or(0);
            let read_at = Instant::now();
            // Who writes on and on into a silent line is to feel it.
            while self.is_silent() {
                thread::sleep(LOOK_EVERY);
            }
            if self.knows(number) && chunks.send((read_at, buffer[..length].to_vec())).is_err() {
                return;
            }
            if length == 0 {
                return;
            }
        }
    }

    fn write(&self, number: usize, mut to: TcpStream, chunks: &Receiver<Chunk>, is_download: bool) {
        while let Ok((read_at, chunk)) = chunks.recv() {
            let was_sent = self.send(number, &mut to, read_at, &chunk, is_download).is_ok();
            if !self.knows(number) {
                // Nobody is told; the reader ends with its stream.
                continue;
            }
            if !was_sent || chunk.is_empty() {
                break;
            }
        }
        let mut connections = self.connections.lock().unwrap();
        if number >= connections.first_known || self.is_over.load(Ordering::SeqCst) {
            connections.open.extract_if(.., |(n, _)| *n == number).for_each(|(_, streams)| hang_up(&streams));
        }
    }

    /// Hands on what was read, when it is its time and as fast as the line is.
    fn send(
        &self,
        number: usize,
        to: &mut TcpStream,
        read_at: Instant,
        mut bytes: &[u8],
        is_download: bool,
    ) -> std::io::Result<()> {
        loop {
            self.wait_for(read_at);
            if bytes.is_empty() || !self.knows(number) {
                return Ok(());
            }
            let throttle = self.weather().bytes_per_sec.filter(|_| is_download);
            let length = throttle.map_or(bytes.len(), |rate| (rate / SLICES_PER_SEC).clamp(1, bytes.len()));
            if let Some(rate) = throttle {
                let now = Instant::now();
                let left_at = {
                    let mut free_at = self.free_at.lock().unwrap();
                    let starts_at = free_at.map_or(now, |at| at.max(now));
                    let left_at = starts_at + Duration::from_secs_f64(length as f64 / rate as f64);
                    *free_at = Some(left_at);
                    left_at
                };
                thread::sleep(left_at - now);
            }
            to.write_all(&bytes[..length])?;
            bytes = &bytes[length..];
        }
    }

    /// Until what was read then may arrive.
    fn wait_for(&self, read_at: Instant) {
        while !self.is_over.load(Ordering::SeqCst) {
            let Weather { is_silent, delay, .. } = self.weather();
            let rest = (read_at + delay).saturating_duration_since(Instant::now());
            if !is_silent && rest.is_zero() {
                return;
            }
            thread::sleep(if is_silent { LOOK_EVERY } else { rest.min(LOOK_EVERY) });
        }
    }

    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap()
    }

    fn is_silent(&self) -> bool {
        self.weather().is_silent && !self.is_over.load(Ordering::SeqCst)
    }

    fn knows(&self, number: usize) -> bool {
        number >= self.connections.lock().unwrap().first_known
    }
}

fn hang_up(streams: &[TcpStream]) {
    for stream in streams {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says everything back, behind a proxy, and a connection to it.
    fn line() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
        let proxy = Proxy::to(&[&address]);
        let client = connect(&proxy);
        (proxy, client)
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address()).unwrap()
    }

    fn echo(mut client: &TcpStream, bytes: &[u8]) -> std::io::Result<Duration> {
        let start = Instant::now();
        client.write_all(bytes)?;
        let mut back = vec![0; bytes.len()];
        client.read_exact(&mut back)?;
        assert_eq!(back, bytes);
        Ok(start.elapsed())
    }

    #[test]
    fn a_delay_counts_either_way_and_lets_as_much_pass() {
        let (proxy, client) = line();
        echo(&client, b"hello").unwrap();
        proxy.delay(Duration::from_millis(100));
        assert!(echo(&client, b"hello").unwrap() >= Duration::from_millis(200));
        let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let reading = client.try_clone().unwrap();
        thread::spawn({
            let (mut client, bytes) = (client, bytes.clone());
            move || client.write_all(&bytes)
        });
        let start = Instant::now();
        let mut back = Vec::new();
        reading.take(2_000_000).read_to_end(&mut back).unwrap();
        assert!(back == bytes, "nothing is lost and order is kept");
        // Each chunk for itself would take 24 seconds.
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[test]
    fn a_throttle_holds_what_comes_down() {
        let (proxy, client) = line();
        proxy.throttle(Some(50_000));
        assert!(echo(&client, &[7; 10_000]).unwrap() >= Duration::from_millis(195));
        proxy.throttle(None);
        echo(&client, &[7; 10_000]).unwrap();
    }

    #[test]
    fn silence_holds_back_and_forgetting_loses() {
        let (proxy, client) = line();
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        echo(&client, b"1").unwrap();
        proxy.silence(true);
        echo(&client, b"2").unwrap_err();
        proxy.silence(false);
        let mut late = [0];
        (&client).read_exact(&mut late).unwrap();
        assert_eq!(&late, b"2");

        proxy.forget();
        echo(&client, b"3").unwrap_err();
        assert_eq!(proxy.connections(), 1, "it stays open");
        echo(&connect(&proxy), b"4").unwrap();

        proxy.cut();
        assert_eq!((&client).read(&mut late).unwrap(), 0);
        assert_eq!(proxy.connections(), 0);
        echo(&connect(&proxy), b"5").unwrap();
    }
}

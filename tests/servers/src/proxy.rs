//! A plain TCP proxy: what a load balancer is to the hosts behind it, and what a bad network is to a connection.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// Hands connections to its targets in turn.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    targets: Mutex<Vec<String>>,
    next: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
    /// Nothing passes, nothing is said: what a cable does when it is pulled.
    is_silent: AtomicBool,
    is_over: AtomicBool,
}

impl Proxy {
    /// `targets` are addresses like `127.0.0.1:6379`.
    pub fn to(targets: &[&str]) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared::default());
        *shared.targets.lock().expect("not poisoned") = targets.iter().map(|target| (*target).to_owned()).collect();
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let target = {
                    let targets = accepting.targets.lock().expect("not poisoned");
                    targets[accepting.next.fetch_add(1, Ordering::SeqCst) % targets.len()].clone()
                };
                let Ok(server) = TcpStream::connect(target) else { continue };
                accepting.carry(&client, &server);
            }
        });
        Proxy { port, shared }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Cuts every connection there is; new ones pass.
    pub fn cut(&self) {
        for stream in self.shared.streams.lock().expect("not poisoned").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// From now on nothing passes and nobody is told.
    pub fn silence(&self, is_silent: bool) {
        self.shared.is_silent.store(is_silent, Ordering::SeqCst);
    }

    pub fn connections(&self) -> usize {
        self.shared.streams.lock().expect("not poisoned").len() / 2
    }
}

impl Shared {
    fn carry(self: &Arc<Self>, client: &TcpStream, server: &TcpStream) {
        for stream in [client, server] {
            let _ = stream.set_nodelay(true);
            self.streams.lock().expect("not poisoned").extend(stream.try_clone());
        }
        for (from, to) in [(client, server), (server, client)] {
            let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
            let shared = self.clone();
            let _ = from.set_read_timeout(Some(Duration::from_millis(100)));
            thread::spawn(move || {
                let mut buffer = [0; 65_536];
                loop {
                    if shared.is_silent.load(Ordering::SeqCst) && !shared.is_over.load(Ordering::SeqCst) {
                        thread::sleep(Duration::from_millis(5));
                        continue;
                    }
                    match from.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(n) => {
                            // What was read while the line went silent is lost with it only if it stays so.
                            while shared.is_silent.load(Ordering::SeqCst) && !shared.is_over.load(Ordering::SeqCst) {
                                thread::sleep(Duration::from_millis(5));
                            }
                            if to.write_all(&buffer[..n]).is_err() {
                                break;
                            }
                        }
                        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                        Err(_) => break,
                    }
                }
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the accepting thread, so that it sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

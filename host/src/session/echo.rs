//! A session that says what it hears, for the tests of the protocol: it reads, writes, answers and leaves as any other.

use streamit_plugin_api::Capabilities;

use super::*;

/// Sessions that take messages as large and as many as there are.
pub(crate) fn echoing(stop: CancellationToken) -> Arc<Sessions> {
    let limits = Limits {
        message_bytes: 64 * 1024 * 1024,
        messages_per_sec: u64::MAX,
        messages_burst: u64::MAX,
        ..Limits::default()
    };
    let metrics = Arc::new(Metrics::new());
    let live = Live::in_memory(Duration::from_secs(300), 10_000, Arc::new(|| 0), metrics.clone());
    Sessions::new(live, Arc::new(|_| Capabilities::default()), limits, metrics, stop, TaskTracker::new())
}

impl Sessions {
    pub(crate) async fn echo(self: Arc<Self>, line: Line, first: Vec<u8>) {
        let mut session = Session::new(self, line, first);
        let end = session.say_it_again().await;
        session.leave(end).await;
    }
}

impl Session {
    async fn say_it_again(&mut self) -> End {
        loop {
            let message = match self.next_message().await {
                Ok(message) => message,
                Err(end) => return end,
            };
            let frame = self.reader.frame(message);
            if let Err(end) = self.send(frame).await {
                return end;
            }
        }
    }
}

mod tests {
    use tokio::{
        io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex, split},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::server::Held;

    /// Nothing takes this long, unless it never happens.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Says all that to a session, which answers and hangs up, and only then waits for the client to do the same.
    async fn hears(
        sessions: &Arc<Sessions>,
        line: Line,
        mut client: impl AsyncRead + AsyncWrite + Unpin,
        said: &[u8],
    ) -> Vec<u8> {
        let session = tokio::spawn(sessions.clone().echo(line, Vec::new()));
        let (mut from, mut to) = split(&mut client);
        let mut heard = Vec::new();
        let (_, read) = tokio::join!(to.write_all(said), timeout(PATIENCE, from.read_to_end(&mut heard)));
        read.expect("the session hangs up").expect("no reset");
        assert!(!session.is_finished(), "what is on its way to it is not thrown back");
        drop(client);
        session.await.expect("no panic");
        heard
    }

    #[tokio::test]
    async fn who_says_what_cannot_be_read_hears_why_before_the_end() {
        let sessions = echoing(CancellationToken::new());
        let much = [0x55; 300_000];
        let head = |first: u8, length: u8| vec![first, 0x80 | length, 0, 0, 0, 0];
        let too_big = [0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let wrong = [
            ("no such kind of frame", [head(0x83, 0), much.into()].concat(), 1002),
            ("no UTF-8", [head(0x81, 1), vec![0xff], much.into()].concat(), 1007),
            ("too big", [&too_big[..], &much].concat(), 1009),
            ("a goodbye of one byte", [head(0x88, 1), vec![3]].concat(), 1002),
            ("a goodbye without UTF-8", [head(0x88, 3), vec![0x03, 0xe8, 0xff]].concat(), 1007),
        ];
        for (what, said, code) in wrong {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let address = listener.local_addr().expect("an address");
            let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            let line = Line::over_tcp(Held::alone(accepted.expect("accepted").0));
            let over_tcp = hears(&sessions, line, client.expect("connected"), &said).await;
            let (here, there) = duplex(1024);
            let elsewhere = hears(&sessions, Line::over(there), here, &said).await;
            for heard in [over_tcp, elsewhere] {
                assert_eq!((heard[0], u16::from_be_bytes([heard[2], heard[3]])), (0x88, code), "{what}");
                assert_eq!(heard.len(), 2 + usize::from(heard[1]), "{what}: nothing follows");
            }
        }
    }
}

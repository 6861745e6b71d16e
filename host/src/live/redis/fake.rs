//! A server that speaks just enough of Redis to be used, and then says what a test wants.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::*;

struct Fake {
    port: u16,
    /// What connections answer to scripts, each from its first word on: as a server does that has become another.
    says: Arc<Mutex<HashMap<usize, String>>>,
    accepted: Arc<AtomicUsize>,
}

impl Fake {
    async fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let (says, accepted) = (Arc::<Mutex<HashMap<_, _>>>::default(), Arc::<AtomicUsize>::default());
        let (known, counted) = (says.clone(), accepted.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer(stream, number, known.clone()));
            }
        });
        Fake { port, says, accepted }
    }

    /// From now on the connections there are lead to a server that says this; new ones lead to one that can be used.
    fn become_wrong(&self, error: &str) {
        let mut says = self.says.lock().expect("whole");
        says.extend((0..self.accepted.load(Ordering::SeqCst)).map(|number| (number, format!("-{error}\r\n"))));
    }
}

async fn answer(stream: TcpStream, number: usize, says: Arc<Mutex<HashMap<usize, String>>>) {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    while let Some(command) = read(&mut from).await {
        let said = says.lock().expect("whole").get(&number).cloned();
        let words: Vec<_> = command.iter().map(|word| String::from_utf8_lossy(word)).collect();
        let reply = match (&*words[0], said) {
            ("HELLO", _) => "%1\r\n$5\r\nproto\r\n:3\r\n".to_owned(),
            ("TIME", _) => "*2\r\n$10\r\n1790000000\r\n$1\r\n0\r\n".to_owned(),
            ("SSUBSCRIBE", _) => format!(">3\r\n$10\r\nssubscribe\r\n${}\r\n{}\r\n:1\r\n", words[1].len(), words[1]),
            ("EVAL" | "EVALSHA", Some(error)) => error,
            ("EVAL", None) => ":1\r\n".to_owned(),
            // There is no such room.
            ("EVALSHA", None) => "*7\r\n:-1\r\n:1790000000000\r\n$0\r\n\r\n$0\r\n\r\n:0\r\n:0\r\n:0\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        };
        if to.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A command: its words, each after its length.
async fn read(from: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    for _ in 0..number(from, '*').await? {
        let mut word = vec![0; number(from, '$').await? + 2];
        from.read_exact(&mut word).await.ok()?;
        word.truncate(word.len() - 2);
        words.push(word);
    }
    Some(words)
}

async fn number(from: &mut (impl AsyncBufReadExt + Unpin), sign: char) -> Option<usize> {
    let mut line = String::new();
    from.read_line(&mut line).await.ok()?;
    line.strip_prefix(sign)?.trim().parse().ok()
}

/// A failover behind one address: the line still leads to the server that was, and that one still answers.
#[tokio::test]
async fn a_server_that_says_it_is_not_the_one_is_left_for_whoever_is_there_now() {
    for error in [
        "READONLY You can't write against a read only replica.",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "CLUSTERDOWN The cluster is down",
    ] {
        let fake = Fake::start().await;
        let url = format!("redis://127.0.0.1:{}", fake.port);
        let config = config::Redis { url: config::RedisUrls::One(url), ..config::Redis::default() };
        let connected = Redis::connect(&config, Duration::from_secs(300), None, Arc::default(), |_| {}).await;
        let redis = connected.expect("it can be used");
        let code = "K7QM2X".parse().expect("a code");
        assert_eq!(redis.read(code).await.err(), Some(LiveError::UnknownRoom), "it answers");
        fake.become_wrong(error);
        let refused = redis.read(code).await.err();
        assert!(matches!(refused, Some(LiveError::Unavailable(_))), "{error}: {refused:?}");
        let usable = async {
            while redis.read(code).await.err() != Some(LiveError::UnknownRoom) || redis.check().await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), usable).await.expect(error);
    }
}

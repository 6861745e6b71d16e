//! Files and pages over plain HTTP.

use std::fs;

use reqwest::Method;

use crate::harness::{App, BUNDLED, browser::Browser, film};

#[tokio::test]
async fn a_media_file_is_served_in_ranges() {
    let app = App::start().await;
    let file = fs::read(app.path("media/clock.webm")).unwrap();
    assert!(fs::metadata(film::bundled()).unwrap().len() < 1_000_000, "the bundled clip is small");
    let response = app.raw(Method::GET, "/media/clock.webm").header("range", "bytes=100-199").send().await.unwrap();
    assert_eq!(response.status().as_u16(), 206);
    assert_eq!(response.headers()["content-type"], "video/webm");
    assert_eq!(response.headers()["content-range"], format!("bytes 100-199/{}", file.len()));
    assert_eq!(response.bytes().await.unwrap(), file[100..200]);
    let beyond = app.raw(Method::GET, "/media/clock.webm").header("range", "bytes=99999999-").send().await.unwrap();
    assert_eq!(beyond.status().as_u16(), 416);
}

/// What is copied over a file keeps its place on the disk.
#[tokio::test]
async fn a_file_that_is_written_over_is_not_mixed_with_what_it_was() {
    let app = App::start().await;
    let (path, bytes) = (app.path("media/long.webm"), 64 << 20);
    fs::write(&path, vec![b'a'; bytes]).unwrap();
    let mut answer = app.raw(Method::GET, "/media/long.webm").send().await.unwrap();
    let mut came = answer.chunk().await.unwrap().unwrap().to_vec();
    let over = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::io::Write::write_all(&mut &over, &vec![b'b'; bytes]).unwrap();
    let broke = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => came.extend_from_slice(&chunk),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broke && came.len() < bytes && came.iter().all(|byte| *byte == b'a'), "{} bytes, {broke}", came.len());

    // One that grows is what it was, and more.
    let mut answer = app.raw(Method::GET, "/media/long.webm").send().await.unwrap();
    let mut came = answer.chunk().await.unwrap().unwrap().len();
    let more = fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut &more, b"more").unwrap();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        came += chunk.len();
    }
    assert_eq!(came, bytes);
}

#[tokio::test]
async fn nothing_outside_the_media_folder_is_served() {
    let app = App::start().await;
    for path in [
        "/media/../config/streamit.toml",
        "/media/%2e%2e/config/streamit.toml",
        "/media/..%2fconfig/streamit.toml",
        "/media/nothing.webm",
        "/media/",
        "/media",
    ] {
        // Written by hand: a client would tidy the path up.
        let address = app.url.strip_prefix("http://").unwrap();
        let answer = raw_get(address, path).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
}

async fn raw_get(address: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_file_that_is_swapped_is_another_file() {
    let app = App::start().await;
    let first = app.get("/media/clock.webm").await;
    assert_eq!(first.headers["cache-control"], "no-cache");
    let ask = async |name: &str, value: &str| {
        let request = app.raw(Method::GET, "/media/clock.webm").header("range", "bytes=0-9").header(name, value);
        request.send().await.unwrap().status().as_u16()
    };
    let etag = first.headers["etag"].to_str().unwrap();
    assert_eq!(ask("if-range", etag).await, 206);
    assert_eq!(ask("if-range", first.headers["last-modified"].to_str().unwrap()).await, 206);
    assert_eq!(ask("if-none-match", &format!("\"x\", W/{etag}")).await, 304);
    assert_eq!(ask("if-match", etag).await, 206);
    let modified = first.headers["last-modified"].to_str().unwrap();
    assert_eq!(ask("if-unmodified-since", modified).await, 206);
    assert_eq!(ask("if-unmodified-since", "Fri, 13 Feb 2009 23:31:30 GMT").await, 412);
    fs::write(app.path("media/new"), vec![7; 5000]).unwrap();
    fs::rename(app.path("media/new"), app.path("media/clock.webm")).unwrap();
    assert_eq!(ask("if-range", etag).await, 200, "parts of two files never mix");
    assert_eq!(ask("if-none-match", etag).await, 206);
    let other = app.raw(Method::GET, "/media/clock.webm").header("if-match", etag).send().await.unwrap();
    assert_eq!(other.status().as_u16(), 412);
    assert_eq!(other.headers()["content-type"], "application/problem+json");
}

#[cfg(unix)]
#[tokio::test]
async fn only_files_that_lie_in_the_folder_are_served_and_nothing_hangs() {
    use std::os::unix::fs::symlink;
    let app = App::start().await;
    let media = |name: &str| app.path("media").join(name);
    fs::create_dir(media("films")).unwrap();
    fs::write(media("films/one.txt"), "one").unwrap();
    fs::write(media(".hidden"), "no").unwrap();
    fs::create_dir(media(".git")).unwrap();
    fs::write(media(".git/config"), "no").unwrap();
    symlink(app.path("config/streamit.toml"), media("outside.toml")).unwrap();
    symlink("/", media("root")).unwrap();
    symlink("films/one.txt", media("inside.txt")).unwrap();
    symlink(".hidden", media("shown.txt")).unwrap();
    symlink(".git", media("films/git")).unwrap();
    symlink("../.git/config", media("films/config")).unwrap();
    symlink("loop.txt", media("loop.txt")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(media("pipe.webm")).status().unwrap().success());
    for name in [
        "films",
        "films/",
        ".hidden",
        ".git/config",
        "outside.toml",
        "shown.txt",
        "films/git/config",
        "films/config",
        "root/etc/hostname",
        "loop.txt",
        "pipe.webm",
        "%ff",
        "a%00b",
        "films/one.txt/more",
        "films//one.txt%2f",
        &"x".repeat(300),
    ] {
        let answer = app.get(&format!("/media/{name}")).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (404, "not_found"), "{name}");
    }
    assert_eq!(app.get("/media/inside.txt").await.status.as_u16(), 200);
    let refused = app.raw(Method::DELETE, "/media/films/one.txt").send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 405);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    let head = app.raw(Method::HEAD, "/media/films/one.txt").send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "3"));
    assert!(!app.log().contains("ERROR"), "{}", app.log());
}

#[tokio::test]
async fn odd_names_are_files_like_any_other() {
    let app = App::start().await;
    let clip = fs::read(app.path("media/clock.webm")).unwrap();
    for name in ["Alien: Covenant.webm", "what? #1 100%.webm", "back\\slash.webm", "größe & 映画.webm"] {
        fs::write(app.path("media").join(name), &clip).unwrap();
        let url = app.resolve("mp4", name).await.body["embed_url"].as_str().unwrap().to_owned();
        assert_eq!(app.get(&url).await.status.as_u16(), 200, "{name} is at {url}");
    }
    fs::write(app.path("media/empty.webm"), "").unwrap();
    assert_eq!(app.get("/media/empty.webm").await.status.as_u16(), 200);
    let part = app.raw(Method::GET, "/media/empty.webm").header("range", "bytes=0-").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.headers()["content-range"].to_str().unwrap()), (416, "bytes */0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_opened_by_its_address_plays() {
    let app = App::start().await;
    let browser = Browser::start();
    let window = browser.window().await;
    window.goto(&format!("{}/media/clock.webm", app.url)).await;
    window.until("document.querySelector('video')?.readyState >= 2").await;
    window.close().await;
}

#[tokio::test]
async fn a_page_among_the_media_files_gets_no_rights() {
    let app = App::start().await;
    fs::write(app.path("media/evil.html"), "<script>alert(1)</script>").unwrap();
    let answer = app.get("/media/evil.html").await;
    assert!(answer.headers["content-security-policy"].to_str().unwrap().starts_with("sandbox"));
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn pages_may_frame_only_what_ready_providers_declare() {
    let policy = async |app: &App| {
        let answer = app.get("/r/K7QM2X").await;
        assert_eq!(answer.headers["referrer-policy"], "strict-origin-when-cross-origin");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["x-frame-options"], "SAMEORIGIN");
        answer.headers["content-security-policy"].to_str().unwrap().to_owned()
    };
    let app = App::start().await;
    let all = policy(&app).await;
    assert!(all.contains("script-src 'self' 'sha256-") && all.contains("object-src 'none'"), "{all}");
    assert!(
        all.contains(
            "frame-src 'self' https://player.vimeo.com https://www.vidking.net https://www.youtube-nocookie.com;"
        ),
        "{all}"
    );
    let app = App::with("[providers.vimeo]\n[providers.youtube]\nenabled = false\n").await;
    let one = policy(&app).await;
    assert!(one.contains("frame-src https://player.vimeo.com;"), "{one}");
    let app = App::with("").await;
    assert!(policy(&app).await.contains("frame-src 'none';"));
}

#[tokio::test]
async fn pages_are_sent_again_only_when_they_changed() {
    let app = App::with(BUNDLED).await;
    for path in ["/", "/r/K7QM2X", "/assets/room.js", "/assets/style.css", "/bridge/v1.js"] {
        let answer = app.get(path).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}");
        let etag = answer.headers["etag"].clone();
        let again = app.raw(Method::GET, path).header("if-none-match", etag).send().await.unwrap();
        assert_eq!(again.status().as_u16(), 304, "{path}");
    }
    assert_eq!(app.get("/assets/home.html").await.status.as_u16(), 404);
}

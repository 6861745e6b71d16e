//! Files and pages over plain HTTP.

use std::fs;

use reqwest::Method;

use crate::harness::{App, BUNDLED};

#[tokio::test]
async fn a_media_file_is_served_in_ranges() {
    let app = App::start().await;
    let file = fs::read(app.path("media/clock.webm")).unwrap();
    assert!(file.len() < 1_000_000, "the bundled clip is small");
    let response = app.raw(Method::GET, "/media/clock.webm").header("range", "bytes=100-199").send().await.unwrap();
    assert_eq!(response.status().as_u16(), 206);
    assert_eq!(response.headers()["content-type"], "video/webm");
    assert_eq!(response.headers()["content-range"], format!("bytes 100-199/{}", file.len()));
    assert_eq!(response.bytes().await.unwrap(), file[100..200]);
    let beyond = app.raw(Method::GET, "/media/clock.webm").header("range", "bytes=99999999-").send().await.unwrap();
    assert_eq!(beyond.status().as_u16(), 416);
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
    assert!(all.contains("script-src 'self';") && all.contains("object-src 'none'"), "{all}");
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

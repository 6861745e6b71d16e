//! The operator's own video files: in ranges, with a validator, and nothing but files below one folder.

mod folder;
mod list;
mod listings;
mod names;
mod subtitles;

use std::{
    fs::{File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    body::{Body, Bytes},
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, stream::try_unfold};
use tokio::task::spawn_blocking;
use tracing::warn;

pub(super) use self::list::{list, tracks};
use self::listings::Listings;
use super::{
    conditional::is_known,
    error::{Error, ErrorCode},
};
use crate::config;

/// Read and sent at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The folder of the operator's files.
pub struct MediaFolder {
    dir: PathBuf,
    /// Whether people may see what there is.
    is_listed: bool,
    listings: Listings,
}

impl MediaFolder {
    pub fn new(config: &config::Media) -> MediaFolder {
        MediaFolder { dir: config.dir.clone(), is_listed: config.list, listings: Listings::new() }
    }
}

pub(super) async fn file(
    State(media): State<Arc<MediaFolder>>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let not_found = || Error::new(ErrorCode::NotFound, "there is no such file in the media folder");
    let Path(name) = path.map_err(|_| not_found())?;
    let is_converted = uri.query() == Some("as=vtt") && subtitles::is_srt(&name);
    let (file, about, kind) = match blocking(move || open(&media.dir, &name)).await {
        Ok(Some(found)) => found,
        Ok(None) => return Err(not_found()),
        Err(error) => return Err(unreadable(&error)),
    };
    if is_converted {
        return as_vtt(file, &about, &headers).await;
    }
    answer(file, &about, kind, &headers)
}

/// The file of that name with what is known about it; nothing if it is none, hidden, or not below the folder.
fn open(dir: &FilePath, name: &str) -> io::Result<Option<(File, Metadata, HeaderValue)>> {
    if name.is_empty() || name.ends_with('/') {
        return Ok(None);
    }
    let Some(path) = folder::resolve(dir, name)? else { return Ok(None) };
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    // A pipe that nobody writes to would be waited for.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if folder::is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let about = file.metadata()?;
    let kind = mime_guess::from_path(name).first_raw().unwrap_or("application/octet-stream");
    Ok(about.is_file().then_some((file, about, HeaderValue::from_static(kind))))
}

/// Subtitles in the one form that browsers take, whole.
async fn as_vtt(file: File, about: &Metadata, headers: &HeaderMap) -> Result<Response, Error> {
    let modified = about.modified().unwrap_or(UNIX_EPOCH);
    let etag = format!("{}-vtt\"", etag(about, modified).trim_end_matches('"'));
    let mut head = HeaderMap::new();
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    head.insert(header::ETAG, text(&etag));
    if is_known(headers, &etag, about.modified().ok())? {
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    let read = || {
        let mut srt = Vec::new();
        file.take(subtitles::MAX_BYTES + 1).read_to_end(&mut srt).map(|_| srt)
    };
    let srt = blocking(read).await.map_err(|error| unreadable(&error))?;
    if srt.len() as u64 > subtitles::MAX_BYTES {
        return Err(Error::new(ErrorCode::NotFound, "this file is too long for subtitles"));
    }
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/vtt; charset=utf-8"));
    Ok((head, subtitles::to_vtt(&srt)).into_response())
}

fn unreadable(error: &io::Error) -> Error {
    warn!(%error, "a media file cannot be read");
    Error::new(ErrorCode::Unavailable, "this file cannot be read right now")
}

fn answer(mut file: File, about: &Metadata, kind: HeaderValue, headers: &HeaderMap) -> Result<Response, Error> {
    let bytes = about.len();
    let modified = about.modified().unwrap_or(UNIX_EPOCH);
    let etag = etag(about, modified);
    let mut head = HeaderMap::new();
    head.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    head.insert(header::ETAG, text(&etag));
    head.insert(header::LAST_MODIFIED, text(&httpdate::fmt_http_date(modified)));
    if !is_played(&kind) {
        // A page or a picture with a script in it gets no rights on this origin.
        let inert = "sandbox; default-src 'none'; style-src 'unsafe-inline'";
        head.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(inert));
    }
    if is_known(headers, &etag, about.modified().ok())? {
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    let range = match headers.get(header::RANGE).filter(|_| is_same(headers, &etag, modified)) {
        None => Wanted::All,
        Some(range) => wanted(range, bytes),
    };
    let (status, from, length) = match range {
        Wanted::All => (StatusCode::OK, 0, bytes),
        Wanted::Part { from, to } => {
            head.insert(header::CONTENT_RANGE, text(&format!("bytes {from}-{to}/{bytes}")));
            (StatusCode::PARTIAL_CONTENT, from, to - from + 1)
        }
        Wanted::Nothing => {
            let detail = format!("the file has {bytes} bytes, and none of them is in that range");
            let mut refused = Error::new(ErrorCode::RangeNotSatisfiable, detail).into_response();
            refused.headers_mut().insert(header::CONTENT_RANGE, text(&format!("bytes */{bytes}")));
            return Ok(refused);
        }
    };
    if from > 0 {
        let sought = file.seek(SeekFrom::Start(from));
        sought.map_err(|_| Error::new(ErrorCode::Unavailable, "this file cannot be read right now"))?;
    }
    head.insert(header::CONTENT_TYPE, kind);
    head.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok((status, head, Body::from_stream(chunks(file, about, length))).into_response())
}

/// The next bytes of a file. If they may be of what somebody has written over it meanwhile, the answer breaks off: nobody gets
/// a part of the one and a part of the other. A file that only grows is still what it was.
fn chunks(file: File, about: &Metadata, length: u64) -> impl Stream<Item = io::Result<Bytes>> + use<> {
    let (bytes, modified) = (about.len(), about.modified().ok());
    try_unfold((file, length), move |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = move || {
            let mut chunk = vec![0; usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES)];
            let read = file.read(&mut chunk)?;
            chunk.truncate(read);
            let now = file.metadata()?;
            if read == 0 || (now.modified().ok() != modified && now.len() <= bytes) {
                return Err(io::Error::other("the file was written over while it was sent"));
            }
            Ok(Some((Bytes::from(chunk), (file, left - read as u64))))
        };
        blocking(read).await
    })
}

/// Waits for a disk where nobody else waits for it.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(run).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Says which file this is, byte for byte: another file of the same name, or one that was written to, has another.
fn etag(about: &Metadata, modified: SystemTime) -> String {
    let nanos = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    #[cfg(unix)]
    let file = std::os::unix::fs::MetadataExt::ino(about);
    #[cfg(not(unix))]
    let file = 0;
    format!("\"{file:x}-{:x}-{nanos:x}\"", about.len())
}

/// What a browser plays, and never runs.
fn is_played(kind: &HeaderValue) -> bool {
    let kind = kind.to_str().unwrap_or_default();
    ["video/", "audio/", "text/vtt"].iter().any(|played| kind.starts_with(played))
}

/// Whether the parts that somebody has are of this file: If-Range, if it is there, is its ETag or its date.
fn is_same(headers: &HeaderMap, etag: &str, modified: SystemTime) -> bool {
    let Some(seen) = headers.get(header::IF_RANGE) else { return true };
    let seen = seen.to_str().unwrap_or_default();
    seen == etag || seen == httpdate::fmt_http_date(modified)
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    /// Both bytes included.
    Part {
        from: u64,
        to: u64,
    },
    /// There is no such part.
    Nothing,
}

/// What of a file of so many bytes is wanted. Several parts, another unit and what is no range at all mean all of it.
fn wanted(range: &HeaderValue, bytes: u64) -> Wanted {
    let read = || {
        let (unit, range) = range.to_str().ok()?.split_once('=')?;
        let (first, last) = range.trim().split_once('-')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            // Whatever does not fit into a number is beyond every file.
            is_number.then(|| text.parse().unwrap_or(u64::MAX))
        };
        let (from, to) = match (first.trim(), last.trim()) {
            ("", last) => (bytes.saturating_sub(number(last)?), u64::MAX),
            (first, "") => (number(first)?, u64::MAX),
            (first, last) => (number(first)?, number(last)?),
        };
        if to < from {
            return None;
        }
        let is_there = from < bytes;
        Some(if is_there { Wanted::Part { from, to: to.min(bytes - 1) } } else { Wanted::Nothing })
    };
    read().unwrap_or(Wanted::All)
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("digits, letters and signs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_the_standard_says() {
        let part = |from, to| Wanted::Part { from, to };
        for (range, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=10-19", part(10, 19)),
            ("bytes=10-", part(10, 99)),
            ("bytes=10-1000", part(10, 99)),
            ("bytes=10-99999999999999999999999", part(10, 99)),
            ("bytes=-5", part(95, 99)),
            ("bytes=-500", part(0, 99)),
            ("BYTES = 1-2", part(1, 2)),
            ("bytes=100-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=0-1,5-6", Wanted::All),
            ("lines=0-1", Wanted::All),
            ("bytes=5-1", Wanted::All),
            ("bytes=", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("0-1", Wanted::All),
        ] {
            assert_eq!(wanted(&HeaderValue::from_static(range), 100), expected, "{range}");
        }
        assert_eq!(wanted(&HeaderValue::from_static("bytes=0-"), 0), Wanted::Nothing);
        assert_eq!(wanted(&HeaderValue::from_static("bytes=-5"), 0), Wanted::Nothing);
    }
}

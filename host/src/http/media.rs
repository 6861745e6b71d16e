//! The operator's own video files: in ranges, with a validator, and nothing but files below one folder.

use std::{
    fs::Metadata,
    io,
    path::{Component, Path as FilePath, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, SeekFrom},
};
use tokio_util::io::ReaderStream;
use tracing::warn;

use super::{
    conditional::is_known,
    error::{Error, ErrorCode},
};
use crate::config::Config;

/// Read and sent at once.
const CHUNK_BYTES: usize = 64 * 1024;

pub(super) async fn file(
    State(config): State<Arc<Config>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let not_found = || Error::new(ErrorCode::NotFound, "there is no such file in the media folder");
    let Path(name) = path.map_err(|_| not_found())?;
    let folder = config.media.dir.clone();
    let found = tokio::task::spawn_blocking(move || open(&folder, &name)).await;
    let (file, about, kind) = match found.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(Some(found)) => found,
        Ok(None) => return Err(not_found()),
        Err(error) => {
            warn!(%error, "a media file cannot be read");
            return Err(Error::new(ErrorCode::Unavailable, "this file cannot be read right now"));
        }
    };
    answer(file.into(), &about, kind, &headers).await
}

/// The file of that name with what is known about it; nothing if it is none, hidden, or not below the folder.
fn open(folder: &FilePath, name: &str) -> io::Result<Option<(std::fs::File, Metadata, HeaderValue)>> {
    let relative = PathBuf::from(name);
    let is_plain =
        |part: Component<'_>| matches!(part, Component::Normal(part) if !part.to_string_lossy().starts_with('.'));
    if name.is_empty() || name.ends_with('/') || name.contains('\0') || !relative.components().all(is_plain) {
        return Ok(None);
    }
    let is_missing = |error: &io::Error| {
        use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound, PermissionDenied};
        matches!(error.kind(), NotFound | NotADirectory | InvalidFilename | PermissionDenied) || is_loop(error)
    };
    let resolved = folder.canonicalize().and_then(|folder| Ok((folder.join(&relative).canonicalize()?, folder)));
    let path = match resolved {
        // A link may lead to anywhere below the folder that could be named.
        Ok((path, folder)) if path.strip_prefix(&folder).is_ok_and(|below| below.components().all(is_plain)) => path,
        Ok(_) => return Ok(None),
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    // A pipe that nobody writes to would be waited for.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let about = file.metadata()?;
    let kind = mime_guess::from_path(&relative).first_raw().unwrap_or("application/octet-stream");
    Ok(about.is_file().then_some((file, about, HeaderValue::from_static(kind))))
}

/// Links that lead round in a circle.
fn is_loop(error: &io::Error) -> bool {
    #[cfg(unix)]
    return error.raw_os_error() == Some(libc::ELOOP);
    #[cfg(not(unix))]
    return false;
}

async fn answer(mut file: File, about: &Metadata, kind: HeaderValue, headers: &HeaderMap) -> Result<Response, Error> {
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
        let sought = file.seek(SeekFrom::Start(from)).await;
        sought.map_err(|_| Error::new(ErrorCode::Unavailable, "this file cannot be read right now"))?;
    }
    head.insert(header::CONTENT_TYPE, kind);
    head.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK_BYTES));
    Ok((status, head, body).into_response())
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

//! Providers' assets over HTTP: each for ever under its hash, compressed for whoever takes that. Nothing is copied.

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    conditional::is_known,
    error::{Error, ErrorCode},
    providers::find,
};
use crate::providers::Providers;

/// What an asset may do that is a document, or a worker, of its own: what the page that brings it may at least. It is kept for
/// ever, so nothing is in it that a configuration can change; a worker that fetches from elsewhere is one of the page's (`blob:`).
const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; object-src 'none'; base-uri 'none'; \
                      frame-ancestors 'self'";

pub(super) async fn asset(
    State(providers): State<Providers>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let not_found = || {
        let detail =
            "the provider has no such file, or another one by now; GET /api/v1/providers/{id} names those it has";
        Error::new(ErrorCode::NotFound, detail)
    };
    let Path((id, hash, name)) = path.map_err(|_| not_found())?;
    let provider = find(&providers, &id)?;
    let asset = provider.description().and_then(|description| description.assets.find(&hash, &name));
    let asset = asset.ok_or_else(not_found)?;

    let gzip = asset.gzip.as_ref().filter(|_| takes_gzip(&headers));
    let encoding = if gzip.is_some() { "-gzip" } else { "" };
    let etag = format!("\"{hash}{encoding}\"");
    let mut head = HeaderMap::new();
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    head.insert(header::ETAG, HeaderValue::from_str(&etag).expect("hexadecimal digits in quotes"));
    head.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if is_known(&headers, &etag, None)? {
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    head.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    if gzip.is_some() {
        head.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let body = gzip.unwrap_or(&asset.plain).clone();
    Ok((head, body).into_response())
}

/// Whether the answer may be compressed, by RFC 9110, 12.5.3: nobody who does not ask for it gets it.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let mut anything = false;
    for entry in lines.flat_map(|line| line.split(',')) {
        let (coding, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        let weight = parameters.trim().to_ascii_lowercase();
        let is_wanted = weight.strip_prefix("q=").is_none_or(|q| q.trim().parse::<f32>().is_ok_and(|q| q > 0.0));
        match coding.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => return is_wanted,
            "*" => anything = is_wanted,
            _ => {}
        }
    }
    anything
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_for_gzip_gets_it() {
        let asked = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            takes_gzip(&headers)
        };
        for lines in [
            &["gzip"][..],
            &["gzip, deflate, br, zstd"],
            &["br;q=1.0, GZIP;q=0.5"],
            &["deflate", "x-gzip"],
            &["*"],
            &["identity;q=0.5, *;q=0.1"],
            &["gzip ; q=1"],
        ] {
            assert!(asked(lines), "{lines:?}");
        }
        for lines in [
            &[][..],
            &[""],
            &["identity"],
            &["br"],
            &["gzip;q=0"],
            &["gzip;q=0.0, *"],
            &["*;q=0"],
            &["gzipped"],
            &["gzip;q=nonsense"],
        ] {
            assert!(!asked(lines), "{lines:?}");
        }
    }
}

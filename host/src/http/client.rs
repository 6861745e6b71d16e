//! Who is asking: address, origin, host key, and the query and the JSON it sent; and answers that are not to be kept.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    body::Bytes,
    extract::{ConnectInfo, FromRequest, FromRequestParts, OptionalFromRequestParts, Path, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use ipnet::IpNet;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;
use tracing::warn;

use super::{
    AppState,
    error::{Error, ErrorCode, FieldError},
};
use crate::{config, lobby::LobbyError, rooms::RoomCode};

/// A body has a few hundred bytes.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// The address a request comes from, through the proxies that are trusted.
pub(super) struct Address(pub(super) IpAddr);

impl FromRequestParts<AppState> for Address {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Error> {
        let peer = <ConnectInfo<SocketAddr> as FromRequestParts<AppState>>::from_request_parts(parts, state).await;
        let peer = peer.map(|ConnectInfo(peer)| peer.ip()).unwrap_or(IpAddr::from([0, 0, 0, 0])).to_canonical();
        Ok(Address(forwarded(&parts.headers, peer, &state.config.server.trusted_proxies)))
    }
}

/// Answers a guess, right or wrong; to whoever has made too many wrong ones, neither. Every code and key that somebody
/// names comes by here after it was looked at, and before anything is said or done.
pub(super) fn judge(state: &AppState, address: IpAddr, is_right: bool) -> Result<bool, Error> {
    let judged = state.guesses.judge(address, is_right, Instant::now());
    judged.map_err(|wait| Error::rate_limited("unknown codes, wrong keys and failing ids", wait))
}

/// What a code led to: see [`judge`].
pub(super) fn found<T>(state: &AppState, address: IpAddr, found: Result<T, LobbyError>) -> Result<T, Error> {
    let found = found.map_err(Error::from);
    let is_unknown = found.as_ref().is_err_and(|error| error.code() == ErrorCode::RoomNotFound);
    judge(state, address, !is_unknown)?;
    found
}

/// Whoever has named too many rooms that do not exist, keys that are not a room's, or ids that make a plugin fail, waits
/// before they name another: what they are told then does not depend on what they name. And a node that was held up finds in
/// its sockets what nobody waits for any more: no change of that is carried out.
pub(super) async fn guarded(
    State(state): State<AppState>,
    Address(address): Address,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    if !request.method().is_safe() && state.sessions.may_read_old() {
        return Err(Error::held_up());
    }
    // Nothing is looked up for them, either.
    judge(&state, address, true)?;
    let response = next.run(request).await;
    if let Some(ErrorCode::ProviderFailed) = response.extensions().get() {
        judge(&state, address, false)?;
    }
    Ok(response)
}

/// The last address in X-Forwarded-For that no trusted proxy added: anything before it may be made up.
fn forwarded(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let mut address = peer;
    let lines = headers.get_all("x-forwarded-for");
    let hops: Vec<&[u8]> = lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).collect();
    for hop in hops.iter().rev() {
        if !trusted.iter().any(|network| network.contains(&address)) {
            break;
        }
        let Some(hop) = std::str::from_utf8(hop).ok().and_then(hop_address) else { break };
        address = hop;
    }
    address
}

/// An address as proxies write it: bare, in brackets, with a port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = || hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop).parse().ok();
    let address: IpAddr = hop.parse::<SocketAddr>().map(|hop| hop.ip()).ok().or_else(bare)?;
    Some(address.to_canonical())
}

/// The key in `Authorization: Bearer …`.
pub(super) struct BearerKey(pub(super) String);

impl<S: Sync> FromRequestParts<S> for BearerKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let detail = "send the room's host key as `Authorization: Bearer <host_key>`";
        let key = bearer(&parts.headers).map(|key| BearerKey(key.to_owned()));
        key.ok_or_else(|| Error::new(ErrorCode::HostKeyRequired, detail))
    }
}

/// What is shown in `Authorization: Bearer …`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// The room code in the path. A text that is none names no room.
pub(super) struct Code(pub(super) RoomCode);

impl<S: Send + Sync> FromRequestParts<S> for Code {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let name = Name::from_request_parts(parts, state).await;
        let code = name.ok().and_then(|Name(code)| code.parse().ok());
        let detail = "a room code has six letters or digits, without 0, 1, I, L, O and U";
        code.map(Code).ok_or_else(|| Error::new(ErrorCode::RoomNotFound, detail))
    }
}

/// The part of a path that names something. A text that is none names nothing.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = <Path<String> as FromRequestParts<S>>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Name(name)).map_err(|_| Error::new(ErrorCode::NotFound, "this address is not UTF-8"))
    }
}

/// An answer that is true at this moment only.
pub(super) fn no_store<T: Serialize>(body: T) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(body))
}

/// What stands behind the question mark; what is wrong with it is said.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        let axum::extract::Query(query) =
            query.map_err(|error| Error::new(ErrorCode::InvalidRequest, error.body_text()))?;
        Ok(Query(query))
    }
}

/// A JSON body; what is wrong with it is said with its place.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = content_type.is_some_and(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        });
        if !is_json {
            return Err(Error::new(ErrorCode::InvalidRequest, "send the body as `Content-Type: application/json`"));
        }
        let body = timeout(BODY_DEADLINE, Bytes::from_request(request, state)).await;
        let late = |_| Error::new(ErrorCode::InvalidRequest, "the body did not arrive in time");
        let bytes = body.map_err(late)?.map_err(|rejection| {
            let is_too_large = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
            let code = if is_too_large { ErrorCode::PayloadTooLarge } else { ErrorCode::InvalidRequest };
            Error::new(code, format!("the body cannot be read: {}", rejection.body_text()))
        })?;
        let mut deserializer = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let cause = error.inner();
            if !cause.is_data() {
                return Error::new(ErrorCode::InvalidRequest, format!("the body is not JSON: {cause}"));
            }
            let path = error.path().to_string();
            let field = path.rsplit('.').find(|part| !part.is_empty()).unwrap_or("body").to_owned();
            let message = cause.to_string();
            let message = message.split(" at line ").next().unwrap_or_default().to_owned();
            Error::invalid(vec![FieldError { field, kind: "format", message }])
        })?;
        deserializer
            .end()
            .map_err(|error| Error::new(ErrorCode::InvalidRequest, format!("the body is not JSON: {error}")))?;
        Ok(Json(value))
    }
}

/// The site whose page is asking. Present only if a browser says so; other programs have no site.
pub(super) struct Origin(String);

impl<S: Sync> OptionalFromRequestParts<S> for Origin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Error> {
        let origin = parts.headers.get(header::ORIGIN);
        // An origin that is not text is still an origin, and no site's.
        Ok(origin.map(|value| Origin(value.to_str().unwrap_or("null").to_ascii_lowercase())))
    }
}

impl Origin {
    /// Whether it is this host's own, as asked for, or one the operator named.
    pub(super) fn is_allowed(&self, headers: &HeaderMap, config: &config::Server) -> bool {
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_own = self.0.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
        let is_public = config.public_url.as_ref().is_some_and(|url| url.origin == self.0);
        is_own || is_public || config.allowed_origins.contains(&self.0)
    }
}

/// Whose pages were refused: the operator is told of each once, for it may be their own address, misspelt.
#[derive(Debug, Default)]
pub struct ForeignOrigins(Mutex<HashSet<String>>);

/// Anybody can send an origin.
const MAX_ORIGINS: usize = 64;

impl ForeignOrigins {
    pub(super) fn warn_once(&self, Origin(origin): &Origin) {
        if self.is_new(origin) {
            warn!(
                %origin,
                "a page's socket was refused: its origin is not the address it asked for. If it is this server's own, a proxy \
                 changes the Host header: set server.public_url; if it is another site's, server.allowed_origins"
            );
        }
    }

    fn is_new(&self, origin: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The operator's own may come after any number of those that somebody made up.
        if told.len() >= MAX_ORIGINS {
            told.clear();
        }
        told.insert(origin.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn an_origin_is_told_once_and_whatever_strangers_make_up_hides_none() {
        let foreign = ForeignOrigins::default();
        assert!(foreign.is_new("https://own.example") && !foreign.is_new("https://own.example"));
        for n in 0..1_000 {
            assert!(foreign.is_new(&format!("https://{n}.example")));
        }
        assert!(foreign.0.lock().expect("whole").len() <= MAX_ORIGINS);
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let [proxy, near, far, peer] = [1, 2, 3, 9].map(|n| IpAddr::from([10, 0, 0, n]));
        let only = |addresses: &[IpAddr]| addresses.iter().map(|address| IpNet::from(*address)).collect::<Vec<_>>();
        let mut headers = HeaderMap::new();
        let mut say = |value: &[u8]| {
            headers.insert("x-forwarded-for", HeaderValue::from_bytes(value).expect("a value"));
            headers.clone()
        };
        let two = say(b"10.0.0.3, 10.0.0.2");
        assert_eq!(forwarded(&two, peer, &[]), peer);
        assert_eq!(forwarded(&two, proxy, &only(&[proxy])), near);
        assert_eq!(forwarded(&two, proxy, &only(&[proxy, near])), far);
        assert_eq!(forwarded(&two, proxy, &["10.0.0.0/30".parse().expect("a network")]), far);
        for (hop, address) in [
            ("10.0.0.2:4711", "10.0.0.2"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
            ("::ffff:10.0.0.2", "10.0.0.2"),
        ] {
            assert_eq!(forwarded(&say(hop.as_bytes()), proxy, &only(&[proxy])).to_string(), address, "{hop}");
        }
        // What cannot be read ends the chain there; what is nearer still counts.
        assert_eq!(forwarded(&say(b"garbage"), proxy, &only(&[proxy])), proxy);
        assert_eq!(forwarded(&say(b"10.0.0.3\xff, 10.0.0.2"), proxy, &only(&[proxy])), near);
    }

    #[test]
    fn a_foreign_origin_is_not_allowed() {
        let config = config::Server {
            public_url: Some("https://example.org/watch".parse().expect("an address")),
            allowed_origins: vec!["https://app.example".into()],
            ..config::Server::default()
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "watch.example:8080".parse().expect("a value"));
        let allowed = |origin: &str| Origin(origin.to_ascii_lowercase()).is_allowed(&headers, &config);
        assert!(allowed("http://watch.example:8080") && allowed("https://WATCH.example:8080"));
        assert!(allowed("https://app.example") && allowed("https://example.org"));
        for bad in [
            "http://watch.example",
            "https://evil.example",
            "null",
            "",
            "http://watch.example:8080.evil.example",
            "http://example.org",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }
}

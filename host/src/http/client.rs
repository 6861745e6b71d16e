//! Who is asking: address, origin, host key, and the JSON it sent.

use std::net::{IpAddr, SocketAddr};

use axum::{
    body::Bytes,
    extract::{ConnectInfo, FromRequest, FromRequestParts, OptionalFromRequestParts, Path, Request},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{
    AppState,
    error::{Error, ErrorCode, FieldError},
};
use crate::{config, rooms::RoomCode};

/// The address a request comes from, through the proxies that are trusted.
pub(super) struct Address(pub(super) IpAddr);

impl FromRequestParts<AppState> for Address {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Error> {
        let peer = <ConnectInfo<SocketAddr> as FromRequestParts<AppState>>::from_request_parts(parts, state).await;
        let peer = peer.map(|ConnectInfo(peer)| peer.ip()).unwrap_or(IpAddr::from([0, 0, 0, 0]));
        Ok(Address(forwarded(&parts.headers, peer, &state.config.server.trusted_proxies)))
    }
}

/// The last address in X-Forwarded-For that no trusted proxy added: anything before it may be made up.
fn forwarded(headers: &HeaderMap, peer: IpAddr, trusted: &[IpAddr]) -> IpAddr {
    let mut address = peer;
    let lines = headers.get_all("x-forwarded-for");
    let chain: Vec<&str> =
        lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).collect();
    for hop in chain.iter().rev() {
        if !trusted.contains(&address) {
            break;
        }
        let Ok(hop) = hop.trim().parse() else { break };
        address = hop;
    }
    address
}

/// The key in `Authorization: Bearer …`.
pub(super) struct BearerKey(pub(super) String);

impl<S: Sync> FromRequestParts<S> for BearerKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let value = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = value.and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
        });
        let detail = "send the room's host key as `Authorization: Bearer <host_key>`";
        key.map(BearerKey).ok_or_else(|| Error::new(ErrorCode::HostKeyRequired, detail))
    }
}

/// The room code in the path. A text that is none names no room.
pub(super) struct Code(pub(super) RoomCode);

impl<S: Send + Sync> FromRequestParts<S> for Code {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = <Path<String> as FromRequestParts<S>>::from_request_parts(parts, state).await;
        let code = path.ok().and_then(|Path(code)| code.parse().ok());
        let detail = "a room code has six letters or digits, without 0, 1, I, L, O and U";
        code.map(Code).ok_or_else(|| Error::new(ErrorCode::RoomNotFound, detail))
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
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            Error::new(ErrorCode::PayloadTooLarge, format!("the body cannot be read: {}", rejection.body_text()))
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
        is_own || config.public_url.as_deref() == Some(&self.0) || config.allowed_origins.contains(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let [proxy, near, far, peer] = [1, 2, 3, 9].map(|n| IpAddr::from([10, 0, 0, n]));
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "10.0.0.3, 10.0.0.2".parse().expect("a value"));
        assert_eq!(forwarded(&headers, peer, &[]), peer);
        assert_eq!(forwarded(&headers, proxy, &[proxy]), near);
        assert_eq!(forwarded(&headers, proxy, &[proxy, near]), far);
        headers.insert("x-forwarded-for", "garbage".parse().expect("a value"));
        assert_eq!(forwarded(&headers, proxy, &[proxy]), proxy);
    }

    #[test]
    fn a_foreign_origin_is_not_allowed() {
        let config =
            config::Server { allowed_origins: vec!["https://app.example".into()], ..config::Server::default() };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "watch.example:8080".parse().expect("a value"));
        let allowed = |origin: &str| Origin(origin.to_ascii_lowercase()).is_allowed(&headers, &config);
        assert!(allowed("http://watch.example:8080") && allowed("https://WATCH.example:8080"));
        assert!(allowed("https://app.example"));
        for bad in
            ["http://watch.example", "https://evil.example", "null", "", "http://watch.example:8080.evil.example"]
        {
            assert!(!allowed(bad), "{bad}");
        }
    }
}

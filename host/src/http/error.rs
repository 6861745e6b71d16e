//! What a client is told when something goes wrong: a closed list of codes, as `application/problem+json`.

use std::time::Duration;

use axum::{
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use streamit_plugin_api::Rejection;
use tracing::{error, warn};

use crate::{live::LiveError, lobby::LobbyError, providers::ProviderError, rooms::RoomError, session::BACKLOG};

/// Every `code` there is. Clients may rely on them; the sentences beside them may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ErrorCode {
    NotFound,
    RangeNotSatisfiable,
    PreconditionFailed,
    RoomNotFound,
    ProviderNotFound,
    MethodNotAllowed,
    InvalidRequest,
    InvalidMedia,
    UnknownLink,
    RefusedLink,
    PayloadTooLarge,
    HostKeyRequired,
    BadHostKey,
    PrivateProvider,
    ForeignOrigin,
    UpgradeRequired,
    RateLimited,
    ProviderNotReady,
    ProviderFailed,
    Unavailable,
}

impl ErrorCode {
    fn status(self) -> StatusCode {
        use ErrorCode::*;
        match self {
            NotFound | RoomNotFound | ProviderNotFound => StatusCode::NOT_FOUND,
            RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
            PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            InvalidRequest => StatusCode::BAD_REQUEST,
            InvalidMedia | UnknownLink | RefusedLink => StatusCode::UNPROCESSABLE_ENTITY,
            PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            HostKeyRequired => StatusCode::UNAUTHORIZED,
            BadHostKey | PrivateProvider | ForeignOrigin => StatusCode::FORBIDDEN,
            UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ProviderNotReady | Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ProviderFailed => StatusCode::BAD_GATEWAY,
        }
    }

    fn title(self) -> &'static str {
        use ErrorCode::*;
        match self {
            NotFound => "There is nothing at this address",
            RangeNotSatisfiable => "There is no such part of the file",
            PreconditionFailed => "This is not what was asked for",
            RoomNotFound => "There is no such room",
            ProviderNotFound => "There is no such provider",
            MethodNotAllowed => "This address does not take this method",
            InvalidRequest => "The request is not well formed",
            InvalidMedia => "This cannot be played",
            UnknownLink => "This address is nobody's here",
            RefusedLink => "This address leads to nothing that a room can play",
            PayloadTooLarge => "The request is too large",
            HostKeyRequired => "Only the room's host may do this",
            BadHostKey => "This key is not the room's",
            PrivateProvider => "This is told to those who are in a room",
            ForeignOrigin => "This site may not connect here",
            UpgradeRequired => "This address speaks WebSocket",
            RateLimited => "Too many requests",
            ProviderNotReady => "The provider is not ready",
            ProviderFailed => "The provider failed",
            Unavailable => "The server cannot do this right now",
        }
    }
}

/// An error on its way to a client.
#[derive(Debug)]
pub(super) struct Error {
    code: ErrorCode,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
}

/// One field that is wrong.
#[derive(Debug, Serialize)]
pub(super) struct FieldError {
    pub(super) field: String,
    pub(super) kind: &'static str,
    pub(super) message: String,
}

impl Error {
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Error { code, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    pub(super) fn code(&self) -> ErrorCode {
        self.code
    }

    /// Where a list is to go on cannot be read.
    pub(super) fn unknown_cursor() -> Self {
        Error::new(ErrorCode::InvalidRequest, "cursor: use the next_cursor of an earlier answer")
    }

    pub(super) fn rate_limited(what: &str, wait: Duration) -> Self {
        let detail = format!("too many {what} from this address; try again in {} s", wait.as_secs() + 1);
        Error { retry_after: Some(wait), ..Error::new(ErrorCode::RateLimited, detail) }
    }

    pub(super) fn held_up() -> Self {
        let detail =
            "this node stood still until just now, so this may be an old request; it was not carried out: ask again";
        Error { retry_after: Some(BACKLOG), ..Error::new(ErrorCode::Unavailable, detail) }
    }

    /// One or more fields of the request are wrong.
    pub(super) fn invalid(errors: Vec<FieldError>) -> Self {
        let sentences: Vec<_> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        Error { errors, ..Error::new(ErrorCode::InvalidMedia, sentences.join("; ")) }
    }

    pub(super) fn field(field: &str, kind: &'static str, message: impl Into<String>) -> Self {
        Error::invalid(vec![FieldError { field: field.into(), kind, message: message.into() }])
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Problem<'a> {
            r#type: &'static str,
            title: &'static str,
            status: u16,
            detail: &'a str,
            code: ErrorCode,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            errors: Vec<FieldError>,
        }
        let status = self.code.status();
        let problem = Problem {
            r#type: "about:blank",
            title: self.code.title(),
            status: status.as_u16(),
            detail: &self.detail,
            code: self.code,
            errors: self.errors,
        };
        let body = serde_json::to_vec(&problem).expect("plain data");
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json"), (header::CACHE_CONTROL, "no-store")], body)
                .into_response();
        response.extensions_mut().insert(self.code);
        if let ErrorCode::UpgradeRequired = self.code {
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        }
        response
    }
}

impl From<LobbyError> for Error {
    fn from(cause: LobbyError) -> Self {
        match cause {
            LobbyError::NotFound => Error::new(ErrorCode::RoomNotFound, "no open room has this code"),
            LobbyError::Room(cause) => {
                error!(error = %cause, source = ?std::error::Error::source(&cause), "rooms cannot be read or written");
                let words = match cause {
                    RoomError::Unanswered => {
                        "the database did not answer in time; this may have been done all the same"
                    }
                    _ => "rooms cannot be read or written right now; try again",
                };
                Error::new(ErrorCode::Unavailable, words)
            }
            LobbyError::Live(LiveError::UnknownRoom | LiveError::Closed) => {
                Error::new(ErrorCode::RoomNotFound, "the room has just been closed")
            }
            LobbyError::Live(cause) => {
                warn!(error = %cause, "live state cannot be read or written");
                let words = match cause {
                    LiveError::Unanswered => "live rooms did not answer in time; this may have been done all the same",
                    _ => "live rooms cannot be reached right now; try again",
                };
                Error::new(ErrorCode::Unavailable, words)
            }
        }
    }
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        use streamit_plugin_api::ProblemKind;
        let errors = rejection.problems().iter().map(|problem| FieldError {
            field: problem.field.as_str().into(),
            kind: match problem.kind {
                ProblemKind::Missing => "missing",
                ProblemKind::Format => "format",
                ProblemKind::Range => "range",
                ProblemKind::Unsupported => "unsupported",
                ProblemKind::Other => "other",
            },
            message: problem.message.clone(),
        });
        Error::invalid(errors.collect())
    }
}

impl From<ProviderError> for Error {
    fn from(cause: ProviderError) -> Self {
        match cause {
            ProviderError::Unknown(_) => Error::field("provider", "unsupported", cause.to_string()),
            ProviderError::NotReady { ref id, .. } => {
                Error::new(ErrorCode::ProviderNotReady, format!("the provider `{id}` is not ready; choose another"))
            }
            ProviderError::Rejected(rejection) => rejection.into(),
            ProviderError::Resting { ref id, left, .. } => {
                let detail = format!("the provider `{id}` is failing and left alone for a moment; try again");
                Error { retry_after: Some(left), ..Error::new(ErrorCode::ProviderNotReady, detail) }
            }
            // The plugin's own words are in the log; a viewer could do nothing with them.
            ProviderError::Failed { ref id, .. } => {
                Error::new(ErrorCode::ProviderFailed, format!("the provider `{id}` failed to derive a URL"))
            }
            ProviderError::FailedBefore { ref id, left, .. } => {
                let detail = format!("the provider `{id}` failed to derive a URL for this, and is not asked again yet");
                Error { retry_after: Some(left), ..Error::new(ErrorCode::ProviderFailed, detail) }
            }
        }
    }
}

pub(super) async fn not_found(uri: Uri) -> Error {
    Error::new(ErrorCode::NotFound, format!("nothing is at {}", uri.path()))
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Error {
    Error::new(ErrorCode::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
}

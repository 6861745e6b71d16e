//! What a provider is to everybody else: what its file says, how it is, and why there may be no URL.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use indexmap::Equivalent;
use serde::Serialize;
use streamit_plugin_api::{Manifest, Media, Rejection};

use super::assets::Assets;

/// What a provider's file says about itself.
#[derive(Clone, Debug)]
pub struct Description {
    pub manifest: Arc<Manifest>,
    pub version: String,
    pub toolchain: String,
    pub sha256: String,
    pub bridge: Bytes,
    /// The first half of the bridge's SHA-256: its address changes when it does.
    pub bridge_hash: String,
    /// What the bridge needs beside itself, and what former bridges needed.
    pub assets: Assets,
}

/// Whether a provider answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ready,
    /// Turned off in the configuration.
    Disabled,
    /// Its file or its configuration cannot be used.
    Refused,
    /// The host did not survive loading it last time.
    Quarantined,
    /// It failed too often, and is left alone for a while.
    Resting,
}

/// Why there is no URL.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("no provider `{0}` is configured")]
    Unknown(String),
    #[error("the provider `{id}` is not ready: {reason}")]
    NotReady { id: String, reason: String },
    #[error("{0}")]
    Rejected(Rejection),
    /// It mostly fails, and is not asked for a while.
    #[error("the provider `{id}` is left alone for another {left:.1?}: {reason}")]
    Resting { id: String, reason: String, left: Duration },
    #[error("the provider `{id}` failed: {reason}")]
    Failed { id: String, reason: String },
    /// It was not asked again so soon.
    #[error("the provider `{id}` failed for this a moment ago, and is asked again in {left:.1?}: {reason}")]
    FailedBefore { id: String, reason: String, left: Duration },
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ready => "ready",
            Status::Disabled => "disabled",
            Status::Refused => "refused",
            Status::Quarantined => "quarantined",
            Status::Resting => "resting",
        }
    }
}

/// An identity that is looked up and not kept.
pub(super) struct Asked<'a>(pub(super) &'a Media<'a>);

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Media<'static>> for Asked<'_> {
    fn equivalent(&self, known: &Media<'static>) -> bool {
        self.0 == known
    }
}

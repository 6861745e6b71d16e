//! The trait an author implements, and the two ways it can say no.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::Media;

/// A video provider: configuration in, identity → URL out.
///
/// The host creates one value per configuration and calls [`embed_url`](Provider::embed_url) from any thread, several
/// at once. It is ordinary Rust: unit tests call it directly, without building a library.
pub trait Provider: Sized + Send + Sync + 'static {
    /// What the operator may write in `[providers.<id>] config = { … }`. Use `#[serde(deny_unknown_fields)]`, or
    /// [`NoConfig`] when there is nothing to configure.
    type Config: DeserializeOwned;

    /// Checks the configuration and builds the provider. Called once per load; it must not touch network or disk.
    ///
    /// # Errors
    /// Name the key and say what you expect there: the text is shown to the operator as it is.
    fn new(config: Self::Config) -> Result<Self, ConfigError>;

    /// The URL that plays this media, or why there is none.
    ///
    /// **An identity is valid exactly when this returns a URL.** A pure function of configuration and `media`: no I/O,
    /// no blocking, no clock; the host keeps the answer and asks again only after a reload. At most 2,048 bytes, on one
    /// of the manifest's `embed_origins`, without render parameters (the page appends those).
    ///
    /// # Errors
    /// A [`Rejection`] names each field that is wrong.
    fn embed_url(&self, media: &Media<'_>) -> Result<String, Rejection>;
}

/// For providers without configuration: accepts an empty table and names any key found in it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Which part of an identity a [`Problem`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Movie or tv.
    MediaType,
    /// The provider's id for the work.
    ExternalId,
    /// The season number.
    Season,
    /// The episode number.
    Episode,
}

impl Field {
    /// The field's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Field::MediaType => "media_type",
            Field::ExternalId => "external_id",
            Field::Season => "season",
            Field::Episode => "episode",
        }
    }

    /// The field of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Field> {
        [Field::MediaType, Field::ExternalId, Field::Season, Field::Episode].into_iter().find(|f| f.as_str() == name)
    }
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// It is needed and not there.
    Missing,
    /// It is not written the way this provider writes it.
    Format,
    /// It is well written but outside what exists.
    Range,
    /// This provider has no such thing.
    Unsupported,
    /// Anything else; the message says it.
    Other,
}

/// One field that is wrong, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The field.
    pub field: Field,
    /// The kind of mistake.
    pub kind: ProblemKind,
    /// What is expected, for the person who typed it; at most 1,024 bytes reach them.
    pub message: String,
}

/// Why an identity has no URL: one or more [`Problem`]s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    problems: Vec<Problem>,
}

impl Rejection {
    /// One problem with one field.
    pub fn new(field: Field, kind: ProblemKind, message: impl Into<String>) -> Self {
        Rejection { problems: vec![Problem { field, kind, message: message.into() }] }
    }

    /// The field is needed and not there.
    pub fn missing(field: Field, message: impl Into<String>) -> Self {
        Self::new(field, ProblemKind::Missing, message)
    }

    /// The field is not written the way this provider writes it.
    pub fn format(field: Field, message: impl Into<String>) -> Self {
        Self::new(field, ProblemKind::Format, message)
    }

    /// The field is well written but outside what exists.
    pub fn range(field: Field, message: impl Into<String>) -> Self {
        Self::new(field, ProblemKind::Range, message)
    }

    /// This provider has no such thing.
    pub fn unsupported(field: Field, message: impl Into<String>) -> Self {
        Self::new(field, ProblemKind::Unsupported, message)
    }

    /// Both at once, so that a viewer can mend every field in one go.
    #[must_use]
    pub fn and(mut self, other: Rejection) -> Self {
        self.problems.extend(other.problems);
        self
    }

    /// Every problem, in the order found.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl<M: Into<String>> FromIterator<(Field, ProblemKind, M)> for Rejection {
    fn from_iter<I: IntoIterator<Item = (Field, ProblemKind, M)>>(problems: I) -> Self {
        let problems =
            problems.into_iter().map(|(field, kind, message)| Problem { field, kind, message: message.into() });
        Rejection { problems: problems.collect() }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", problem.field.as_str(), problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejection {}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    key: String,
    message: String,
}

impl ConfigError {
    /// `key` as the operator wrote it (`"base_url"`); `message` says what is expected there.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        ConfigError { key: key.into(), message: message.into() }
    }

    /// The key that is wrong; empty when the configuration as a whole is.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is expected there.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "config: {}", self.message),
            key => write!(f, "config.{key}: {}", self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

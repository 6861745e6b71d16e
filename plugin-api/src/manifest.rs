//! `provider.toml`: everything about a provider that is data. It sits in the library as static bytes, so a host reads
//! it without running any plugin code.

mod places;
pub mod settings;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, fmt};

use serde::{Deserialize, Serialize};

use self::places::is_origin;
pub use self::places::{config_key, config_place, is_fetch_origin};
use crate::{
    Capabilities, Field, Media, MediaType, Provider,
    links::{self, Link, LinkExample, Links},
};

/// A parsed and checked `provider.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The manifest's own version: 1.
    pub schema: u32,
    /// What rooms store and operators write: `^[a-z][a-z0-9-]{1,31}$`.
    pub id: String,
    /// What people read.
    pub name: String,
    /// What it can play; at least one.
    pub media_types: Vec<MediaType>,
    /// Whether the player reports play, pause and seek.
    pub supports_events: bool,
    /// Whether the player reports its position.
    pub supports_progress: bool,
    /// What the player can be told to do.
    pub capabilities: Capabilities,
    /// How its ids look.
    pub external_id: ExternalId,
    /// How its player is put into a page and moved.
    pub player: Player,
    /// Whether its URLs are told to those who are in a room that plays them, and to nobody else: for URLs with a key in them.
    #[serde(default)]
    pub private: bool,
    /// Keys of its configuration that are shown to nobody, beside those whose names say so already, like `token`.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// What a front end may append to the URL when it renders the player.
    #[serde(default)]
    pub render_params: Vec<RenderParam>,
    /// Golden cases: this identity gives exactly this URL. At least one.
    #[serde(default)]
    pub examples: Vec<Example>,
    /// Golden cases: this identity is refused, for this field.
    #[serde(default)]
    pub rejects: Vec<Reject>,
    /// Which addresses are its own, and the identity in each. The first rule whose identity has a URL wins.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Golden cases: what this address means. At least one with an identity, if there are rules that find any.
    #[serde(default)]
    pub link_examples: Vec<LinkExample>,
}

/// How a provider's ids look: what a form shows, and checks before it asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalId {
    /// The form field's label.
    pub label: String,
    /// A regular expression for the whole id, in the subset JavaScript and Rust share.
    pub pattern: String,
    /// An id that works.
    pub example: String,
}

/// How the player lives in a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Player {
    /// How a viewer's player can be moved.
    pub control: Control,
    /// Every URL is on one of these origins: `https://host[:port]`, or `{config.key}` for those the operator names, one or a
    /// list of them; `{config.key?}` where there may be none.
    pub embed_origins: Vec<String>,
    /// Where those lead on to, written in the same way: a page lets frames and media come from there too, and no URL of the
    /// provider's may be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirect_origins: Vec<String>,
    /// The frame's permission policy: `autoplay`, or with whom it is shared, `autoplay *` or `autoplay https://cdn.example`.
    #[serde(default)]
    pub allow: Vec<String>,
    /// The frame's sandbox flags; absent: no sandbox attribute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Vec<String>>,
    /// Below this difference a correction costs more than it gives.
    pub drift_ms: u32,
    /// Corrections come at most this often.
    pub cooldown_ms: u32,
    /// Where the bridge fetches from, beside this host: `https://host[:port]`, `https://*.site.example` for any name below that
    /// one, or `{config.key}` for the place or places that the operator names there, if any.
    #[serde(default)]
    pub connect_origins: Vec<String>,
    /// Whether the bridge starts workers from texts of its own (`blob:`). Those that are assets need no word.
    #[serde(default)]
    pub worker: bool,
    /// How the player's speed can be set at best; absent: as the bridge says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Whether what it plays is a stream without an end, where the bridge does not say.
    #[serde(default)]
    pub live: bool,
    /// What the page is told, and everybody can read there: any values, with `{config.key}` as a whole text or inside one for
    /// what the operator's configuration has. See [`settings`].
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub settings: toml::Table,
}

/// How a player's speed can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rate {
    /// To any value near 1: it can be held to the room within milliseconds.
    Free,
    /// To some values only.
    Steps,
    /// Not at all.
    None,
}

/// How a viewer's player can be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Control {
    /// It takes play, pause and seek.
    Commands,
    /// It only takes a new URL.
    Reload,
    /// It cannot be moved.
    None,
}

/// A query parameter that front ends may append; the server never sees one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenderParam {
    /// As in the URL.
    pub name: String,
    /// What it holds.
    pub kind: ParamKind,
    /// What a `choice` is among, as in the URL and as people read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Where it applies; empty: everywhere.
    #[serde(default)]
    pub media_types: Vec<MediaType>,
    /// One line for people.
    pub about: String,
    /// The bridge sets it by itself; front ends offer no control for it.
    #[serde(default)]
    pub managed: bool,
}

/// What a render parameter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamKind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// Six hexadecimal digits, without `#`.
    HexColor,
    /// Any text.
    Text,
    /// One of its `choices`.
    Choice,
}

/// A golden case: this identity gives exactly this URL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The identity.
    pub media: Media<'static>,
    /// Its URL.
    pub url: String,
    /// The configuration it holds under; absent: the operator's.
    pub config: Option<toml::Table>,
}

/// A golden case: this identity is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reject {
    /// The identity.
    pub media: Media<'static>,
    /// The field that must be among the problems.
    pub field: Field,
    /// The configuration it holds under; absent: the operator's.
    pub config: Option<toml::Table>,
}

/// Everything wrong with a manifest, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError(Vec<String>);

impl ManifestError {
    /// One line per problem, each naming its key or line.
    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for ManifestError {}

/// The keywords a frame's `sandbox` and `allow` attributes are made of, so that a manifest cannot write an attribute.
fn is_keyword(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

/// A permission, and with whom the frame may share it: `autoplay`, `autoplay *`, `fullscreen 'self' https://cdn.example`.
fn is_permission(text: &str) -> bool {
    let mut words = text.split(' ');
    let is_shared = |word: &str| matches!(word, "*" | "'self'" | "'src'" | "'none'") || is_origin(word);
    words.next().is_some_and(is_keyword) && words.all(is_shared)
}

fn are_choices(choices: &[String]) -> bool {
    let mut seen = HashSet::new();
    let is_one = |choice: &String| (1..=64).contains(&choice.len()) && !choice.chars().any(char::is_control);
    !choices.is_empty() && choices.iter().all(|choice| is_one(choice) && seen.insert(choice))
}

/// Whether `text` is a provider id: `^[a-z][a-z0-9-]{1,31}$`.
pub fn is_provider_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    (2..=32).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

impl Manifest {
    /// Parses and checks a manifest.
    ///
    /// # Errors
    /// A syntax or type error alone, with its line; otherwise every rule that is broken, at once.
    pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
        let manifest: Manifest = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            ManifestError(vec![format!("line {line}: {}", error.message().trim())])
        })?;
        let problems = manifest.problems();
        if problems.is_empty() { Ok(manifest) } else { Err(ManifestError(problems)) }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        check(self.schema == 1, format!("schema: {} is not known here; this is schema 1", self.schema));
        check(is_provider_id(&self.id), format!("id: `{}` must match ^[a-z][a-z0-9-]{{1,31}}$", self.id));
        check(!self.name.trim().is_empty() && self.name.len() <= 64, "name: must have 1 to 64 bytes".into());
        check(!self.media_types.is_empty(), "media_types: name at least one of \"movie\", \"tv\"".into());
        let label = self.external_id.label.trim();
        check(!label.is_empty(), "external_id.label: must not be empty".into());
        check(!self.external_id.example.is_empty(), "external_id.example: must not be empty".into());

        check(!self.player.embed_origins.is_empty(), "player.embed_origins: name at least one origin".into());
        for (key, origins) in
            [("embed_origins", &self.player.embed_origins), ("redirect_origins", &self.player.redirect_origins)]
        {
            for (n, origin) in origins.iter().enumerate() {
                let expected = "expected \"https://host\" without a path, or \"{config.key}\"";
                let holds = config_place(origin).is_some() || is_origin(origin);
                check(holds, format!("player.{key}[{n}]: `{origin}`: {expected}"));
            }
        }
        for (n, origin) in self.player.connect_origins.iter().enumerate() {
            let expected =
                "expected \"https://host\" or \"https://*.site.example\" without a path, or \"{config.key}\"";
            let holds = config_place(origin).is_some() || is_fetch_origin(origin);
            check(holds, format!("player.connect_origins[{n}]: `{origin}`: {expected}"));
        }
        for permission in &self.player.allow {
            let problem = "is not a permission's name, alone or with `*`, 'self', 'src', 'none' or origins after it";
            check(is_permission(permission), format!("player.allow: `{permission}` {problem}"));
        }
        for keyword in self.player.sandbox.iter().flatten() {
            check(is_keyword(keyword), format!("player.sandbox: `{keyword}` is not a sandbox flag"));
        }
        let mut names = HashSet::new();
        for param in &self.render_params {
            let name = &param.name;
            let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
            check(plain, format!("render_params: `{name}` is not a plain parameter name"));
            check(names.insert(name), format!("render_params: `{name}` is there twice"));
            let is_choice = param.kind == ParamKind::Choice;
            let problem =
                if is_choice { "a choice needs some, each once, of 1 to 64 bytes" } else { "only a choice has those" };
            check(
                if is_choice { are_choices(&param.choices) } else { param.choices.is_empty() },
                format!("render_params: `{name}`: choices: {problem}"),
            );
        }
        check(!self.examples.is_empty(), "examples: give at least one identity with its URL".into());
        problems.extend(settings::problems(&self.player.settings, &self.secrets));
        problems.extend(links::problems(&self.links, &self.link_examples));
        problems
    }

    /// Runs the golden cases against a provider as plain Rust: an author's first unit test.
    ///
    /// Cases without a `config` of their own run under an empty one.
    ///
    /// # Errors
    /// One line per case that came out differently, with what was expected and what came.
    pub fn check_examples<P: Provider>(&self) -> Result<(), String> {
        let provider = |config: &Option<toml::Table>| -> Result<P, String> {
            let config = toml::Value::Table(config.clone().unwrap_or_default());
            let config: P::Config = config.try_into().map_err(|error| format!("config: {error}"))?;
            P::new(config).map_err(|error| error.to_string())
        };
        let mut failures = Vec::new();
        for Example { media, url, config } in &self.examples {
            match provider(config).and_then(|p| p.embed_url(media).map_err(|rejection| rejection.to_string())) {
                Ok(came) if came == *url => {}
                Ok(came) => failures.push(format!("{media}: expected {url}, came {came}")),
                Err(error) => failures.push(format!("{media}: expected {url}, came: {error}")),
            }
        }
        for Reject { media, field, config } in &self.rejects {
            match provider(config).map(|p| p.embed_url(media)) {
                Ok(Err(rejection)) if rejection.problems().iter().any(|p| p.field == *field) => {}
                came => failures.push(format!("{media}: expected a rejection of {}, came {came:?}", field.as_str())),
            }
        }
        for example in &self.link_examples {
            let config = example.config.clone().unwrap_or_default();
            let held = provider(&example.config).and_then(|provider| {
                let links = Links::new(&self.links, &config)?;
                example.check(&links, |media| Ok(provider.embed_url(media)))
            });
            failures.extend(held.err());
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
    }
}

//! # Write a StreamIt provider
//!
//! A provider teaches StreamIt one kind of video: how its ids look, which URL plays them, what its player can do and
//! how a page drives it. It is a crate of three files, built into one library that an operator drops into a folder:
//!
//! ```text
//! provider.toml   what can be said as data: names, id pattern, origins, capabilities, links, golden examples
//! src/lib.rs      identity → URL
//! bridge.js       the player in the browser, behind a small HTMLMediaElement-like object
//! ```
//!
//! What the bridge needs beside itself (a player's library, WebAssembly, styles) goes into the library too: [`assets`].
//! What its page is told of the operator's configuration, the manifest names: [`manifest::settings`]. A provider of files on
//! the operator's own server has their addresses from [`files`].
//!
//! `streamit plugin new acme` writes such a crate, which builds and passes `streamit plugin check` as it is; the guide in
//! the repository's `plugins/README.md` goes on from there. `Cargo.toml` needs `crate-type = ["cdylib"]` and this crate;
//! `src/lib.rs` is this:
//!
//! ```
//! #![forbid(unsafe_code)]
//! use streamit_plugin_api::{ConfigError, Field, Media, NoConfig, Provider, Rejection, Shape};
//!
//! struct AcmeProvider;
//!
//! impl Provider for AcmeProvider {
//!     type Config = NoConfig;
//!
//!     fn new(_: NoConfig) -> Result<Self, ConfigError> {
//!         Ok(AcmeProvider)
//!     }
//!
//!     fn embed_url(&self, media: &Media<'_>) -> Result<String, Rejection> {
//!         let id = &*media.external_id;
//!         if !(1..=10).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_digit()) {
//!             return Err(Rejection::format(Field::ExternalId, "expected 1 to 10 digits, like 4711"));
//!         }
//!         match media.shape()? {
//!             Shape::Movie => Ok(format!("https://play.acme.example/movie/{id}")),
//!             Shape::Tv { season, episode } => Ok(format!("https://play.acme.example/tv/{id}/{season}/{episode}")),
//!         }
//!     }
//! }
//! # const MANIFEST: &str = r#"
//! # schema = 1
//! # id = "acme"
//! # name = "Acme"
//! # media_types = ["movie", "tv"]
//! # supports_events = true
//! # supports_progress = true
//! # capabilities = { seek = true, pause = true, resume = true, autoplay = true }
//! # external_id = { label = "Acme id", pattern = "^[0-9]+$", example = "4711" }
//! # examples = [{ media = { media_type = "movie", external_id = "4711" }, url = "https://play.acme.example/movie/4711" }]
//! # rejects = [{ media = { media_type = "movie", external_id = "x" }, field = "external_id" }]
//! # [player]
//! # control = "commands"
//! # embed_origins = ["https://play.acme.example"]
//! # drift_ms = 1000
//! # cooldown_ms = 3000
//! # "#;
//!
//! // In the crate: streamit_plugin_api::export_provider!(AcmeProvider, manifest: "../provider.toml", bridge: "../bridge.js");
//!
//! // The trait is plain Rust, so the manifest's golden cases are a unit test:
//! let manifest = streamit_plugin_api::Manifest::parse(MANIFEST).unwrap();
//! manifest.check_examples::<AcmeProvider>().unwrap();
//! ```
//!
//! **An identity is valid exactly when [`Provider::embed_url`] returns a URL**: there is no second function to disagree
//! with it. It is a pure function of configuration and identity; the host caches what it answers. Which addresses that people
//! paste are the provider's, and which identity each means, the manifest says ([`links`]). What a viewer may
//! *choose* about the player (colour, autoplay, where to start) never comes here: the manifest lists such
//! [`RenderParam`]s, and the page appends them.
//!
//! What the host does with a library, in this order: reads its bytes ([`abi::StreamitAbiInfo`], [`Manifest`], bridge, assets)
//! without running it; takes a private copy; in a short-lived child process loads it, calls [`Provider::new`] with the
//! operator's configuration and runs the golden examples; and only then does the same in the host and offers it to rooms.
//! A panic is caught and costs one request.
//!
//! The [`abi`] module is the boundary itself, for authors in other languages.

#![warn(missing_docs)]

pub mod abi;
pub mod assets;
#[doc(hidden)]
pub mod export;
pub mod files;
pub mod links;
pub mod manifest;
mod provider;
mod source;

pub use export::{Level, log};
pub use manifest::{Control, Manifest, ManifestError, RenderParam};
pub use provider::{ConfigError, Field, NoConfig, Problem, ProblemKind, Provider, Rejection};
pub use source::{Capabilities, Media, MediaType, PlaybackSource, Shape};

//! What an author needs beside a compiler: look at a library, ask it, check it, begin a new one.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use sha2::{Digest, Sha256};
use streamit_plugin_api::{Manifest, Media, Rejection, abi, manifest::is_provider_id};

use super::{
    check::{self, Outcome},
    child::Child,
    library::{self, CallError},
    output,
    preflight::{Preflight, preflight},
    prepare::Prepare,
};
use crate::rooms::hex;

/// An author at a debugger-less terminal waits no longer for one answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a library says about itself, without any of its code having run.
#[derive(Debug, Serialize)]
pub struct Inspected {
    pub id: String,
    pub name: String,
    pub version: String,
    pub abi: String,
    pub toolchain: String,
    pub media_types: Vec<&'static str>,
    pub control: streamit_plugin_api::manifest::Control,
    pub embed_origins: Vec<String>,
    pub examples: usize,
    pub rejects: usize,
    pub bridge_bytes: usize,
    pub bytes: usize,
    pub sha256: String,
}

/// Looks at the library in `file`.
pub fn inspect(file: &Path) -> Result<Inspected, String> {
    let (bytes, Preflight { manifest, bridge, version, toolchain, abi }) = read(file)?;
    Ok(Inspected {
        id: manifest.id,
        name: manifest.name,
        version,
        abi: format!("{}.{}", abi.0, abi.1),
        toolchain,
        media_types: manifest.media_types.iter().map(|media_type| media_type.as_str()).collect(),
        control: manifest.player.control,
        embed_origins: manifest.player.embed_origins,
        examples: manifest.examples.len(),
        rejects: manifest.rejects.len(),
        bridge_bytes: bridge.len(),
        sha256: hex(&Sha256::digest(&bytes)),
        bytes: bytes.len(),
    })
}

fn read(file: &Path) -> Result<(Vec<u8>, Preflight), String> {
    let bytes = fs::read(file).map_err(|error| format!("{}: cannot read it: {error}", file.display()))?;
    let preflight = preflight(&bytes).map_err(|reason| format!("{}: {reason}", file.display()))?;
    Ok((bytes, preflight))
}

/// Why there is no URL.
#[derive(Debug)]
pub enum Untried {
    /// The plugin says what is wrong with the identity.
    Rejected(Rejection),
    /// Anything else.
    Failed(String),
}

/// Asks the library in `file` for a URL, in a child. Its golden examples do not matter here.
pub fn try_one(file: &Path, config: Option<toml::Table>, media: &Media<'_>, program: &Path) -> Result<String, Untried> {
    let (_, preflight) = read(file).map_err(Untried::Failed)?;
    let what = prepared(file, preflight.manifest, config).map_err(Untried::Failed)?;
    let what = Prepare { manifest: Manifest { examples: Vec::new(), rejects: Vec::new(), ..what.manifest }, ..what };
    let log: library::Logger = Box::new(|level, text| {
        let level = match level {
            abi::LOG_ERROR => "error",
            abi::LOG_WARN => "warning",
            abi::LOG_INFO => "info",
            _ => "debug",
        };
        eprintln!("{level}: {text}");
    });
    let failed = |reason: &dyn ToString| Untried::Failed(reason.to_string());
    let mut child = Child::start(program, &what.manifest.id).map_err(|ended| failed(&ended))?;
    child.prepare(&what, DEADLINE, &log).map_err(|ended| failed(&ended))?.map_err(Untried::Failed)?;
    match child.embed_url(media.clone().into_owned(), DEADLINE, &log).map_err(|ended| failed(&ended))? {
        Ok(url) => match output::check_url(&url, &what.places) {
            Ok(()) => Ok(url),
            Err(reason) => Err(Untried::Failed(reason)),
        },
        Err(CallError::Rejected(rejection)) => Err(Untried::Rejected(rejection)),
        Err(error) => Err(failed(&error)),
    }
}

/// What the conformance suite found.
#[derive(Debug, Serialize)]
pub struct Checked {
    pub id: String,
    pub version: String,
    pub cases: Vec<Outcome>,
}

/// Runs the conformance suite on the library in `file`, or one case of it.
pub fn check(file: &Path, config: Option<toml::Table>, only: Option<&str>, program: &Path) -> Result<Checked, String> {
    let (_, preflight) = read(file)?;
    let (id, version) = (preflight.manifest.id.clone(), preflight.version);
    let what = prepared(file, preflight.manifest, config)?;
    Ok(Checked { id, version, cases: check::run_all(program, &what, only) })
}

/// Without a configuration, that of the first golden example that has one: an author's own idea of a good one.
fn prepared(file: &Path, manifest: Manifest, config: Option<toml::Table>) -> Result<Prepare, String> {
    let own = || manifest.examples.iter().find_map(|example| example.config.clone());
    let config = config.or_else(own).unwrap_or_default();
    let library = file.canonicalize().map_err(|error| format!("{}: {error}", file.display()))?;
    let places = output::places(&manifest, &config).map_err(|reason| format!("{reason}; give one with --config"))?;
    Ok(Prepare { library, manifest, config, places })
}

/// What a new plugin is written in.
#[derive(Clone, Debug)]
pub enum Language {
    /// The dependency on `streamit-plugin-api`, as it stands in `Cargo.toml`.
    Rust(String),
    C,
}

type Template = &'static [(&'static str, &'static str)];

/// The same working plugin in two languages, named `acme`; the tests build and check both.
const RUST: Template = &[
    ("Cargo.toml", include_str!("../../../plugin-api/examples/acme/Cargo.toml.template")),
    ("src/lib.rs", include_str!("../../../plugin-api/examples/acme/src/lib.rs")),
    ("provider.toml", include_str!("../../../plugin-api/examples/acme/provider.toml")),
    ("bridge.js", include_str!("../../../plugin-api/examples/acme/bridge.js")),
    (".gitignore", "/target\n"),
];
const C: Template = &[
    ("Makefile", include_str!("../../../plugin-api/examples/acme/Makefile")),
    ("acme.c", include_str!("../../../plugin-api/examples/acme/acme.c")),
    ("provider.toml", include_str!("../../../plugin-api/examples/acme/provider.toml")),
    ("bridge.js", include_str!("../../../plugin-api/examples/acme/bridge.js")),
    ("streamit_provider.h", include_str!("../../../plugin-api/include/streamit_provider.h")),
    (".gitignore", "*.inc\n*.so\n*.dylib\n*.o\n"),
];

/// Writes a new plugin `id` below `parent`, and answers its folder and files.
pub fn new(parent: &Path, id: &str, language: &Language) -> Result<(PathBuf, Vec<PathBuf>), String> {
    if !is_provider_id(id) {
        return Err(format!(
            "`{id}` cannot be a provider's id: 2 to 32 characters, a letter, then letters, digits or -, all small"
        ));
    }
    let folder = parent.join(id);
    fs::create_dir(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    let (template, dependency) = match language {
        Language::Rust(dependency) => (RUST, dependency.as_str()),
        Language::C => (C, ""),
    };
    // `acme` stands for the id in every spelling a language or a person wants.
    let snake = id.replace('-', "_");
    let parts = id.split('-').filter(|part| !part.is_empty());
    let words: Vec<String> = parts.map(|part| format!("{}{}", part[..1].to_uppercase(), &part[1..])).collect();
    let filled = |text: &str| {
        text.replace("ACME_DEPENDENCY", dependency)
            .replace("acme_crate", id)
            .replace("ACME_LIBRARY", &snake)
            .replace("acme.example", &format!("{id}.example"))
            .replace("\"acme\"", &format!("\"{id}\""))
            .replace("struct Acme", &format!("struct {}", words.concat()))
            .replace("for Acme ", &format!("for {} ", words.concat()))
            .replace("Ok(Acme)", &format!("Ok({})", words.concat()))
            .replace("export_provider!(Acme", &format!("export_provider!({}", words.concat()))
            .replace("<Acme>", &format!("<{}>", words.concat()))
            .replace("Acme", &words.join(" "))
            .replace("acme", &snake)
    };
    let mut files = Vec::new();
    for (name, text) in template {
        let file = folder.join(name.replace("acme", &snake));
        let written =
            fs::create_dir_all(file.parent().unwrap_or(&folder)).and_then(|()| fs::write(&file, filled(text)));
        written.map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        files.push(file);
    }
    Ok((folder, files))
}

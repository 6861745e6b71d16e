//! Authoring: what one needs beside a compiler. Look at a library, ask it, check it.

mod bridge;
pub mod check;
pub mod template;

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::FileTypeExt,
    path::Path,
    time::Duration,
};

use indexmap::IndexSet;
use serde::Serialize;
use sha2::{Digest, Sha256};
use streamit_plugin_api::{
    Manifest, Media, Rejection, abi,
    links::{Address, Links, Meaning},
    manifest::{Rate, settings},
};

use self::check::Outcome;
use super::{
    assets::Assets,
    loading::{Preflight, preflight},
    output,
    published::Published,
    running::{
        child::Child,
        library::{self, CallError},
        prepare::Prepare,
    },
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
    pub connect_origins: Vec<String>,
    pub worker: bool,
    pub rate: Option<Rate>,
    pub live: bool,
    /// What a page is told, as the manifest has it, and the keys of the configuration that everybody can read there.
    pub settings: toml::Table,
    pub public_config: Vec<String>,
    pub examples: usize,
    pub rejects: usize,
    /// Rules about addresses, the hosts and places that those are of, and golden cases of them.
    pub links: usize,
    pub link_places: Vec<String>,
    pub link_examples: usize,
    pub bridge_bytes: usize,
    pub assets: Vec<InspectedAsset>,
    pub bytes: usize,
    pub sha256: String,
}

/// A file that the bridge needs beside itself.
#[derive(Debug, Serialize)]
pub struct InspectedAsset {
    pub name: String,
    pub content_type: &'static str,
    pub bytes: usize,
    pub sha256: String,
}

/// Looks at the library in `file`.
pub fn inspect(file: &Path) -> Result<Inspected, String> {
    let (bytes, Preflight { manifest, bridge, assets, version, toolchain, abi }) = read(file)?;
    let assets = Assets::new(assets);
    let assets = assets.own().iter().map(|asset| InspectedAsset {
        name: asset.name.clone(),
        content_type: asset.content_type,
        bytes: asset.plain.len(),
        sha256: asset.sha256.clone(),
    });
    let places: IndexSet<_> =
        manifest.links.iter().flat_map(|link| link.hosts.iter().chain(&link.under)).cloned().collect();
    Ok(Inspected {
        id: manifest.id,
        name: manifest.name,
        version,
        abi: format!("{}.{}", abi.0, abi.1),
        toolchain,
        media_types: manifest.media_types.iter().map(|media_type| media_type.as_str()).collect(),
        control: manifest.player.control,
        embed_origins: manifest.player.embed_origins,
        connect_origins: manifest.player.connect_origins,
        worker: manifest.player.worker,
        rate: manifest.player.rate,
        live: manifest.player.live,
        public_config: settings::public_keys(&manifest.player.settings).into_iter().map(str::to_owned).collect(),
        settings: manifest.player.settings,
        examples: manifest.examples.len(),
        rejects: manifest.rejects.len(),
        links: manifest.links.len(),
        link_places: places.into_iter().collect(),
        link_examples: manifest.link_examples.len(),
        bridge_bytes: bridge.len(),
        assets: assets.collect(),
        sha256: hex(&Sha256::digest(&bytes)),
        bytes: bytes.len(),
    })
}

fn read(file: &Path) -> Result<(Vec<u8>, Preflight), String> {
    let cannot = |error: io::Error| format!("{}: cannot read it: {error}", file.display());
    // Reading a pipe or a device might never end.
    let kind = fs::metadata(file).map_err(cannot)?.file_type();
    if !kind.is_file() {
        let kind = match kind {
            kind if kind.is_dir() => "a folder",
            kind if kind.is_fifo() => "a pipe",
            kind if kind.is_socket() => "a socket",
            _ => "a device",
        };
        return Err(format!("{}: not a plugin's library, but {kind}", file.display()));
    }
    let bytes = fs::read(file).map_err(cannot)?;
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
    let mut trial = Trial::begin(file, config, program).map_err(Untried::Failed)?;
    trial.ask(media).map_err(Untried::Failed)?.map_err(Untried::Rejected)
}

/// Says what an address means to the library in `file`. As [`try_one`].
pub fn try_link(file: &Path, config: Option<toml::Table>, link: &str, program: &Path) -> Result<Meaning, String> {
    let address = Address::parse(link).map_err(|error| error.to_string())?;
    let mut trial = Trial::begin(file, config, program)?;
    let links = Links::new(&trial.what.manifest.links, &trial.what.config)?;
    links.meaning(&address, |media| trial.ask(media))
}

/// A library in a child, to be asked.
struct Trial {
    what: Prepare,
    child: Child,
    log: library::Logger,
}

impl Trial {
    fn begin(file: &Path, config: Option<toml::Table>, program: &Path) -> Result<Trial, String> {
        let (_, preflight) = read(file)?;
        let what = prepared(file, &preflight.manifest, config)?.remove(0);
        let none = Manifest { examples: Vec::new(), rejects: Vec::new(), link_examples: Vec::new(), ..what.manifest };
        let what = Prepare { manifest: none, ..what };
        let log: library::Logger = Box::new(|level, text| {
            let level = match level {
                abi::LOG_ERROR => "error",
                abi::LOG_WARN => "warning",
                abi::LOG_INFO => "info",
                _ => "debug",
            };
            let _ = writeln!(io::stderr(), "{level}: {text}");
        });
        let mut child = Child::start(program, &what.manifest.id).map_err(|ended| ended.to_string())?;
        child.prepare(&what, DEADLINE, &log).map_err(|ended| ended.to_string())??;
        Ok(Trial { what, child, log })
    }

    fn ask(&mut self, media: &Media<'_>) -> Result<Result<String, Rejection>, String> {
        let came = self.child.embed_url(media.clone().into_owned(), DEADLINE, &self.log);
        match came.map_err(|ended| ended.to_string())? {
            Ok(url) => output::check_url(&url, &self.what.destinations).map(|()| Ok(url)),
            Err(CallError::Rejected(rejection)) => Ok(Err(rejection)),
            Err(error) => Err(error.to_string()),
        }
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
    let mut choices = prepared(file, &preflight.manifest, config)?;
    // A golden example whose configuration is wrong is one failure, as long as another's is right.
    let is_right = |what: &Prepare| choices.len() == 1 || check::can_be_created(program, what);
    let what = choices.iter().position(is_right).unwrap_or(0);
    let what = choices.swap_remove(what);
    let cases = check::run_all(program, &what, only);
    match only {
        Some(only) if cases.is_empty() => Err(format!("--only: {id} has no golden case `{only}`")),
        _ => Ok(Checked { id, version, cases }),
    }
}

/// With this configuration; or with those of the golden examples, an author's own idea of good ones, and with none. At
/// least one, with the author's favourite first.
fn prepared(file: &Path, manifest: &Manifest, config: Option<toml::Table>) -> Result<Vec<Prepare>, String> {
    let library = file.canonicalize().map_err(|error| format!("{}: {error}", file.display()))?;
    let configs = match config {
        Some(config) => vec![config],
        None => {
            let own = manifest.examples.iter().filter_map(|example| example.config.clone());
            own.chain([toml::Table::new()]).collect()
        }
    };
    let prepare = |config| -> Result<Prepare, String> {
        // Whether http is allowed is each operator's own affair.
        let destinations = output::destinations(manifest, &config, true)?;
        output::redirects(manifest, &config, true)?;
        Published::new(manifest, &config, true)?;
        Ok(Prepare { library: library.clone(), manifest: manifest.clone(), config, destinations })
    };
    let (good, bad): (Vec<_>, Vec<_>) = configs.into_iter().map(prepare).partition(Result::is_ok);
    match bad.into_iter().find_map(Result::err) {
        Some(reason) if good.is_empty() => Err(format!("{}: {reason}; give one with --config", file.display())),
        _ => Ok(good.into_iter().flatten().collect()),
    }
}

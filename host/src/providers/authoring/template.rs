//! What `streamit plugin new` writes: the same working plugin in two languages, and all it takes to build it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use streamit_plugin_api::manifest::is_provider_id;

/// What a new plugin is written in.
#[derive(Clone, Debug)]
pub enum Language {
    /// With the dependency on `streamit-plugin-api` as it stands in `Cargo.toml`; without one, on a copy in the folder.
    Rust(Option<String>),
    C,
}

type Files = &'static [(&'static str, &'static str)];

/// Named `acme`, which stands for the id in every spelling a language or a person wants.
const RUST: Files = &[
    ("Cargo.toml", include_str!("../../../../plugin-api/examples/acme/Cargo.toml.template")),
    ("src/lib.rs", include_str!("../../../../plugin-api/examples/acme/src/lib.rs")),
    ("provider.toml", include_str!("../../../../plugin-api/examples/acme/provider.toml")),
    ("bridge.js", include_str!("../../../../plugin-api/examples/acme/bridge.js")),
    (".gitignore", "/target\n"),
];
const C: Files = &[
    ("Makefile", include_str!("../../../../plugin-api/examples/acme/Makefile")),
    ("acme.c", include_str!("../../../../plugin-api/examples/acme/acme.c")),
    ("provider.toml", include_str!("../../../../plugin-api/examples/acme/provider.toml")),
    ("bridge.js", include_str!("../../../../plugin-api/examples/acme/bridge.js")),
    (".gitignore", "*.inc\n*.so\n*.dylib\n*.o\n"),
];
const HEADER: (&str, &str) =
    ("include/streamit_provider.h", include_str!("../../../../plugin-api/include/streamit_provider.h"));

/// The crate that a plugin in Rust is built with, whole but for its manifest, which leans on this repository's.
const API: Files = &[
    ("build.rs", include_str!("../../../../plugin-api/build.rs")),
    HEADER,
    ("src/abi.rs", include_str!("../../../../plugin-api/src/abi.rs")),
    ("src/assets.rs", include_str!("../../../../plugin-api/src/assets.rs")),
    ("src/export.rs", include_str!("../../../../plugin-api/src/export.rs")),
    ("src/files.rs", include_str!("../../../../plugin-api/src/files.rs")),
    ("src/lib.rs", include_str!("../../../../plugin-api/src/lib.rs")),
    ("src/links.rs", include_str!("../../../../plugin-api/src/links.rs")),
    ("src/links/address.rs", include_str!("../../../../plugin-api/src/links/address.rs")),
    ("src/links/entries.rs", include_str!("../../../../plugin-api/src/links/entries.rs")),
    ("src/links/pattern.rs", include_str!("../../../../plugin-api/src/links/pattern.rs")),
    ("src/links/rule.rs", include_str!("../../../../plugin-api/src/links/rule.rs")),
    ("src/links/tests.rs", include_str!("../../../../plugin-api/src/links/tests.rs")),
    ("src/links/time.rs", include_str!("../../../../plugin-api/src/links/time.rs")),
    ("src/manifest.rs", include_str!("../../../../plugin-api/src/manifest.rs")),
    ("src/manifest/places.rs", include_str!("../../../../plugin-api/src/manifest/places.rs")),
    ("src/manifest/settings.rs", include_str!("../../../../plugin-api/src/manifest/settings.rs")),
    ("src/manifest/tests.rs", include_str!("../../../../plugin-api/src/manifest/tests.rs")),
    ("src/provider.rs", include_str!("../../../../plugin-api/src/provider.rs")),
    ("src/source.rs", include_str!("../../../../plugin-api/src/source.rs")),
    ("LICENSE", include_str!("../../../../LICENSE")),
];
const API_MANIFEST: &str = include_str!("../../../../plugin-api/Cargo.toml");
const WORKSPACE_MANIFEST: &str = include_str!("../../../../Cargo.toml");

/// The API's folder in that of a plugin.
const API_FOLDER: &str = "streamit-plugin-api";

/// Writes a new plugin `id` below `parent`, and answers its folder and files.
pub fn write(parent: &Path, id: &str, language: &Language) -> Result<(PathBuf, Vec<PathBuf>), String> {
    if !is_provider_id(id) {
        return Err(format!(
            "`{id}` cannot be a provider's id: 2 to 32 characters, a letter, then letters, digits or -, all small"
        ));
    }
    let folder = parent.join(id);
    fs::create_dir(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    let mut written = Vec::new();
    for (name, text) in files(id, language) {
        let file = folder.join(name);
        if let Err(error) = write_file(&file, &text) {
            let left = match fs::remove_dir_all(&folder) {
                Ok(()) => String::new(),
                Err(error) => format!("; the folder is incomplete, and cannot be removed: {error}"),
            };
            return Err(format!("cannot write {}: {error}{left}", file.display()));
        }
        written.push(file);
    }
    Ok((folder, written))
}

fn write_file(file: &Path, text: &str) -> io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(file, text)
}

/// The plugin's files. Nothing in them is named after the id alone that a language could know by that name already.
fn files(id: &str, language: &Language) -> Vec<(String, String)> {
    let snake = id.replace('-', "_");
    let parts: Vec<&str> = id.split('-').filter(|part| !part.is_empty()).collect();
    let words: Vec<String> = parts.iter().map(|part| format!("{}{}", part[..1].to_uppercase(), &part[1..])).collect();
    let (template, dependency) = match language {
        Language::Rust(None) => (RUST, format!("{{ path = \"{API_FOLDER}\" }}")),
        Language::Rust(Some(dependency)) => (RUST, dependency.clone()),
        Language::C => (C, String::new()),
    };
    let spellings = [
        ("ACME_DEPENDENCY", dependency),
        ("ACME_PACKAGE", format!("{id}-provider")),
        ("ACME_LIBRARY", snake.clone()),
        ("AcmeProvider", format!("{}Provider", words.concat())),
        ("Acme", words.join(" ")),
        ("\"acme\"", format!("\"{id}\"")),
        // Not every id is the name of a host: two hyphens have a meaning there.
        ("acme.example", format!("{}.example", parts.join("-"))),
        ("acme", snake.clone()),
    ];
    let mut files: Vec<_> =
        template.iter().map(|(name, text)| (name.replace("acme", &snake), fill(text, &spellings))).collect();
    match language {
        Language::Rust(None) => {
            let in_folder = |name: &str| format!("{API_FOLDER}/{name}");
            files.push((in_folder("Cargo.toml"), api_manifest()));
            files.extend(API.iter().map(|(name, text)| (in_folder(name), (*text).to_owned())));
        }
        Language::Rust(Some(_)) => {}
        Language::C => files.push(("streamit_provider.h".to_owned(), HEADER.1.to_owned())),
    }
    files
}

/// Puts the id in for each spelling, the first that fits, in one pass: it may have `acme` in it.
fn fill(template: &str, spellings: &[(&str, String)]) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some(next) = rest.chars().next() {
        match spellings.iter().find_map(|(spelling, put)| Some((rest.strip_prefix(spelling)?, put))) {
            Some((after, put)) => {
                filled += put;
                rest = after;
            }
            None => {
                filled.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    filled
}

/// The API crate's manifest, with what it has from this repository's workspace written out.
fn api_manifest() -> String {
    let parse = |text: &str| -> toml::Table { toml::from_str(text).expect("cargo has read it") };
    let mut manifest = parse(API_MANIFEST);
    let workspace = &parse(WORKSPACE_MANIFEST)["workspace"];
    let is_inherited = |value: &toml::Value| value.get("workspace").is_some();
    for (table, value) in &mut manifest {
        if is_inherited(value) {
            *value = workspace[table].clone();
        }
        for (key, value) in value.as_table_mut().into_iter().flatten().filter(|(_, value)| is_inherited(value)) {
            *value = workspace[table][key].clone();
        }
    }
    toml::to_string(&manifest).expect("a table of tables")
}

#[cfg(test)]
mod tests {
    use streamit_plugin_api::Manifest;

    use super::*;

    #[test]
    fn every_legal_id_gives_files_that_name_it() {
        for id in [
            "aa",
            "acme-tv",
            "acme2",
            "media",
            "self",
            "type",
            "a-1",
            "core",
            "std",
            "test",
            "streamit-plugin-api",
            "string",
            "a-",
            "a--1",
            "xn--a",
            "frame-player",
            "a2345678901234567890123456789012",
        ] {
            let snake = id.replace('-', "_");
            for language in [Language::Rust(None), Language::Rust(Some("\"0.1\"".into())), Language::C] {
                let files = files(id, &language);
                let text = |name: &str| files.iter().find(|(found, _)| found == name).map(|(_, text)| text.as_str());
                let manifest = Manifest::parse(text("provider.toml").expect("there")).expect("valid");
                assert_eq!(manifest.id, id);
                for example in &manifest.examples {
                    let url = url::Url::parse(&example.url).expect("a URL");
                    assert_eq!(url.origin().ascii_serialization(), manifest.player.embed_origins[0]);
                }
                if matches!(language, Language::C) {
                    assert!(text(&format!("{snake}.c")).expect("there").contains(&format!(".id = \"{id}\"")));
                    assert!(text("Makefile").expect("there").contains(&format!("NAME = {snake}\n")));
                } else {
                    let cargo: toml::Table = text("Cargo.toml").expect("there").parse().expect("TOML");
                    assert_eq!(cargo["lib"]["name"].as_str(), Some(&*snake));
                    // Nothing that cargo reserves ends like this, and neither does the API.
                    assert_eq!(cargo["package"]["name"].as_str(), Some(&*format!("{id}-provider")));
                }
                for (name, text) in files.iter().filter(|(name, _)| !name.starts_with(API_FOLDER)) {
                    assert!(!text.to_lowercase().contains("acme") || id.contains("acme"), "{id}: {name}\n{text}");
                }
            }
        }
    }

    #[test]
    fn the_api_is_written_whole() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-api");
        let mut folders = vec![folder.clone()];
        let mut found = Vec::new();
        while let Some(next) = folders.pop() {
            for path in fs::read_dir(next).expect("readable").map(|entry| entry.expect("readable").path()) {
                let name = path.strip_prefix(&folder).expect("inside").to_str().expect("UTF-8").to_owned();
                // The examples are what is written beside it.
                match path.is_dir() {
                    true if name == "examples" => {}
                    true => folders.push(path),
                    false => found.push(name),
                }
            }
        }
        found.extend(["LICENSE".to_owned()]);
        found.sort();
        let mut written: Vec<_> = API.iter().map(|(name, _)| (*name).to_owned()).collect();
        written.push("Cargo.toml".to_owned());
        written.sort();
        assert_eq!(written, found);
    }

    #[test]
    fn the_apis_manifest_leans_on_nothing() {
        let manifest: toml::Table = api_manifest().parse().expect("TOML");
        assert!(!manifest.to_string().contains("workspace"), "{manifest}");
        assert_eq!(manifest["package"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("deny"));
        assert_eq!(manifest["dependencies"]["serde"]["features"][0].as_str(), Some("derive"));
    }
}

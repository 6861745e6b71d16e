//! Assets, as pages get them: what a provider's bridge needs beside itself, under addresses that stay true after a reload.

use std::{
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use streamit_plugin_api::abi::MAX_ASSETS_BYTES;

use crate::rooms::hex;

/// A file of a provider's.
#[derive(Clone, Debug)]
pub struct Asset {
    pub name: String,
    pub content_type: &'static str,
    pub sha256: String,
    pub plain: Bytes,
    /// The same in fewer bytes, if that is so.
    pub gzip: Option<Bytes>,
}

/// Every file of one generation of a provider, and some of those before it.
#[derive(Clone, Debug, Default)]
pub struct Assets {
    own: Vec<Arc<Asset>>,
    /// Of former generations, whose pages may still ask for what they have not asked for yet. The newest first.
    former: Vec<Arc<Asset>>,
}

impl Asset {
    fn new(name: String, plain: Bytes) -> Asset {
        let sha256 = hex(&Sha256::digest(&plain));
        let content_type = content_type(&name);
        Asset { name, content_type, sha256, plain, gzip: None }
    }

    fn compressed(self) -> Asset {
        let gzip = gzip(&self.plain).ok().filter(|gzip| gzip.len() < self.plain.len());
        Asset { gzip: gzip.map(Bytes::from), ..self }
    }

    /// What stands for its bytes in its address.
    pub fn hash(&self) -> &str {
        &self.sha256[..32]
    }

    fn is(&self, hash: &str, name: &str) -> bool {
        self.hash() == hash && self.name == name
    }
}

impl Assets {
    /// The files of a library, to be looked at.
    pub(super) fn new(files: Vec<(String, Bytes)>) -> Assets {
        let own = files.into_iter().map(|(name, bytes)| Arc::new(Asset::new(name, bytes))).collect();
        Assets { own, former: Vec::new() }
    }

    /// The same, to be sent to pages, after another generation. What that has as well is shared with it, and compressed once.
    pub(super) fn after(self, before: &Assets) -> Assets {
        let ready = |asset: Arc<Asset>| match before.find(asset.hash(), &asset.name) {
            Some(known) => known,
            None => Arc::new(Arc::unwrap_or_clone(asset).compressed()),
        };
        let own: Vec<_> = self.own.into_iter().map(ready).collect();
        let mut left = MAX_ASSETS_BYTES;
        let before = before.own.iter().chain(&before.former);
        let former = before.filter(|asset| !own.iter().any(|own| own.is(asset.hash(), &asset.name)));
        // As much again as a provider may have, so that no number of reloads makes them more.
        let former = former.take_while(|asset| match left.checked_sub(asset.plain.len()) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        });
        let former = former.cloned().collect();
        Assets { own, former }
    }

    /// The files of this generation, in the library's order.
    pub fn own(&self) -> &[Arc<Asset>] {
        &self.own
    }

    /// The file at an address, of this generation or one before.
    pub fn find(&self, hash: &str, name: &str) -> Option<Arc<Asset>> {
        self.own.iter().chain(&self.former).find(|asset| asset.is(hash, name)).cloned()
    }
}

fn gzip(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// By the name's end; nothing is guessed from the bytes, by us or by browsers.
fn content_type(name: &str) -> &'static str {
    match mime_guess::from_path(name).first_raw().unwrap_or("application/octet-stream") {
        "text/javascript" | "application/javascript" => "text/javascript; charset=utf-8",
        "text/css" => "text/css; charset=utf-8",
        "text/html" => "text/html; charset=utf-8",
        "text/plain" => "text/plain; charset=utf-8",
        "text/vtt" => "text/vtt; charset=utf-8",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn library(files: &[(&str, &[u8])]) -> Assets {
        Assets::new(files.iter().map(|(name, bytes)| ((*name).to_owned(), Bytes::copy_from_slice(bytes))).collect())
    }

    fn names(list: &[Arc<Asset>]) -> Vec<&str> {
        list.iter().map(|asset| asset.name.as_str()).collect()
    }

    #[test]
    fn what_is_sent_compressed_is_the_same_and_smaller() {
        let script = "export const answer = 42;\n".repeat(100);
        let noise: Vec<u8> = (0..4096_u32).flat_map(|n| Sha256::digest(n.to_le_bytes())).collect();
        let assets = library(&[("a.js", script.as_bytes()), ("noise.bin", &noise)]).after(&Assets::default());
        let [text, noise] = assets.own() else { panic!("two") };
        let mut plain = Vec::new();
        GzDecoder::new(&text.gzip.as_ref().expect("smaller")[..]).read_to_end(&mut plain).expect("gzip");
        assert_eq!(plain, text.plain);
        assert!(noise.gzip.is_none(), "what does not become smaller is sent as it is");
    }

    #[test]
    fn what_a_generation_has_in_common_with_the_one_before_is_the_same_file() {
        let first = library(&[("a.js", b"1111111111111111111111111111"), ("b.js", b"2")]).after(&Assets::default());
        let second = library(&[("a.js", b"1111111111111111111111111111"), ("b.js", b"3")]).after(&first);
        assert!(Arc::ptr_eq(&first.own()[0], &second.own()[0]));
        assert_eq!((names(second.own()), names(&second.former)), (vec!["a.js", "b.js"], vec!["b.js"]));
        let old = &first.own()[1];
        assert!(Arc::ptr_eq(&second.find(old.hash(), "b.js").expect("still there"), old));
        assert!(second.find(old.hash(), "a.js").is_none(), "a name and a hash belong together");
        // And taken back: nothing is there twice.
        let third = library(&[("b.js", b"2")]).after(&second);
        assert_eq!((names(third.own()), names(&third.former)), (vec!["b.js"], vec!["a.js", "b.js"]));
    }

    #[test]
    fn former_files_are_kept_up_to_a_limit() {
        let mut assets = Assets::default();
        for n in 0..40_u8 {
            assets = library(&[("a.bin", &[&[n], &vec![0; MAX_ASSETS_BYTES / 8 - 1][..]].concat())]).after(&assets);
        }
        assert_eq!(assets.former.len(), 8);
        assert_eq!(assets.former[0].plain[0], 38, "the newest of them");
    }

    #[test]
    fn a_type_is_that_of_the_names_end() {
        for (name, expected) in [
            ("player.js", "text/javascript; charset=utf-8"),
            ("player.mjs", "text/javascript; charset=utf-8"),
            ("player.css", "text/css; charset=utf-8"),
            ("codec.wasm", "application/wasm"),
            ("licence.txt", "text/plain; charset=utf-8"),
            ("data.json", "application/json"),
            ("icon.svg", "image/svg+xml"),
            ("font.woff2", "font/woff2"),
            ("licence", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name), expected, "{name}");
        }
    }
}

//! What a library says about itself, read from its bytes. No code of it runs, and a truncated or foreign file never
//! reaches the system's loader, which would end the process over it.

mod assets;
mod exports;

use std::{borrow::Cow, mem::size_of};

use bytes::Bytes;
use object::{Architecture, BinaryFormat, File, Object, ObjectKind};
use streamit_plugin_api::{
    Manifest,
    abi::{ABI_MAJOR, ABI_MINOR, FLAG_CATCHES_PANICS, MAGIC, MAX_STATIC_BYTES, StreamitAbiInfo},
};

pub(crate) use self::exports::foreign_exports;
use self::exports::{Exports, whole};

/// A plugin's static data.
#[derive(Debug)]
pub(crate) struct Preflight {
    pub(crate) manifest: Manifest,
    pub(crate) bridge: String,
    /// Each with its name.
    pub(crate) assets: Vec<(String, Bytes)>,
    pub(crate) version: String,
    pub(crate) toolchain: String,
    /// Major and minor version of the ABI it was built for.
    pub(crate) abi: (u16, u16),
}

/// Checks the bytes of a library, in the order of what would go wrong first.
pub(crate) fn preflight(bytes: &[u8]) -> Result<Preflight, String> {
    let file = File::parse(bytes).map_err(|error| not_a_library(bytes, &error.to_string()))?;
    if file.kind() != ObjectKind::Dynamic || file.format() != BinaryFormat::native_object() {
        let found = format!("a {:?} file of kind {:?}", file.format(), file.kind());
        return Err(not_a_library(bytes, &found));
    }
    if let Some(host) = host_architecture()
        && file.architecture() != host
    {
        return Err(format!("built for {:?}, this host is {host:?}; build it for this machine", file.architecture()));
    }
    whole(&file, bytes.len() as u64)?;

    let exports = Exports::of(file)?;
    let info = info(symbol(&exports, "streamit_abi_info", size_of::<StreamitAbiInfo>())?)?;
    symbol(&exports, "streamit_provider_v1", 4)?;
    let text = |name: &str, len: usize| {
        if len > MAX_STATIC_BYTES {
            return Err(format!("{name} has {len} bytes; at most {MAX_STATIC_BYTES} are read"));
        }
        let bytes = symbol(&exports, name, len)?;
        std::str::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8 text"))
    };
    let manifest = Manifest::parse(text("streamit_manifest", info.manifest_len)?)
        .map_err(|error| format!("its provider.toml is not valid: {error}"))?;
    let bridge = text("streamit_bridge", info.bridge_len)?.to_owned();
    if manifest.id != info.id {
        return Err(format!("its ABI info names the provider `{}`, its manifest `{}`", info.id, manifest.id));
    }
    regex_lite::Regex::new(&manifest.external_id.pattern)
        .map_err(|error| format!("its provider.toml is not valid: external_id.pattern: {error}"))
        .and_then(|pattern| match pattern.is_match(&manifest.external_id.example) {
            true => Ok(()),
            false => Err("its provider.toml is not valid: external_id.example does not match its pattern".into()),
        })?;
    let assets = assets::read(&exports, info.abi.1)?;
    Ok(Preflight { manifest, bridge, assets, version: info.version, toolchain: info.toolchain, abi: info.abi })
}

/// The first `len` bytes at a symbol that every plugin has.
fn symbol<'data>(exports: &Exports<'data>, name: &str, len: usize) -> Result<&'data [u8], String> {
    exports.bytes(name, len).unwrap_or_else(|| {
        Err(match name {
            "streamit_provider_v1" | "streamit_abi_info" => {
                format!("no symbol {name}: not a StreamIt plugin; export_provider! makes one")
            }
            _ => format!("no symbol {name}: a plugin has all four; export_provider! makes them"),
        })
    })
}

fn not_a_library(bytes: &[u8], why: &str) -> String {
    let start: String = bytes.iter().take(8).flat_map(|b| std::ascii::escape_default(*b)).map(char::from).collect();
    let kind = std::env::consts::DLL_EXTENSION;
    format!("not a shared library (.{kind}) of this system: it starts with \"{start}\" ({why})")
}

fn host_architecture() -> Option<Architecture> {
    match std::env::consts::ARCH {
        "x86_64" => Some(Architecture::X86_64),
        "aarch64" => Some(Architecture::Aarch64),
        "x86" => Some(Architecture::I386),
        "arm" => Some(Architecture::Arm),
        "riscv64" => Some(Architecture::Riscv64),
        _ => None,
    }
}

struct Info {
    id: String,
    abi: (u16, u16),
    version: String,
    toolchain: String,
    manifest_len: usize,
    bridge_len: usize,
}

/// Reads [`StreamitAbiInfo`] field by field, in the byte order and offsets that the ABI freezes.
fn info(bytes: &[u8]) -> Result<Info, String> {
    let u16_at = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    let u32_at = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let text_at = |at: usize, len: usize| {
        let field = &bytes[at..at + len];
        let end = field.iter().position(|b| *b == 0).unwrap_or(len);
        let text: Cow<'_, str> = String::from_utf8_lossy(&field[..end]);
        text.chars().filter(|c| !c.is_control()).collect::<String>()
    };
    if bytes[..8] != MAGIC {
        return Err("streamit_abi_info does not begin with STREAMIT".into());
    }
    let toolchain = text_at(92, 64);
    let major = u16_at(12);
    if major != ABI_MAJOR {
        return Err(format!(
            "built for ABI {major} (with {toolchain}), this host speaks ABI {ABI_MAJOR}; \
             rebuild it against streamit-plugin-api {ABI_MAJOR}.x"
        ));
    }
    // Before anything else is read: it may be what only a later host understands.
    let minor = u16_at(14);
    if minor > ABI_MINOR {
        return Err(format!(
            "needs ABI {major}.{minor} (built with {toolchain}), this host speaks {ABI_MAJOR}.{ABI_MINOR}; update the host, or \
             build it against streamit-plugin-api {ABI_MAJOR}.{ABI_MINOR}"
        ));
    }
    if (u32_at(8) as usize) < size_of::<StreamitAbiInfo>() {
        return Err(format!("its ABI info has {} bytes, less than ABI 1 has", u32_at(8)));
    }
    if u32_at(16) & FLAG_CATCHES_PANICS == 0 {
        return Err(
            "built with panic = \"abort\": a panic in it would end the host; build it with panic = \"unwind\"".into()
        );
    }
    Ok(Info {
        id: text_at(28, 40),
        abi: (major, minor),
        version: text_at(68, 24),
        toolchain,
        manifest_len: u32_at(20) as usize,
        bridge_len: u32_at(24) as usize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        preflight(bytes).expect_err("refused")
    }

    #[test]
    fn what_is_not_a_library_is_refused_by_its_first_bytes() {
        assert!(refusal(b"").starts_with("not a shared library"));
        assert!(refusal(b"hello world").contains(r#"starts with "hello wo""#));
        assert!(refusal(b"\x7fELF").starts_with("not a shared library"));
    }

    #[test]
    fn an_executable_is_not_a_plugin() {
        let own = std::fs::read(std::env::current_exe().expect("known")).expect("readable");
        let refused = refusal(&own);
        assert!(refused.contains("no symbol streamit_abi_info") || refused.starts_with("not a shared"), "{refused}");
    }
}

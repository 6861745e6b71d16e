//! The assets in a library's bytes. Their table only names them: where they are and how large, the library itself says.

use std::mem::{offset_of, size_of};

use bytes::Bytes;
use streamit_plugin_api::{
    abi::{MAX_ASSET_BYTES, MAX_ASSETS, MAX_ASSETS_BYTES, StreamitAsset},
    assets::is_asset_name,
};

use super::exports::Exports;

const TABLE: &str = "streamit_assets";
/// With a number behind it.
const ASSET: &str = "streamit_asset_";

/// Each asset's name and bytes, in the table's order; none if there is no table. `minor` is the version of the ABI that the
/// library asks for.
pub(super) fn read(exports: &Exports<'_>, minor: u16) -> Result<Vec<(String, Bytes)>, String> {
    let entries = entries(exports)?;
    let is_named = |symbol: &str| {
        let number = symbol.strip_prefix(ASSET).map(|number| number.parse::<usize>());
        number.is_none_or(|number| number.is_ok_and(|number| number < entries.len()))
    };
    if let Some(symbol) = exports.names().filter(|symbol| !is_named(symbol)).min() {
        return Err(format!("{symbol} is there, and {TABLE} has no entry for it"));
    }
    if minor == 0 && !entries.is_empty() {
        return Err(
            "it has assets, and its ABI info asks for ABI 1.0 only, which has none: set its abi_minor to 1".into()
        );
    }
    let mut assets: Vec<(String, Bytes)> = Vec::with_capacity(entries.len());
    let mut sum = 0;
    for (n, (name, len)) in entries.into_iter().enumerate() {
        let symbol = format!("{ASSET}{n}");
        let missing = || format!("no symbol {symbol}, which {TABLE} calls `{name}`");
        if assets.iter().any(|(known, _)| *known == name) {
            return Err(format!("{TABLE}: two assets are called `{name}`"));
        }
        if len == 0 {
            return Err(format!("its asset `{name}` is empty"));
        }
        if len > MAX_ASSET_BYTES {
            return Err(format!("its asset `{name}` has {len} bytes; at most {MAX_ASSET_BYTES} are served"));
        }
        // Before its bytes are looked for: what is said beyond them might be inside the file, and somebody else's.
        if let Some(size) = exports.size(&symbol).filter(|size| *size < len as u64) {
            return Err(format!("its asset `{name}` has {len} bytes by {TABLE}, and {size} by its symbol {symbol}"));
        }
        let bytes = exports.bytes(&symbol, len).ok_or_else(missing)??;
        sum += len;
        if sum > MAX_ASSETS_BYTES {
            return Err(format!("its assets have more than {MAX_ASSETS_BYTES} bytes together"));
        }
        assets.push((name, Bytes::copy_from_slice(bytes)));
    }
    Ok(assets)
}

/// What the table says: names and lengths.
fn entries(exports: &Exports<'_>) -> Result<Vec<(String, usize)>, String> {
    const ENTRY: usize = size_of::<StreamitAsset>();
    const NAME: usize = offset_of!(StreamitAsset, len);
    let mut entries = Vec::new();
    let size = exports.size(TABLE).unwrap_or(u64::MAX);
    // One more, which is the end.
    for n in 0..=MAX_ASSETS {
        if size < ((n + 1) * ENTRY) as u64 {
            break;
        }
        let Some(table) = exports.bytes(TABLE, (n + 1) * ENTRY) else { return Ok(entries) };
        let entry = &table?[n * ENTRY..];
        let (name, rest) = entry.split_at(NAME);
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if name.is_empty() {
            return Ok(entries);
        }
        if !is_asset_name(name) {
            return Err(format!(
                "{TABLE}: `{}`: an asset's name has 1 to 55 of a-z, 0-9, `.`, `_` and `-`, does not begin with a dot and has \
                 no two in a row",
                name.escape_ascii()
            ));
        }
        let len = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]);
        entries.push((String::from_utf8_lossy(name).into_owned(), len as usize));
    }
    Err(format!("{TABLE} has no end: behind the last of at most {MAX_ASSETS} assets is an entry without a name"))
}

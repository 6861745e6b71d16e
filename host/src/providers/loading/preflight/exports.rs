//! What a library exports, found in its bytes: names, addresses, sizes. Nothing of it is mapped.

use std::collections::HashMap;

use object::{
    File, Object, ObjectSection, ObjectSegment, ObjectSymbol,
    read::{ExportTarget, NameOrOrdinal},
};

/// What the ABI's names begin with.
const OURS: &str = "streamit_";

/// The exported symbols of the ABI.
pub(super) struct Exports<'data> {
    file: File<'data>,
    symbols: HashMap<String, Symbol>,
}

struct Symbol {
    address: u64,
    /// As the library says, where its format has such a thing.
    bytes: Option<u64>,
}

impl<'data> Exports<'data> {
    pub(super) fn of(file: File<'data>) -> Result<Exports<'data>, String> {
        let mut symbols = HashMap::new();
        for export in file.exports().map_err(unreadable)?.flatten() {
            if let (Some(name), ExportTarget::Address { address }) = (ours(export.name()), export.target()) {
                symbols.entry(name).or_insert(Symbol { address, bytes: None });
            }
        }
        for symbol in file.dynamic_symbols().filter(|symbol| symbol.size() > 0) {
            let known = symbol.name().ok().and_then(|name| symbols.get_mut(name));
            if let Some(known) = known.filter(|known| known.address == symbol.address()) {
                known.bytes = Some(symbol.size());
            }
        }
        Ok(Exports { file, symbols })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.symbols.keys().map(String::as_str)
    }

    /// How large a symbol is, if the library says so.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.symbols.get(name)?.bytes
    }

    /// The first `len` bytes at a symbol; nothing if it is not there.
    pub(super) fn bytes(&self, name: &str, len: usize) -> Option<Result<&'data [u8], String>> {
        let address = self.symbols.get(name)?.address;
        let found = self.file.segments().find_map(|segment| segment.data_range(address, len as u64).ok().flatten());
        Some(found.ok_or_else(|| format!("symbol {name} with its {len} bytes is not inside the file")))
    }
}

fn unreadable(error: object::Error) -> String {
    format!("its table of symbols cannot be read: {error}")
}

/// A name of the ABI's, as C has it: Mach-O puts an underscore before each.
fn ours(name: NameOrOrdinal<&[u8]>) -> Option<String> {
    let NameOrOrdinal::Name(name) = name else { return None };
    let name = std::str::from_utf8(name).ok()?;
    let name = name.strip_prefix('_').unwrap_or(name);
    name.starts_with(OURS).then(|| name.to_owned())
}

/// The exported names that are neither the ABI's nor the linker's own.
pub(crate) fn foreign_exports(bytes: &[u8]) -> Result<Vec<String>, String> {
    const LINKERS: [&str; 5] = ["_init", "_fini", "_edata", "_end", "__bss_start"];
    let file = File::parse(bytes).map_err(unreadable)?;
    let mut foreign = Vec::new();
    for export in file.exports().map_err(unreadable)? {
        if let NameOrOrdinal::Name(name) = export.map_err(unreadable)?.name() {
            let name = String::from_utf8_lossy(name);
            let is_ours = name.strip_prefix('_').unwrap_or(&name).starts_with(OURS);
            if !is_ours && !LINKERS.contains(&&*name) {
                foreign.push(name.into_owned());
            }
        }
    }
    foreign.sort();
    Ok(foreign)
}

/// Whether everything the file promises lies inside it. The loader maps what is promised: a missing end is a SIGBUS.
pub(super) fn whole(file: &File<'_>, len: u64) -> Result<(), String> {
    let truncated = |what: &str| Err(format!("truncated: {what} lies beyond its end ({len} bytes); copy it again"));
    for segment in file.segments() {
        let (start, size) = segment.file_range();
        if start.checked_add(size).is_none_or(|end| end > len) {
            return truncated("a segment");
        }
    }
    let mut sections = 0;
    for section in file.sections() {
        sections += 1;
        let Some((start, size)) = section.file_range() else { continue };
        if start.checked_add(size).is_none_or(|end| end > len) {
            return truncated("a section");
        }
    }
    if sections == 0 {
        return Err("it has no section table; was it truncated, or stripped of it?".into());
    }
    Ok(())
}

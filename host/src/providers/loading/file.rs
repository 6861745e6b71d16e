//! A library's file: where it is, and its bytes if it can be trusted to stay what it is.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use crate::config;

/// No real plugin is larger; a file that is would only cost memory.
const MAX_LIBRARY_BYTES: u64 = 64 * 1024 * 1024;

pub(crate) fn library_path(id: &str, settings: &config::Provider, plugins: &config::Plugins) -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let default = || format!("{DLL_PREFIX}{}{DLL_SUFFIX}", id.replace('-', "_"));
    plugins.dir.join(settings.library.clone().unwrap_or_else(default))
}

/// The file's bytes, read once. Every later step uses these and not the file. An error says whether there is no file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, (String, bool)> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // NONBLOCK: opening a pipe would wait for its writer.
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    let file = options.open(path).map_err(|error| match error {
        error if error.kind() == ErrorKind::NotFound => {
            ("no such file; copy the provider's library there, or name it with `library`".to_owned(), true)
        }
        #[cfg(unix)]
        error if error.raw_os_error() == Some(libc::ELOOP) => {
            ("a symbolic link; put the library itself there".to_owned(), false)
        }
        error => (format!("cannot open it: {error}"), false),
    })?;
    read_open(file, path).map_err(|reason| (reason, false))
}

fn read_open(file: File, path: &Path) -> Result<Vec<u8>, String> {
    let metadata = file.metadata().map_err(|error| format!("cannot read its metadata: {error}"))?;
    if !metadata.is_file() {
        return Err("not a regular file".into());
    }
    if metadata.len() > MAX_LIBRARY_BYTES {
        return Err(format!("it has {} bytes; a plugin has at most {MAX_LIBRARY_BYTES}", metadata.len()));
    }
    only_the_owner_writes(&metadata, path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(MAX_LIBRARY_BYTES).read_to_end(&mut bytes).map_err(|error| format!("cannot read it: {error}"))?;
    Ok(bytes)
}

#[cfg(unix)]
fn only_the_owner_writes(file: &fs::Metadata, path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    const OTHERS_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    if file.mode() & OTHERS_WRITE != 0 {
        return Err("anybody may write to it; `chmod o-w` it".into());
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let metadata = fs::metadata(folder).map_err(|error| format!("cannot read its folder's metadata: {error}"))?;
    if metadata.mode() & OTHERS_WRITE != 0 && metadata.mode() & STICKY == 0 {
        return Err(format!("anybody may write to its folder {}; `chmod o-w` it", folder.display()));
    }
    Ok(())
}

#[cfg(not(unix))]
fn only_the_owner_writes(_: &fs::Metadata, _: &Path) -> Result<(), String> {
    Ok(())
}

//! What of the media folder anybody may have: one rule for the files that are served and the names that are listed.

use std::{
    ffi::OsStr,
    io,
    path::{Component, Path, PathBuf},
};

/// Where a name leads, below the folder: nothing if it leads to nothing, or if a part of it, or of where it really leads, is
/// hidden or outside. The folder itself has no name.
pub(super) fn resolve(folder: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let relative = Path::new(name);
    if name.contains('\0') || !relative.components().all(is_plain) {
        return Ok(None);
    }
    let resolved = folder.canonicalize().and_then(|folder| Ok((folder.join(relative).canonicalize()?, folder)));
    match resolved {
        Ok((path, folder)) => Ok(is_below(&folder, &path).then_some(path)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a real path is one below the real folder that could be named: a link may lead to any of those.
pub(super) fn is_below(folder: &Path, path: &Path) -> bool {
    path.strip_prefix(folder).is_ok_and(|below| below.components().all(is_plain))
}

/// Whether nobody minds that there is a file of that name.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with('.')
}

fn is_plain(part: Component<'_>) -> bool {
    matches!(part, Component::Normal(part) if !is_hidden(part))
}

/// Whether there is nothing that anybody could have.
pub(super) fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename | PermissionDenied) || is_loop(error)
}

/// Links that lead round in a circle.
fn is_loop(error: &io::Error) -> bool {
    #[cfg(unix)]
    return error.raw_os_error() == Some(libc::ELOOP);
    #[cfg(not(unix))]
    return false;
}

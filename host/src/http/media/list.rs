//! What there is to choose from on this server: a folder of files, page by page, and the text tracks beside a file.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::{
    MediaFolder, blocking,
    folder::{is_missing, resolve},
    listings::Listing,
    names::{self, Cursor, Kind, Name},
    subtitles::is_srt,
    unreadable,
};
use crate::{
    config::Config,
    http::{
        client::{Query, no_store},
        error::{Error, ErrorCode},
    },
};

/// Names on one page, at most and by default.
const MAX_PAGE: usize = 200;
const DEFAULT_PAGE: usize = 100;

/// What a segment of a path keeps as it is (RFC 3986, "unreserved").
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Deserialize)]
pub(in crate::http) struct ListQuery {
    #[serde(default)]
    folder: String,
    cursor: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
pub(in crate::http) struct TracksQuery {
    file: String,
}

#[derive(Serialize)]
struct Page<'a> {
    folder: &'a str,
    entries: Vec<Entry>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    kind: Kind,
    /// Below the media folder: what the next question is about, if it is a folder.
    path: String,
    /// Of a file: its bytes, and an address that POST /links may understand.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

#[derive(Serialize)]
struct Tracks {
    tracks: Vec<Track>,
}

#[derive(Serialize)]
struct Track {
    /// WebVTT, whatever the file is.
    url: String,
    lang: Option<String>,
}

pub(in crate::http) async fn list(
    State(media): State<Arc<MediaFolder>>,
    query: Result<Query<ListQuery>, Error>,
) -> Result<Response, Error> {
    if !media.is_listed || media.dir.as_os_str().is_empty() {
        return Err(Error::new(ErrorCode::NotFound, "this server does not list its files"));
    }
    let Query(query) = query?;
    let cursor = query.cursor.as_deref().map(|cursor| Cursor::read(cursor).ok_or_else(Error::unknown_cursor));
    let (cursor, limit) = (cursor.transpose()?, query.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE));
    let name = query.folder.strip_suffix('/').unwrap_or(&query.folder).to_owned();
    let opened = open(&media, &name).await?;
    let listing = media.listings.of(&opened.root, &opened.folder, opened.changed).await.map_err(|e| unreadable(&e))?;
    // What it takes to look at a page of names; the folder was read before.
    let shown = blocking(move || {
        let (shown, has_more) = names::page(&listing.names, cursor.as_ref(), limit);
        let next_cursor = shown.last().filter(|_| has_more).map(|last| Cursor::after(last).write());
        let entries: Vec<_> = shown.iter().filter_map(|entry| opened.entry(&name, entry)).collect();
        Ok((name, entries, next_cursor))
    });
    let (name, entries, next_cursor) = shown.await.map_err(|error| unreadable(&error))?;
    Ok(no_store(Page { folder: &name, entries, next_cursor }).into_response())
}

pub(in crate::http) async fn tracks(
    State(media): State<Arc<MediaFolder>>,
    State(config): State<Arc<Config>>,
    Query(TracksQuery { file }): Query<TracksQuery>,
) -> Result<Response, Error> {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", &file));
    let no_such_file = || Error::new(ErrorCode::NotFound, "there is no such file in the media folder");
    if media.dir.as_os_str().is_empty() || name.is_empty() {
        return Err(no_such_file());
    }
    let opened = open(&media, folder).await?;
    let listing = media.listings.of(&opened.root, &opened.folder, opened.changed).await.map_err(|e| unreadable(&e))?;
    let beside = beside(name, &listing).ok_or_else(no_such_file)?;
    let tracks = beside.into_iter().map(|(track, lang)| {
        let query = if is_srt(&track.text) { "?as=vtt" } else { "" };
        let path = below(folder, &track.text);
        let url = format!("{}/media/{}{query}", config.server.public_path(), encoded(&path));
        Track { url, lang: lang.map(str::to_owned) }
    });
    Ok(no_store(Tracks { tracks: tracks.collect() }).into_response())
}

/// A folder below the media folder, by its real paths.
struct Opened {
    root: PathBuf,
    folder: PathBuf,
    changed: SystemTime,
}

async fn open(media: &MediaFolder, name: &str) -> Result<Opened, Error> {
    let no_such_folder = || Error::new(ErrorCode::NotFound, "there is no such folder in the media folder");
    // One name for one folder: it comes back in addresses.
    if !name.is_empty() && name.split('/').any(|part| matches!(part, "" | ".")) {
        return Err(no_such_folder());
    }
    let (dir, name) = (media.dir.clone(), name.to_owned());
    match blocking(move || Opened::find(&dir, &name)).await {
        Ok(Some(opened)) => Ok(opened),
        Err(error) if !is_missing(&error) => Err(unreadable(&error)),
        _ => Err(no_such_folder()),
    }
}

impl Opened {
    fn find(dir: &Path, name: &str) -> io::Result<Option<Opened>> {
        let Some(folder) = resolve(dir, name)? else { return Ok(None) };
        let (root, about) = (dir.canonicalize()?, fs::metadata(&folder)?);
        let changed = about.modified().unwrap_or(UNIX_EPOCH);
        Ok(about.is_dir().then_some(Opened { root, folder, changed }))
    }

    /// A name as it is at this moment; nothing if it has become something else since.
    fn entry(&self, folder: &str, name: &Name) -> Option<Entry> {
        let there = self.folder.join(&*name.text);
        let about = if name.is_link { names::behind(&self.root, &there) } else { there.symlink_metadata().ok() }?;
        let is_folder = name.kind == Kind::Folder;
        if about.is_dir() != is_folder || !(about.is_dir() || about.is_file()) {
            return None;
        }
        let path = below(folder, &name.text);
        let link = (!is_folder).then(|| format!("/media/{}", encoded(&path)));
        let size = (!is_folder).then_some(about.len());
        Some(Entry { name: name.text.to_string(), kind: name.kind, path, size, link })
    }
}

/// The text tracks of a file: those of the same name, with a language or without. Nothing if there is no such file.
fn beside<'a>(file: &str, listing: &'a Listing) -> Option<Vec<(&'a Name, Option<&'a str>)>> {
    let is_there = |name: &Name| *name.text == *file && matches!(name.kind, Kind::Video | Kind::Audio);
    listing.names.iter().find(|name| is_there(name))?;
    let (stem, _) = file.rsplit_once('.')?;
    let mut tracks: Vec<(&Name, Option<&str>)> = Vec::new();
    for name in listing.names.iter().filter(|name| name.kind == Kind::Subtitles) {
        let (of, _) = name.text.rsplit_once('.')?;
        let Some(rest) = of.strip_prefix(stem) else { continue };
        let lang = rest.strip_prefix('.').filter(|lang| is_language(lang));
        if !rest.is_empty() && lang.is_none() {
            continue;
        }
        match tracks.iter_mut().find(|(_, known)| *known == lang) {
            // Of two files that say the same, the one that need not be converted.
            Some((known, _)) if is_srt(&known.text) => *known = name,
            Some(_) => {}
            None => tracks.push((name, lang)),
        }
    }
    Some(tracks)
}

/// Whether a text looks like a language's tag: `en`, `pt-BR`, `zh-Hans`.
fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let is_primary = |part: &str| (2..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphabetic());
    let is_further = |part: &str| (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    parts.next().is_some_and(is_primary) && parts.all(is_further)
}

fn below(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn encoded(path: &str) -> String {
    let segments: Vec<_> = path.split('/').map(|segment| utf8_percent_encode(segment, SEGMENT).to_string()).collect();
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_told_from_a_word() {
        for tag in ["en", "deu", "pt-BR", "zh-Hans", "es-419"] {
            assert!(is_language(tag), "{tag}");
        }
        for word in ["", "e", "forced", "en-", "en-a", "1080p", "en_US"] {
            assert!(!is_language(word), "{word}");
        }
    }
}

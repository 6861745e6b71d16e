//! The names in a folder, as they are listed: what a player plays and what belongs to it, in the order people expect.

use std::{cmp::Ordering, fs, io, path::Path};

use serde::Serialize;

use super::folder::{is_below, is_hidden};

/// Of a folder with more the rest is not listed: nobody looks through so many, and a name takes some fifty bytes.
const MAX_NAMES: usize = 200_000;

/// What something in the folder is to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Folder,
    Video,
    Audio,
    Subtitles,
}

/// Something in a folder that may be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: Box<str>,
    pub(super) kind: Kind,
    /// Where it leads is looked at again whenever it is shown.
    pub(super) is_link: bool,
}

/// A place between two names: the list goes on after it, whatever has come and gone meanwhile.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    is_folder: bool,
    text: String,
}

impl Kind {
    /// What a file is by its name; nothing if no player has a use for it.
    fn of_file(name: &str) -> Option<Kind> {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        match extension.as_deref() {
            Some("vtt" | "srt") => return Some(Kind::Subtitles),
            // What is written about a stream is chosen; its pieces, which lie beside it, are not.
            Some("m3u8" | "mpd") => return Some(Kind::Video),
            Some("ts" | "m4s") => return None,
            _ => {}
        }
        match mime_guess::from_path(name).first_raw()? {
            kind if kind.starts_with("video/") => Some(Kind::Video),
            kind if kind.starts_with("audio/") => Some(Kind::Audio),
            _ => None,
        }
    }
}

impl Name {
    fn place(&self) -> (bool, &str) {
        (self.kind == Kind::Folder, &self.text)
    }
}

impl Cursor {
    pub(super) fn after(name: &Name) -> Cursor {
        Cursor { is_folder: name.kind == Kind::Folder, text: name.text.to_string() }
    }

    fn place(&self) -> (bool, &str) {
        (self.is_folder, &self.text)
    }

    pub(super) fn read(text: &str) -> Option<Cursor> {
        let (kind, text) = text.split_once('/')?;
        let is_folder = match kind {
            "folder" => true,
            "file" => false,
            _ => return None,
        };
        Some(Cursor { is_folder, text: text.into() })
    }

    pub(super) fn write(&self) -> String {
        format!("{}/{}", if self.is_folder { "folder" } else { "file" }, self.text)
    }
}

/// Reads a folder below `root`; both are real paths. Left out is what is hidden, what leads out, what is neither file nor
/// folder, what no player plays, and a name that no address or JSON text can say: one that is not UTF-8, or has control
/// characters in it.
pub(super) fn read(root: &Path, folder: &Path) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)?.flatten().take(MAX_NAMES) {
        let Ok(text) = entry.file_name().into_string() else { continue };
        if is_hidden(text.as_ref()) || text.chars().any(char::is_control) {
            continue;
        }
        let Ok(mut file_type) = entry.file_type() else { continue };
        let is_link = file_type.is_symlink();
        if is_link {
            let Some(there) = behind(root, &entry.path()) else { continue };
            file_type = there.file_type();
        }
        let kind = if file_type.is_dir() { Some(Kind::Folder) } else { Kind::of_file(&text) };
        if let Some(kind) = kind.filter(|_| file_type.is_dir() || file_type.is_file()) {
            names.push(Name { text: text.into(), kind, is_link });
        }
    }
    names.sort_unstable_by(|a, b| order(a.place(), b.place()));
    Ok(names)
}

/// What is behind a link, if it may be shown.
pub(super) fn behind(root: &Path, link: &Path) -> Option<fs::Metadata> {
    let path = link.canonicalize().ok()?;
    if is_below(root, &path) { path.metadata().ok() } else { None }
}

/// So many of those after the cursor, and whether there are more.
pub(super) fn page<'a>(names: &'a [Name], after: Option<&Cursor>, limit: usize) -> (&'a [Name], bool) {
    let first = after.map_or(0, |cursor| names.partition_point(|name| order(name.place(), cursor.place()).is_le()));
    let rest = &names[first..];
    (&rest[..limit.min(rest.len())], rest.len() > limit)
}

/// Folders first, then by name; two names that people would call the same are still two.
fn order((a_is_folder, a): (bool, &str), (b_is_folder, b): (bool, &str)) -> Ordering {
    b_is_folder.cmp(&a_is_folder).then_with(|| natural(a, b)).then_with(|| a.cmp(b))
}

/// Capital letters beside small ones, and numbers by their value: `Part 2` is before `part 10`.
fn natural(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let (Some(x), Some(y)) = (a.chars().next(), b.chars().next()) else { return a.len().cmp(&b.len()) };
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let ((n, rest_of_a), (m, rest_of_b)) = (number(a), number(b));
            (a, b) = (rest_of_a, rest_of_b);
            n.len().cmp(&m.len()).then_with(|| n.cmp(m))
        } else {
            (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]);
            x.to_lowercase().cmp(y.to_lowercase())
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The digits that a text begins with, without zeros that say nothing, and the rest.
fn number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].trim_start_matches('0'), &text[end..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(text: &str) -> Name {
        Name { text: text.into(), kind: Kind::Video, is_link: false }
    }

    fn sorted(mut names: Vec<Name>) -> Vec<Name> {
        names.sort_by(|a, b| order(a.place(), b.place()));
        names
    }

    #[test]
    fn names_are_in_the_order_people_expect() {
        let expected = [
            "1.webm",
            "02.webm",
            "2.webm",
            "10.webm",
            "a.webm",
            "B.webm",
            "b.webm",
            "c 9 x 10.webm",
            "C 10 x 9.webm",
            "s1e2.webm",
            "S01E10.webm",
            "ärger.webm",
        ];
        let names = sorted(expected.iter().rev().map(|name| file(name)).collect());
        assert_eq!(names.iter().map(|name| &*name.text).collect::<Vec<_>>(), expected);
        let folder = Name { kind: Kind::Folder, ..file("z") };
        assert_eq!(sorted(vec![file("a.webm"), folder.clone()])[0], folder);
    }

    #[test]
    fn a_cursor_is_read_back() {
        for cursor in [Cursor::after(&file("a/b 映.webm")), Cursor { is_folder: true, text: "x".into() }] {
            assert_eq!(Cursor::read(&cursor.write()), Some(cursor));
        }
        for bad in ["", "a.webm", "link/a", "folder"] {
            assert_eq!(Cursor::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_kind_is_known_by_the_name() {
        for (name, kind) in [
            ("a.webm", Some(Kind::Video)),
            ("a.OGV", Some(Kind::Video)),
            ("a.mkv", Some(Kind::Video)),
            ("a.ogg", Some(Kind::Audio)),
            ("a.mp3", Some(Kind::Audio)),
            ("a.en.SRT", Some(Kind::Subtitles)),
            ("a.vtt", Some(Kind::Subtitles)),
            ("a.m3u8", Some(Kind::Video)),
            ("a.MPD", Some(Kind::Video)),
            ("a.ts", None),
            ("a.m4s", None),
            ("a.txt", None),
            ("webm", None),
        ] {
            assert_eq!(Kind::of_file(name), kind, "{name}");
        }
    }

    proptest! {
        #[test]
        fn whoever_pages_through_sees_everything_once(
            names in proptest::collection::hash_set("[aAbB01]{1,4}", 0..40),
            limit in 1..7_usize,
            gone in 0..40_usize,
        ) {
            let names = sorted(names.iter().map(|name| file(name)).collect());
            let (mut seen, mut cursor, mut rest) = (Vec::new(), None, names.clone());
            loop {
                let (shown, has_more) = page(&rest, cursor.as_ref(), limit);
                seen.extend(shown.iter().cloned());
                let Some(last) = shown.last().filter(|_| has_more) else { break };
                cursor = Some(Cursor::after(last));
                // What was seen may be gone when the next page is asked for.
                if gone < rest.len() && seen.contains(&rest[gone]) {
                    rest.remove(gone);
                }
            }
            prop_assert_eq!(seen, names);
        }

        #[test]
        fn the_order_is_one(names in proptest::collection::vec("[aAéÉ09 ]{0,5}", 3)) {
            let [a, b, c] = [&names[0], &names[1], &names[2]];
            prop_assert_eq!(order((false, a), (false, b)), order((false, b), (false, a)).reverse());
            prop_assert_eq!(order((false, a), (false, b)) == Ordering::Equal, a == b);
            if order((false, a), (false, b)).is_le() && order((false, b), (false, c)).is_le() {
                prop_assert!(order((false, a), (false, c)).is_le());
            }
        }
    }
}

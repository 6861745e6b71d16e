//! The patterns of a rule: paths whose segments are taken, and texts that are put together from what was taken.

use super::address::without_end;

/// What somebody may have written into an address in place of an id.
const MAX_CAPTURE_BYTES: usize = 512;

/// What was taken from an address, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Captures(Vec<(String, String)>);

impl Captures {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Takes a text, if it can be one that a provider is asked about.
    pub(super) fn take(&mut self, name: &str, text: &str) -> Option<()> {
        let is_one = (1..=MAX_CAPTURE_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        is_one.then(|| self.0.push((name.to_owned(), text.to_owned())))
    }
}

/// The name in `{name}`; nothing if `text` is something else.
pub(super) fn placeholder(text: &str) -> Option<&str> {
    let name = text.strip_prefix('{')?.strip_suffix('}')?;
    (!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).then_some(name)
}

/// The path of an address, segment by segment.
#[derive(Clone, Debug)]
pub(super) struct Path {
    segments: Vec<Segment>,
    rest: Rest,
}

/// What may follow the segments.
#[derive(Clone, Debug)]
enum Rest {
    Nothing,
    /// `...`
    Anything,
    /// `{name...}`
    Taken(String),
}

/// `before{name}after*`
#[derive(Clone, Debug)]
struct Segment {
    before: String,
    name: Option<String>,
    after: String,
    /// A star closes it: whatever follows, if anything does, says nothing.
    is_open: bool,
}

impl Path {
    pub(super) fn parse(text: &str) -> Result<Path, String> {
        let Some(path) = text.strip_prefix('/') else { return Err(format!("`{text}` does not begin with a slash")) };
        if let Some(odd) = path.chars().find(|c| "?#%\\".contains(*c) || c.is_control()) {
            return Err(format!("`{text}`: `{}` has no place in a path; write it decoded", odd.escape_default()));
        }
        let mut parts: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
        let rest = match parts.last() {
            Some(&"...") => Rest::Anything,
            Some(last) => match last.strip_suffix("...}").and_then(|name| placeholder_name(&format!("{name}}}"))) {
                Some(name) => Rest::Taken(name),
                None => Rest::Nothing,
            },
            None => Rest::Nothing,
        };
        if !matches!(rest, Rest::Nothing) {
            parts.pop();
        }
        let segments =
            parts.into_iter().map(|part| Segment::parse(part).map_err(|problem| format!("`{text}`: {problem}")));
        Ok(Path { segments: segments.collect::<Result<_, _>>()?, rest })
    }

    pub(super) fn names(&self) -> Vec<&str> {
        let of_rest = if let Rest::Taken(name) = &self.rest { Some(name) } else { None };
        self.segments.iter().filter_map(|segment| segment.name.as_ref()).chain(of_rest).map(String::as_str).collect()
    }

    /// Takes what is to be taken of a path; nothing if it is another one.
    pub(super) fn take(&self, path: &[String], captures: &mut Captures) -> Option<()> {
        let path = if let Rest::Taken(_) = self.rest { path } else { without_end(path) };
        let (own, rest) = path.split_at_checked(self.segments.len())?;
        for (segment, text) in self.segments.iter().zip(own) {
            segment.take(text, captures)?;
        }
        match &self.rest {
            Rest::Nothing => rest.is_empty().then_some(()),
            Rest::Anything => Some(()),
            Rest::Taken(name) => {
                // A slash that was written as %2F would be another path.
                let is_path = rest.iter().all(|segment| is_one_segment(segment));
                is_path.then_some(())?;
                captures.take(name, &rest.join("/"))
            }
        }
    }
}

fn placeholder_name(text: &str) -> Option<String> {
    placeholder(text).map(str::to_owned)
}

/// Whether a decoded segment is what it was before. Dots were resolved when they were dots.
fn is_one_segment(text: &str) -> bool {
    !text.contains('/') && !matches!(text, "." | "..")
}

impl Segment {
    fn parse(text: &str) -> Result<Segment, String> {
        if text.is_empty() {
            return Err("an empty segment".into());
        }
        let (text, is_open) = text.strip_suffix('*').map_or((text, false), |text| (text, true));
        let (before, name, after) = match text.split_once('{') {
            None => (text, None, ""),
            Some((before, rest)) => {
                let (name, after) =
                    rest.split_once('}').ok_or_else(|| format!("`{text}` opens a brace and closes none"))?;
                let name = placeholder_name(&format!("{{{name}}}"))
                    .ok_or_else(|| format!("`{{{name}}}`: a name has small letters and _; `...}}` only ends a path"))?;
                (before, Some(name), after)
            }
        };
        if [before, after].iter().any(|literal| literal.contains(['{', '}', '*'])) {
            return Err(format!("`{text}`: one {{name}} in a segment, and a star only at its end"));
        }
        if name.is_some() && is_open && after.is_empty() {
            return Err(format!("`{text}*`: what is taken needs an end before the star, like {{id}}-*"));
        }
        Ok(Segment { before: before.into(), name, after: after.into(), is_open })
    }

    fn take(&self, text: &str, captures: &mut Captures) -> Option<()> {
        let rest = text.strip_prefix(self.before.as_str())?;
        let Some(name) = &self.name else {
            let fits = if self.is_open { !text.is_empty() } else { rest.is_empty() };
            return fits.then_some(());
        };
        let taken = match self.is_open {
            true => rest.split_once(self.after.as_str()).map_or(rest, |(taken, _)| taken),
            false => rest.strip_suffix(self.after.as_str())?,
        };
        is_one_segment(taken).then_some(())?;
        captures.take(name, taken)
    }
}

/// `{id}/{hash}`: a text with places for what was taken.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Name(String),
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Template, String> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let braces = || format!("`{text}`: a name in braces has small letters and _, like {{id}}");
            let (name, after) = after.split_once('}').ok_or_else(braces)?;
            let name = placeholder_name(&format!("{{{name}}}")).ok_or_else(braces)?;
            pieces.extend([Piece::Text(before.into()), Piece::Name(name)]);
            rest = after;
        }
        if text.is_empty() || rest.contains('}') {
            return Err(format!("`{text}`: a text with names in braces is expected, like {{id}}/{{hash}}"));
        }
        pieces.push(Piece::Text(rest.into()));
        Ok(Template(pieces))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Name(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The text; nothing if one of its names was not taken.
    pub(super) fn fill(&self, captures: &Captures) -> Option<String> {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Name(name) => captures.get(name),
        });
        pieces.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pattern: &str, path: &str) -> Option<Vec<String>> {
        let pattern = Path::parse(pattern).expect("a pattern");
        let segments: Vec<_> = path.split('/').skip(1).map(str::to_owned).collect();
        let mut captures = Captures::default();
        pattern.take(&segments, &mut captures)?;
        Some(pattern.names().into_iter().map(|name| captures.get(name).expect("taken").to_owned()).collect())
    }

    #[test]
    fn a_path_is_taken_segment_by_segment() {
        for (pattern, path, expected) in [
            ("/", "/", Some(vec![])),
            ("/", "/x", None),
            ("/watch", "/watch", Some(vec![])),
            ("/watch", "/watch/", Some(vec![])),
            ("/watch", "/watch//", None),
            ("/watch", "//watch", None),
            ("/watch", "/Watch", None),
            ("/{id}", "/", None),
            ("/{id}/{hash}", "/1/abc", Some(vec!["1", "abc"])),
            ("/{id}/{hash}", "/1", None),
            ("/{id}-*", "/550-fight-club", Some(vec!["550"])),
            ("/{id}-*", "/550", Some(vec!["550"])),
            ("/{id}-*", "/-club", None),
            ("/v{id}.html", "/v12.html", Some(vec!["12"])),
            ("/v{id}.html", "/v.html", None),
            ("/@*", "/@somebody", Some(vec![])),
            ("/@*", "/somebody", None),
            ("/a/*/{id}", "/a/slug/7", Some(vec!["7"])),
            ("/a/*/{id}", "/a//7", None),
            ("/a/...", "/a", Some(vec![])),
            ("/a/...", "/a/b/c/", Some(vec![])),
            ("/a/...", "/ab", None),
            ("/{path...}", "/a/b.webm", Some(vec!["a/b.webm"])),
            ("/{path...}", "/a/", Some(vec!["a/"])),
            ("/{path...}", "/", None),
        ] {
            let expected: Option<Vec<String>> = expected.map(|list| list.into_iter().map(str::to_owned).collect());
            assert_eq!(taken(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_taken_is_one_segment_of_plain_text() {
        let mut captures = Captures::default();
        for odd in ["", "a\0b", "a\nb", &"x".repeat(513)] {
            assert_eq!(captures.take("id", odd), None, "{odd:?}");
        }
        assert_eq!(captures.take("id", &"x".repeat(512)), Some(()));
        for pattern in ["/{id}", "/{id...}"] {
            let pattern = Path::parse(pattern).expect("a pattern");
            for odd in ["a/b", "..", "."] {
                assert_eq!(pattern.take(&[odd.to_owned()], &mut captures), None, "{odd}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for (bad, said) in [
            ("watch", "does not begin with a slash"),
            ("/a//b", "an empty segment"),
            ("/a?b", "`?` has no place"),
            ("/a%20b", "`%` has no place"),
            ("/{id", "opens a brace"),
            ("/{ID}", "a name has small letters"),
            ("/{id...}/b", "only ends a path"),
            ("/{a}{b}", "one {name} in a segment"),
            ("/*a", "a star only at its end"),
            ("/{id}*", "needs an end before the star"),
        ] {
            let error = Path::parse(bad).expect_err(bad);
            assert!(error.contains(said), "{bad}: {error}");
        }
        for bad in ["", "{", "{}", "}", "{id}}", "{A}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}

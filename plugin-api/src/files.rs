//! Files on the operator's own server, below a base URL, by templates for movies and episodes: what every provider of such
//! files needs, so that none of their identities leads out of that place.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::{ConfigError, Field, Media, Rejection, Shape};

/// A path segment keeps what needs no escape in any URL (RFC 3986, "unreserved").
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The longest path that every file system and the host's URL limit can take after escaping.
const MAX_ID_BYTES: usize = 512;

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Files {
    base_url: String,
    movie: String,
    tv: String,
}

impl Files {
    /// `base_url` is `/media/` (files the host serves itself) or `https://host/path/`, with a slash at its end. Below it a movie
    /// is at the path `movie`, in which `{id}` stands for the external id, and an episode at `tv`, made of `{id}`, `{season}`
    /// and `{episode}`.
    ///
    /// # Errors
    /// Names the one of the three that cannot be used, as a key of the configuration.
    pub fn new(base_url: String, movie: String, tv: String) -> Result<Files, ConfigError> {
        check_base_url(&base_url).map_err(|message| ConfigError::new("base_url", message))?;
        check_template(&movie, &["{id}"]).map_err(|message| ConfigError::new("movie", message))?;
        check_template(&tv, &["{id}", "{season}", "{episode}"]).map_err(|message| ConfigError::new("tv", message))?;
        Ok(Files { base_url, movie, tv })
    }

    /// The address of a file.
    ///
    /// # Errors
    /// What of the identity is no path, or no episode.
    pub fn url(&self, media: &Media<'_>) -> Result<String, Rejection> {
        let Files { base_url, movie, tv } = self;
        let (id, shape) = match (encode_path(&media.external_id), media.shape()) {
            (Ok(id), Ok(shape)) => (id, shape),
            (Err(id), Err(shape)) => return Err(id.and(shape)),
            (Err(rejection), Ok(_)) | (Ok(_), Err(rejection)) => return Err(rejection),
        };
        // The id goes in last: braces in it are escaped, but a template's own must be gone by then.
        let path = match shape {
            Shape::Movie => movie.replace("{id}", &id),
            Shape::Tv { season, episode } => tv
                .replace("{season}", &season.to_string())
                .replace("{episode}", &episode.to_string())
                .replace("{id}", &id),
        };
        Ok(format!("{base_url}{path}"))
    }
}

/// Escapes a relative path segment by segment, so that nothing in it can leave the base URL or become a query.
fn encode_path(id: &str) -> Result<String, Rejection> {
    let format = |message| Err(Rejection::format(Field::ExternalId, message));
    if id.is_empty() {
        return Err(Rejection::missing(Field::ExternalId, "a file's path is needed, like films/one.mp4"));
    }
    if id.len() > MAX_ID_BYTES {
        return Err(Rejection::range(Field::ExternalId, "a path has at most 512 bytes"));
    }
    if id.chars().any(char::is_control) {
        return format("a path has no control characters");
    }
    if has_scheme(id) {
        return format("give the path below the server's media folder, not a whole address");
    }
    if id.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return format("a path is relative, like films/one.mp4: no leading, trailing or double slash, no . or ..");
    }
    let segments: Vec<_> = id.split('/').map(|segment| utf8_percent_encode(segment, SEGMENT).to_string()).collect();
    Ok(segments.join("/"))
}

/// `http:/`, `file:/`, …: a whole address. A colon alone may well be in a file's name.
fn has_scheme(id: &str) -> bool {
    let Some((scheme, rest)) = id.split_once(':') else { return false };
    rest.starts_with('/')
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

fn check_base_url(base: &str) -> Result<(), String> {
    let expected = "expected \"/path/\" on this host or \"https://host/path/\", with a slash at its end";
    if !base.ends_with('/') || base.contains(['?', '#']) {
        return Err(format!("`{base}`: {expected}"));
    }
    if base.starts_with('/') && !base.starts_with("//") && !base.contains("..") {
        return Ok(());
    }
    let url = Url::parse(base).map_err(|error| format!("`{base}`: {error}; {expected}"))?;
    // Whether it may be http the host judges, which knows what its operator allows.
    if !matches!(url.scheme(), "https" | "http") || !url.username().is_empty() || url.password().is_some() {
        return Err(format!("`{base}`: {expected}, no user name"));
    }
    Ok(())
}

fn check_template(template: &str, placeholders: &[&str]) -> Result<(), String> {
    let mut rest = template.to_owned();
    for placeholder in placeholders {
        if !template.contains(placeholder) {
            return Err(format!("`{template}` does not contain {placeholder}"));
        }
        rest = rest.replace(placeholder, "x");
    }
    let plain = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/%".contains(&b));
    if !plain || rest.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(format!(
            "`{template}` must be a relative path made of {} and URL characters",
            placeholders.join(", ")
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(base_url: &str, movie: &str, tv: &str) -> Result<Files, ConfigError> {
        Files::new(base_url.into(), movie.into(), tv.into())
    }

    fn url(id: &str) -> Result<String, Rejection> {
        files("/media/", "{id}", "{id}/s{season}e{episode}.mp4").expect("a good place").url(&Media::movie(id))
    }

    #[test]
    fn each_segment_is_escaped_and_slashes_stay() {
        let url = url("Filme/Größe 1 {id} 100%.mp4");
        assert_eq!(url.as_deref(), Ok("/media/Filme/Gr%C3%B6%C3%9Fe%201%20%7Bid%7D%20100%25.mp4"));
    }

    #[test]
    fn nothing_leaves_the_base_url() {
        let bad = [
            "",
            "/etc/passwd",
            "a//b",
            "a/",
            "..",
            "../a",
            "a/../b",
            "./a",
            "a\nb",
            "https://evil.example/x",
            "file:/etc/passwd",
            "//evil.example",
        ];
        for id in bad {
            let rejection = url(id).expect_err(id);
            assert_eq!(rejection.problems()[0].field, Field::ExternalId, "{id}");
        }
        for (id, expected) in [
            ("a%2F..%2Fb", "/media/a%252F..%252Fb"),
            ("a?b#c.webm", "/media/a%3Fb%23c.webm"),
            ("a\\b", "/media/a%5Cb"),
            ("Alien: Covenant.webm", "/media/Alien%3A%20Covenant.webm"),
            ("javascript:alert(1)", "/media/javascript%3Aalert%281%29"),
        ] {
            assert_eq!(url(id).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_wrong_base_url_is_named() {
        for base in ["media/", "/media", "//evil/", "https://u:p@cdn.example/", "ftp://x/", "/a?/"] {
            assert_eq!(files(base, "{id}", "{id}{season}{episode}").expect_err(base).key(), "base_url");
        }
    }

    #[test]
    fn a_template_must_use_its_placeholders() {
        for (movie, tv, key) in
            [("x.mp4", "{id}/{season}/{episode}", "movie"), ("{id}", "{id}/{season}", "tv"), ("../{id}", "", "movie")]
        {
            assert_eq!(files("/media/", movie, tv).expect_err(movie).key(), key);
        }
    }
}

//! What is not shown of the settings.

use streamit_plugin_api::manifest::settings::is_secret_name;
use url::Url;

/// Hides values by the names people give to secrets, and passwords inside URLs.
/// `more` are names that are secret for another reason.
pub(super) fn mask(table: &mut toml::Table, more: &[String]) {
    for (key, value) in table.iter_mut() {
        if is_secret_name(key) || more.contains(key) {
            *value = MASK.into();
        } else {
            mask_value(value);
        }
    }
}

fn mask_value(value: &mut toml::Value) {
    match value {
        toml::Value::Table(inner) => mask(inner, &[]),
        toml::Value::Array(values) => values.iter_mut().for_each(mask_value),
        toml::Value::String(text) => *text = without_password(text),
        _ => {}
    }
}

const MASK: &str = "********";

/// A URL with its passwords masked, wherever they are; of one that cannot be read the scheme, or what is after the last @.
/// Any other text as it is.
pub fn without_password(text: &str) -> String {
    // A file has none, and its path may be what no URL may be.
    if text.starts_with("sqlite:") {
        return text.to_owned();
    }
    let mut url = match Url::parse(text) {
        Ok(url) if !url.cannot_be_a_base() => url,
        _ => {
            return match (text.split_once("://"), text.rsplit_once('@')) {
                (Some((scheme, _)), _) => format!("{scheme}://…"),
                (None, Some((_, host))) => format!("…@{host}"),
                (None, None) => text.to_owned(),
            };
        }
    };
    if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
        return format!("{}://…", url.scheme());
    }
    if url.query_pairs().any(|(name, _)| is_secret_name(&name)) {
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let shown =
            pairs.iter().map(|(name, value)| (name.as_str(), if is_secret_name(name) { MASK } else { value.as_str() }));
        url.query_pairs_mut().clear().extend_pairs(shown);
    }
    url.into()
}

/// A sentence that may quote somebody's settings: the passwords in what it quotes are masked.
pub fn without_passwords(sentence: &str) -> String {
    let mut shown = String::with_capacity(sentence.len());
    let mut rest = sentence;
    while let Some((before, quote, quoted, after)) = next_quoted(rest) {
        shown += before;
        shown.push(quote);
        shown += &without_password(quoted);
        shown.push(quote);
        rest = after;
    }
    shown + rest
}

/// What is before a quotation, its mark, what it quotes, and what is behind it.
fn next_quoted(text: &str) -> Option<(&str, char, &str, &str)> {
    let at = text.find(['"', '`'])?;
    let quote = text[at..].chars().next()?;
    let (quoted, after) = text[at + 1..].split_once(quote)?;
    Some((&text[..at], quote, quoted, after))
}

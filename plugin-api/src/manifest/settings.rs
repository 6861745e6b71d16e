//! `[player.settings]`: what a page is told of the operator's configuration. Whatever is not named there stays in the server.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use toml::{Table, Value};

use super::places::is_key;

/// A key of the configuration in a text of the settings begins so.
const BEGIN: &str = "{config.";

/// Whether a name is one that people give to what nobody else shall see.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["secret", "token", "password", "passwd", "key", "credential"].iter().any(|word| name.contains(word))
}

/// The keys of the configuration whose values the settings show to everybody.
pub fn public_keys(settings: &Table) -> BTreeSet<&str> {
    let mut keys = BTreeSet::new();
    for value in settings.values() {
        each_text(value, &mut |text| keys.extend(parts(text).into_iter().flatten().filter_map(Part::key)));
    }
    keys
}

/// What is wrong with the settings of a manifest whose keys `secrets` are shown to nobody.
pub(super) fn problems(settings: &Table, secrets: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, value) in settings {
        each_text(value, &mut |text| match parts(text) {
            Err(problem) => problems.push(format!("player.settings.{name}: {problem}")),
            Ok(parts) => {
                let keys = parts.into_iter().filter_map(Part::key);
                for key in keys.filter(|key| is_secret_name(key) || secrets.iter().any(|secret| secret == key)) {
                    let why = if is_secret_name(key) { "by its name" } else { "by `secrets`" };
                    problems.push(format!(
                        "player.settings.{name}: config.{key} is secret {why}, and everybody sees what a page is told"
                    ));
                }
            }
        });
    }
    problems
}

/// The settings under a configuration, as a page gets them. One that needs a key that is not there is left out.
///
/// # Errors
/// The key of the configuration with a value that cannot be where it is named, or that has a secret in it.
pub fn fill(settings: &Table, config: &Table) -> Result<serde_json::Map<String, Json>, String> {
    let filled = settings.iter().map(|(name, value)| Ok((name.clone(), filled(value, config)?)));
    let filled: Result<Vec<_>, String> = filled.collect();
    Ok(filled?.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

/// Calls `look` with each text in a value.
fn each_text<'a>(value: &'a Value, look: &mut impl FnMut(&'a str)) {
    match value {
        Value::String(text) => look(text),
        Value::Array(list) => list.iter().for_each(|value| each_text(value, look)),
        Value::Table(table) => table.values().for_each(|value| each_text(value, look)),
        _ => {}
    }
}

/// A piece of a text: what is written there, or a key of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    Key(&'a str),
}

impl<'a> Part<'a> {
    fn key(self) -> Option<&'a str> {
        match self {
            Part::Key(key) => Some(key),
            Part::Text(_) => None,
        }
    }
}

/// Braces with anything else in them are the provider's own affair: `{id}/manifest.mpd`.
fn parts(text: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let Some((key, after)) = after.split_once('}').filter(|(key, _)| is_key(key)) else {
            return Err(format!("`{text}`: expected {{config.key}}, with letters, digits and _ in its name"));
        };
        parts.extend((!before.is_empty()).then_some(Part::Text(before)));
        parts.push(Part::Key(key));
        rest = after;
    }
    parts.extend((!rest.is_empty()).then_some(Part::Text(rest)));
    Ok(parts)
}

fn filled(value: &Value, config: &Table) -> Result<Option<Json>, String> {
    Ok(Some(match value {
        Value::String(text) => return filled_text(text, config),
        Value::Array(list) => {
            let list: Result<Vec<_>, String> = list.iter().map(|value| filled(value, config)).collect();
            list?.into_iter().flatten().collect()
        }
        Value::Table(table) => Json::Object(fill(table, config)?),
        plain => json(plain),
    }))
}

fn filled_text(text: &str, config: &Table) -> Result<Option<Json>, String> {
    let parts = parts(text)?;
    if let [Part::Key(key)] = parts[..] {
        let Some(value) = config.get(key) else { return Ok(None) };
        nothing_secret(value, &format!("config.{key}"))?;
        return Ok(Some(json(value)));
    }
    let mut filled = String::new();
    for part in parts {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Key(key) => {
                let Some(value) = config.get(key) else { return Ok(None) };
                nothing_secret(value, &format!("config.{key}"))?;
                match value {
                    Value::String(text) => filled.push_str(text),
                    Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => filled.push_str(&value.to_string()),
                    _ => return Err(format!("config.{key}: expected a text, a number or a boolean")),
                }
            }
        }
    }
    Ok(Some(filled.into()))
}

/// Whether everybody may see a value: no key in it is secret by its name, and no address in it has a password.
fn nothing_secret(value: &Value, path: &str) -> Result<(), String> {
    match value {
        Value::String(text) if has_password(text) => {
            Err(format!("{path}: has a password in it, and the provider's page would show it to everybody"))
        }
        Value::Array(list) => list.iter().try_for_each(|value| nothing_secret(value, path)),
        Value::Table(table) => table.iter().try_for_each(|(name, value)| {
            // A name with a dot is that of a system (`org.w3.clearkey`), and not what is behind it.
            if is_secret_name(name) && !name.contains('.') {
                return Err(format!(
                    "{path}.{name}: is secret by its name, and the provider's page would show it to everybody"
                ));
            }
            nothing_secret(value, &format!("{path}.{name}"))
        }),
        _ => Ok(()),
    }
}

fn has_password(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else { return false };
    url.password().is_some() || url.query_pairs().any(|(name, _)| is_secret_name(&name))
}

fn json(value: &Value) -> Json {
    match value {
        Value::Datetime(moment) => moment.to_string().into(),
        Value::Array(list) => list.iter().map(json).collect(),
        Value::Table(table) => table.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
        Value::String(text) => text.clone().into(),
        Value::Integer(number) => (*number).into(),
        // What no JSON has, as `nan`, is null.
        Value::Float(number) => (*number).into(),
        Value::Boolean(is_so) => (*is_so).into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table(text: &str) -> Table {
        text.parse().expect("TOML")
    }

    fn filled_with(settings: &str, config: &str) -> Result<Json, String> {
        fill(&table(settings), &table(config)).map(Json::Object)
    }

    #[test]
    fn what_is_named_is_filled_in_and_nothing_else() {
        let config = "title = 'Films'\nport = 8443\nis_new = true\nlist = ['a', 2]\nhidden = 'x'\nratio = 1.5\n\
                      licence = { 'org.w3.clearkey' = 'https://l.example/' }\nday = 2026-11-27";
        for (settings, came) in [
            ("a = '{config.title}'", json!({ "a": "Films" })),
            ("a = 'The {config.title} of {config.port}'", json!({ "a": "The Films of 8443" })),
            ("a = '{config.port}'\nb = '{config.list}'", json!({ "a": 8443, "b": ["a", 2] })),
            ("a = '{config.is_new}{config.ratio}'", json!({ "a": "true1.5" })),
            ("a = '{config.licence}'", json!({ "a": { "org.w3.clearkey": "https://l.example/" } })),
            ("a = '{config.day}'", json!({ "a": "2026-11-27" })),
            ("a = ['{config.title}', '{config.none}', 1]", json!({ "a": ["Films", 1] })),
            ("a = { b = '{config.title}', c = '{config.none}' }", json!({ "a": { "b": "Films" } })),
            ("a = '{config.none}'\nb = 'x{config.none}'\nc = 'y'", json!({ "c": "y" })),
            ("a = '{id}/manifest.mpd {} } {'", json!({ "a": "{id}/manifest.mpd {} } {" })),
            ("", json!({})),
        ] {
            assert_eq!(filled_with(settings, config), Ok(came), "{settings}");
        }
    }

    #[test]
    fn a_value_that_nobody_may_see_or_that_does_not_fit_is_named() {
        for (settings, config, problem) in [
            ("a = 'x{config.b}'", "b = []", "config.b: expected a text"),
            ("a = '{config.b}'", "b = 'https://ann:hunter2@a.example/'", "config.b: has a password in it"),
            ("a = 'at {config.b}'", "b = 'https://a.example/?api_key=1'", "config.b: has a password in it"),
            ("a = '{config.b}'", "b = { c = [{ api_token = 'x' }] }", "config.b.c.api_token: is secret by its name"),
        ] {
            let error = filled_with(settings, config).expect_err(settings);
            assert!(error.starts_with(problem) && !error.contains("hunter2"), "{settings}: {error}");
        }
    }

    #[test]
    fn the_keys_that_become_public_are_known_before() {
        let settings = table("a = '{config.x} and {config.y}'\nb = [{ c = '{config.z}' }]\nd = '{id}'\ne = 5");
        assert_eq!(public_keys(&settings).into_iter().collect::<Vec<_>>(), ["x", "y", "z"]);
    }
}

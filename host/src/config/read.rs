//! From a file's text to settings, or to everything that is wrong with it, with line and key.

use std::{
    env, fmt, fs,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use streamit_plugin_api::manifest::is_provider_id;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Config,
    secrets::{mask, without_password, without_passwords},
};

/// A configuration that cannot be used: every problem, in the order of the file.
#[derive(Debug)]
pub struct ConfigError {
    pub(super) path: PathBuf,
    pub(super) problems: Vec<Problem>,
}

#[derive(Debug)]
pub(super) struct Problem {
    line: Option<usize>,
    key: String,
    message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Problem { line, key, message }) in self.problems.iter().enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
            write!(f, "{newline}{}{line}: {key}{message}", self.path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = fs::read_to_string(path).map_err(|error| ConfigError {
            path: path.into(),
            problems: vec![Problem { line: None, key: String::new(), message: format!("cannot read it: {error}") }],
        })?;
        match Config::parse(&text, |name| env::var(name).ok()) {
            Ok(config) => Ok(Config { file: path.into(), ..config }),
            Err(problems) => Err(ConfigError { path: path.into(), problems }),
        }
    }

    /// The tables in which `other` differs, other than those of plugins and their providers.
    pub fn differing_tables(&self, other: &Config) -> Vec<&'static str> {
        let tables = [
            ("state_dir", self.state_dir != other.state_dir),
            ("server", self.server != other.server),
            ("admin", self.admin != other.admin),
            ("database", self.database != other.database),
            ("live", self.live != other.live),
            ("rooms", self.rooms != other.rooms),
            ("limits", self.limits != other.limits),
            ("media", self.media != other.media),
            ("log", self.log != other.log),
            ("plugins.watch", self.plugins.watch != other.plugins.watch),
            // Providers are loaded from the new folder; it is the old one that is watched.
            ("plugins.dir", self.plugins.watch && self.plugins.dir != other.plugins.dir),
        ];
        tables.into_iter().filter(|(_, differs)| *differs).map(|(table, _)| table).collect()
    }

    /// Parses a file's text; `lookup` is the environment.
    pub(super) fn parse(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Config, Vec<Problem>> {
        let mut document = Document { text, problems: Vec::new() };
        let (mut table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            document.problem(error.span(), "", error.message());
        }
        // A text that is not TOML would give follow-up errors that say nothing.
        if !document.problems.is_empty() {
            return Err(document.problems);
        }
        document.expand_table(table.get_mut(), "", &lookup);

        // serde stops at its first error. Taking the key it names out and asking again finds the others.
        let config = loop {
            match Config::deserialize(toml::de::Deserializer::from(table.clone())) {
                Ok(config) => break config,
                Err(error) => {
                    let span = error.span().unwrap_or(0..0);
                    let key = remove_at(table.get_mut(), &span);
                    document.problem(Some(span), key.as_deref().unwrap_or_default(), error.message());
                    if key.is_none() {
                        return Err(document.problems);
                    }
                }
            }
        };
        document.check(&config, table.get_ref());
        document.problems.sort_by_key(|problem| problem.line);
        if document.problems.is_empty() { Ok(config) } else { Err(document.problems) }
    }

    /// The effective settings as TOML. Values of providers' own configuration that look like secrets are masked, and those that
    /// are `secrets` of a provider.
    pub fn explain(&self, secrets: impl Fn(&str) -> Vec<String>) -> String {
        let mut shown = self.clone();
        shown.database.url = without_password(&shown.database.url);
        for url in shown.live.redis.url.list_mut() {
            *url = without_password(url);
        }
        for (id, provider) in &mut shown.providers {
            mask(&mut provider.config, &secrets(id));
        }
        toml::to_string(&shown).expect("the settings came from TOML")
    }
}

/// A file being checked: its text, for line numbers, and what was found.
struct Document<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

impl Document<'_> {
    fn problem(&mut self, span: Option<Range<usize>>, key: &str, message: &str) {
        let line = span.map(|span| 1 + self.text.as_bytes()[..span.start].iter().filter(|b| **b == b'\n').count());
        self.problems.push(Problem {
            line,
            key: key.into(),
            message: without_passwords(message.trim()).replace('\n', " "),
        });
    }

    /// Puts the environment's values into strings.
    fn expand_table(&mut self, table: &mut DeTable<'_>, path: &str, lookup: &impl Fn(&str) -> Option<String>) {
        for (key, value) in table.iter_mut() {
            let path = joined(path, key.get_ref());
            self.expand_value(value, &path, lookup);
        }
    }

    fn expand_value(&mut self, value: &mut Spanned<DeValue<'_>>, path: &str, lookup: &impl Fn(&str) -> Option<String>) {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) if text.contains("${") => match expand(text, lookup) {
                Ok(expanded) => *text = expanded.into(),
                Err(message) => self.problem(Some(span), path, &message),
            },
            DeValue::Array(array) => {
                for item in array.iter_mut() {
                    self.expand_value(item, path, lookup);
                }
            }
            DeValue::Table(table) => self.expand_table(table, path, lookup),
            _ => {}
        }
    }

    /// The rules that concern more than one value.
    fn check(&mut self, config: &Config, table: &DeTable<'_>) {
        for (id, provider) in &config.providers {
            let key = format!("providers.{id}");
            let span = span_of(table, &["providers", id]);
            if !is_provider_id(id) {
                let message = "a provider's id has 2 to 32 characters: a letter, then letters, digits or -, all small";
                self.problem(span.clone(), &key, message);
            }
            if !config.plugins.allow_unpinned && provider.enabled && provider.sha256.is_none() {
                let message = "has no sha256, and plugins.allow_unpinned is false; add the library's SHA-256";
                self.problem(span, &key, message);
            }
        }
        if config.limits.silence_secs <= config.limits.ping_secs {
            let span = span_of(table, &["limits", "silence_secs"]).or_else(|| span_of(table, &["limits", "ping_secs"]));
            let message = format!(
                "{} is not above ping_secs ({}): every quiet socket would be cut before its first ping",
                config.limits.silence_secs, config.limits.ping_secs
            );
            self.problem(span, "limits.silence_secs", &message);
        }
        if config.admin.bind.is_some_and(|bind| bind == config.server.bind && bind.port() != 0) {
            let span = span_of(table, &["admin", "bind"]);
            self.problem(span, "admin.bind", "is the same address as server.bind; it needs one of its own");
        }
    }
}

pub(super) fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}

/// `${NAME}` and `${NAME:-default}` from the environment; `$${` stands for `${`.
pub(super) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if let Some(before) = rest[..start].strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        expanded.push_str(&rest[..start]);
        let Some(end) = rest[start..].find('}') else {
            return Err("`${` without its `}`; write `$${` for the two characters themselves".into());
        };
        let inner = &rest[start + 2..start + end];
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let found = lookup(name).filter(|value| !value.is_empty() || default.is_none());
        match found.as_deref().or(default) {
            Some(value) => expanded.push_str(value),
            None => {
                return Err(format!("the environment has no `{name}`; set it, or give a default: ${{{name}:-…}}"));
            }
        }
        rest = &rest[start + end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Takes out the innermost key whose name or value contains `span`, and answers its path.
fn remove_at(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let within = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    // Deeper first: a table's own span may be its header only, so its entries are always asked.
    for (key, value) in table.iter_mut() {
        if let DeValue::Table(inner) = value.get_mut()
            && let Some(path) = remove_at(inner, span)
        {
            return Some(joined(key.get_ref(), &path));
        }
    }
    let (key, _) = table.iter().find(|(key, value)| within(key.span()) || within(value.span()))?;
    let key = key.clone();
    table.remove(&key);
    Some(key.into_inner().into_owned())
}

/// Where the value at `path` is in the file.
fn span_of(table: &DeTable<'_>, path: &[&str]) -> Option<Range<usize>> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    match (rest, value.get_ref()) {
        ([], DeValue::Table(_)) => Some(key.span()),
        ([], _) => Some(value.span()),
        (_, DeValue::Table(inner)) => span_of(inner, rest),
        _ => None,
    }
}

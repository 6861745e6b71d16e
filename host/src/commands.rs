//! The commands of a plugin's author: `streamit plugin new | inspect | try | check`.

use std::{
    env,
    path::{Path, PathBuf},
};

use streamit::{
    program,
    providers::authoring::{
        self, Checked, Inspected, InspectedAsset, Untried,
        check::{self, CaseResult},
        template::{self, Language},
    },
};
use streamit_plugin_api::{Media, MediaType, links::Meaning};

use super::{BAD_CONFIGURATION, FAILED, Outcome, PluginCommand, print};

pub(super) fn run(command: PluginCommand) -> Outcome<()> {
    match command {
        PluginCommand::New { name, c: true, .. } => new(&name, &Language::C),
        PluginCommand::New { name, api_path, api_git, api_version, .. } => {
            new(&name, &Language::Rust(dependency(api_path.as_deref(), api_git.as_deref(), api_version.as_deref())?))
        }
        PluginCommand::Inspect { file, json } => inspect(&file, json),
        PluginCommand::Try { file, link: Some(link), config, .. } => try_link(&file, &link, config.as_deref()),
        PluginCommand::Try { file, movie, tv, config, .. } => {
            let media = movie.map(|id| Ok(Media::movie(id))).or_else(|| tv.map(|tv| episode(&tv)));
            try_one(&file, &media.expect("one of the three is required")?, config.as_deref())
        }
        PluginCommand::Check { file, config, only, json } => check(&file, config.as_deref(), only.as_deref(), json),
        PluginCommand::List { .. } => unreachable!("main has taken it"),
    }
}

/// The dependency on the plugin API, if the author wants another than a copy of it.
fn dependency(path: Option<&Path>, git: Option<&str>, version: Option<&str>) -> Outcome<Option<String>> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    if let Some(path) = path {
        let failed = |error| (BAD_CONFIGURATION, format!("--api-path {}: {error}", path.display()));
        let path = path.canonicalize().map_err(failed)?;
        if !path.join("Cargo.toml").is_file() {
            let text = format!("--api-path {}: no Cargo.toml is there; name the folder plugin-api", path.display());
            return Err((BAD_CONFIGURATION, text));
        }
        return Ok(Some(format!("{{ path = {} }}", quoted(&path.to_string_lossy()))));
    }
    Ok(git.map(|git| format!("{{ git = {} }}", quoted(git))).or_else(|| version.map(quoted)))
}

fn new(name: &str, language: &Language) -> Outcome<()> {
    let (folder, files) = template::write(Path::new("."), name, language).map_err(|error| (FAILED, error))?;
    let mut answer: String = files.iter().map(|file| format!("{}\n", file.display())).collect();
    let library = format!("{}{}{}", env::consts::DLL_PREFIX, name.replace('-', "_"), env::consts::DLL_SUFFIX);
    let (build, built) = match language {
        Language::Rust(_) => ("cargo build --release", PathBuf::from("target/release").join(library)),
        Language::C => ("make", PathBuf::from(library)),
    };
    let (folder, built) = (folder.display(), built.display());
    answer += &format!("\nNext:\n  cd {folder}\n  {build}\n  streamit plugin check {built}");
    print(&answer)
}

fn inspect(file: &Path, json: bool) -> Outcome<()> {
    let inspected = authoring::inspect(file).map_err(|error| (BAD_CONFIGURATION, error))?;
    if json {
        return print(&serde_json::to_string(&inspected).expect("plain data"));
    }
    let Inspected { id, name, version, abi, toolchain, media_types, embed_origins, sha256, .. } = &inspected;
    let Inspected { control, examples, rejects, bridge_bytes, bytes, .. } = &inspected;
    let Inspected { link_places, link_examples, connect_origins, worker, rate, live, .. } = &inspected;
    let Inspected { settings, public_config, assets, .. } = &inspected;
    let or_none = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let word = |value: serde_json::Value| value.as_str().unwrap_or("as its bridge says").to_owned();
    let yes = |is_so: bool| if is_so { "yes" } else { "no" };
    let settings: Vec<_> = settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let mut lines = vec![
        format!("id             {id}"),
        format!("name           {name}"),
        format!("version        {version}"),
        format!("abi            {abi}"),
        format!("toolchain      {toolchain}"),
        format!("media types    {}", media_types.join(", ")),
        format!("control        {}", word(serde_json::to_value(control).expect("plain data"))),
        format!("speed          {}", word(serde_json::to_value(rate).expect("plain data"))),
        format!("live           {}", yes(*live)),
        format!("embed origins  {}", embed_origins.join(", ")),
        format!("fetches from   {}", or_none(connect_origins)),
        format!("blob workers   {}", yes(*worker)),
        format!("settings       {}", or_none(&settings)),
        format!("public config  {}", or_none(public_config)),
        format!("links of       {}", or_none(link_places)),
        format!("golden cases   {examples} examples, {rejects} rejects, {link_examples} link examples"),
        format!("bridge         {bridge_bytes} bytes"),
    ];
    lines.extend(assets.iter().map(|asset| {
        let InspectedAsset { name, content_type, bytes, sha256 } = asset;
        format!("asset          {name}: {bytes} bytes, {content_type}, sha256 {sha256}")
    }));
    lines.extend([format!("file           {bytes} bytes"), format!("sha256         {sha256}")]);
    print(&lines.join("\n"))
}

fn episode(tv: &[String]) -> Outcome<Media<'static>> {
    let number = |n: usize, what: &str| {
        let parse = |text: &String| {
            text.parse().map_err(|_| (BAD_CONFIGURATION, format!("--tv: `{text}` is not a number for the {what}")))
        };
        tv.get(n).map(parse).transpose()
    };
    let external_id = tv.first().cloned().unwrap_or_default().into();
    let (season, episode) = (number(1, "season")?, number(2, "episode")?);
    Ok(Media { media_type: MediaType::Tv, external_id, season, episode })
}

fn config(json: Option<&str>) -> Outcome<Option<toml::Table>> {
    let parse = |json| {
        let expected = "expected a JSON object, as the configuration's `config = { … }`";
        serde_json::from_str(json).map_err(|error| (BAD_CONFIGURATION, format!("--config: {error}; {expected}")))
    };
    json.map(parse).transpose()
}

fn try_one(file: &Path, media: &Media<'_>, json: Option<&str>) -> Outcome<()> {
    match authoring::try_one(file, config(json)?, media, &program()) {
        Ok(url) => print(&url),
        Err(Untried::Rejected(rejection)) => {
            let lines = rejection.problems().iter().map(|problem| {
                let kind = serde_json::to_value(problem.kind).expect("plain data");
                format!("{} ({}): {}", problem.field.as_str(), kind.as_str().unwrap_or_default(), problem.message)
            });
            Err((FAILED, format!("rejected\n{}", lines.collect::<Vec<_>>().join("\n"))))
        }
        Err(Untried::Failed(reason)) => Err((FAILED, reason)),
    }
}

fn try_link(file: &Path, link: &str, json: Option<&str>) -> Outcome<()> {
    match authoring::try_link(file, config(json)?, link, &program()).map_err(|error| (FAILED, error))? {
        Meaning::Media(claim, url) => {
            let guess = if claim.is_guess { " (a guess: the address does not say which episode)" } else { "" };
            let start = claim.start_ms as f64 / 1000.0;
            print(&format!("media  {}{guess}\nstart  {start} s\nurl    {url}", claim.media))
        }
        Meaning::Refused(reason) => Err((FAILED, format!("refused: {reason}"))),
        Meaning::Nothing(None) => Err((FAILED, "not an address of this provider's: no rule in [[links]] fits".into())),
        Meaning::Nothing(Some(rejection)) => {
            Err((FAILED, format!("not an address of this provider's: a rule in [[links]] fits, and {rejection}")))
        }
    }
}

fn check(file: &Path, json_config: Option<&str>, only: Option<&str>, json: bool) -> Outcome<()> {
    if let Some(only) = only
        && !check::names().any(|name| only.split('[').next() == Some(name))
    {
        let names: Vec<_> = check::names().collect();
        return Err((BAD_CONFIGURATION, format!("--only: there is no case `{only}`; there are {}", names.join(", "))));
    }
    let checked = authoring::check(file, config(json_config)?, only, &program());
    let Checked { id, version, cases } = checked.as_ref().map_err(|error| (BAD_CONFIGURATION, error.clone()))?;
    let count = |results: &[CaseResult]| cases.iter().filter(|case| results.contains(&case.result)).count();
    let bad = count(&[CaseResult::Failed, CaseResult::Crashed, CaseResult::Hung]);
    if json {
        print(&serde_json::to_string(checked.as_ref().expect("looked at above")).expect("plain data"))?;
    } else {
        let mut answer = format!("{} ({id} {version})\n", file.display());
        for case in cases {
            let result = format!("{:?}", case.result).to_lowercase();
            answer += &format!("  {result:<8} {}\n", case.case);
            let lines = match case.result {
                CaseResult::Passed => continue,
                CaseResult::Skipped => [("because", case.came.as_deref()), ("", None), ("", None)],
                _ => [("expected", Some(case.expected)), ("came", case.came.as_deref()), ("mend", case.mend)],
            };
            for (label, text) in lines {
                if let Some(text) = text {
                    answer += &format!("           {label:<9} {text}\n");
                }
            }
        }
        let (passed, skipped) = (count(&[CaseResult::Passed]), count(&[CaseResult::Skipped]));
        print(&format!("{answer}{passed} passed, {bad} not, {skipped} skipped"))?;
    }
    if bad == 0 { Ok(()) } else { Err((FAILED, format!("{bad} of {} cases did not pass", cases.len()))) }
}

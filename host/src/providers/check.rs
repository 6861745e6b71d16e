//! The conformance suite of `streamit plugin check`: each case in a child of its own, so that one that crashes or hangs
//! is that case's outcome and nobody else's.

use std::{fs, path::Path, sync::Arc, thread, time::Duration};

use serde::Serialize;
use streamit_plugin_api::{Manifest, Media, MediaType, abi, manifest::Example};

use super::{
    bridge,
    child::{Answers, Child, How, Otherwise, Verdict},
    library::{CallError, Instance, Library, Logger, Question},
    output,
    preflight::{foreign_exports, preflight},
    prepare::{self, Prepare, Step},
};

/// No case takes a hundredth of it, unless the plugin hangs.
const DEADLINE: Duration = Duration::from_secs(10);

/// Processor time to load and configure a plugin: a host with thirty of them shall start at once.
const LOAD_TIME: Duration = Duration::from_millis(100);

/// A leak of one small allocation per create is above this, and what an allocator keeps for itself below.
const MAX_GROWTH_BYTES: usize = 512 * 1024;

/// A case of the suite.
pub(super) struct Case {
    name: &'static str,
    expected: &'static str,
    mend: &'static str,
    run: Run,
}

enum Run {
    /// Reads the file; no plugin code runs.
    Read(fn(&Prepare) -> Verdict),
    /// In a child.
    Call(fn(&Subject<'_>) -> Verdict),
    /// As often as the manifest has golden cases of a kind, each in a child: how many there are, and the nth.
    Golden(fn(&Manifest) -> usize, fn(&Subject<'_>, usize) -> Verdict),
    /// All golden cases, with an ear on what the plugin prints.
    Silent,
}

/// A case's outcome, for people and programs.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// One of a kind has a number, as in the manifest: `examples[0]`.
    pub case: String,
    pub result: CaseResult,
    pub expected: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub came: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseResult {
    Passed,
    Failed,
    Crashed,
    Hung,
    Skipped,
}

const CASES: &[Case] = &[
    Case {
        name: "exports",
        expected: "no symbol but the four streamit_…",
        mend: "build with hidden visibility (C: -fvisibility=hidden), so that no other library meets your names",
        run: Run::Read(exports),
    },
    Case {
        name: "bridge_syntax",
        expected: "a bridge.js that browsers can parse, as an ES module",
        mend: "mend that line of bridge.js; a page that cannot parse it has no player",
        run: Run::Call(bridge_syntax),
    },
    Case {
        name: "bridge",
        expected: "a default export",
        mend: "bridge.js needs `export default function mount(stage, options)` that returns the player",
        run: Run::Call(bridge_export),
    },
    Case {
        name: "examples_cover_media_types",
        expected: "a golden example for each of media_types",
        mend: "add an [[examples]] entry to provider.toml for each media type you list",
        run: Run::Read(coverage),
    },
    Case {
        name: "loads",
        expected: "the library loads with every symbol resolved, and create succeeds",
        mend: "link what is missing; do nothing in constructors; return 0 from create for a good configuration",
        run: Run::Call(loads),
    },
    Case {
        name: "loads_quickly",
        expected: "less than 100 ms of processor time to load and create",
        mend: "do work when it is asked for; create only checks the configuration",
        run: Run::Call(loads_quickly),
    },
    Case {
        name: "examples",
        expected: "the golden example gives its URL, each time",
        mend: "make embed_url and that [[examples]] entry of provider.toml agree",
        run: Run::Golden(|manifest| manifest.examples.len(), example),
    },
    Case {
        name: "rejects",
        expected: "a rejection that names the field",
        mend: "make embed_url and that [[rejects]] entry of provider.toml agree",
        run: Run::Golden(|manifest| manifest.rejects.len(), reject),
    },
    Case {
        name: "example_id",
        expected: "external_id.example has a URL",
        mend: "provider.toml's external_id.example is what people try first: use one that works",
        run: Run::Call(example_id),
    },
    Case {
        name: "same_answer",
        expected: "the same URL 1,000 times",
        mend: "embed_url is a pure function of configuration and media: no clock, no randomness, no state",
        run: Run::Call(same_answer),
    },
    Case {
        name: "threads",
        expected: "the same URL from 8 threads at once",
        mend: "embed_url is called from any thread; keep no unprotected state",
        run: Run::Call(threads),
    },
    Case {
        name: "instances",
        expected: "instances with different configurations that do not disturb each other",
        mend: "keep everything in the instance that create returns, nothing in statics",
        run: Run::Call(instances),
    },
    Case {
        name: "create_and_destroy",
        expected: "no growth over 1,000 instances",
        mend: "free in destroy whatever create allocated",
        run: Run::Call(create_and_destroy),
    },
    Case {
        name: "empty_config",
        expected: "an instance, or status 2 with the key that is missing",
        mend: "report each missing key with problem kind 5 and return 2",
        run: Run::Call(empty_config),
    },
    Case {
        name: "garbage_config",
        expected: "status 2 for a text that is no JSON object",
        mend: "parse config_json before using it; return 2 if it does not parse",
        run: Run::Call(garbage_config),
    },
    Case {
        name: "unknown_config_key",
        expected: "status 2 that names the key",
        mend: "refuse keys you do not know (Rust: #[serde(deny_unknown_fields)] or NoConfig): operators mistype",
        run: Run::Call(unknown_config_key),
    },
    Case {
        name: "no_log",
        expected: "it works in a host that offers no log",
        mend: "host->log may be NULL: look before you call it",
        run: Run::Call(no_log),
    },
    Case {
        name: "ids",
        expected: "a URL on embed_origins or a rejection, for any text",
        mend: "check external_id before you use it, and escape what you put into a URL",
        run: Run::Call(ids),
    },
    Case {
        name: "numbers",
        expected: "a URL or a rejection for any numbers; never a URL for an episode without both, or a movie with one",
        mend: "call media.shape()? (C: look at `present`) and report what is missing",
        run: Run::Call(numbers),
    },
    Case {
        name: "media_types",
        expected: "a rejection for every media type that provider.toml does not list, and for unknown ones",
        mend: "reject what you do not play: status 1, field media_type",
        run: Run::Call(media_types),
    },
    Case {
        name: "unknown_bits",
        expected: "a rejection for a `present` bit that this version does not know",
        mend: "reject if present has other bits than 1 and 2: something there matters that you cannot see",
        run: Run::Call(unknown_bits),
    },
    Case {
        name: "not_utf8",
        expected: "a rejection for an external_id that is not UTF-8",
        mend: "check the bytes before you treat them as text",
        run: Run::Call(not_utf8),
    },
    Case {
        name: "smaller_media",
        expected: "no URL for a media struct that is smaller than this version's",
        mend: "read media->size first, and no field beyond it",
        run: Run::Call(smaller_media),
    },
    Case {
        name: "larger_media",
        expected: "the same URL for a media struct of a later version",
        mend: "ignore whatever lies beyond the fields you know; do not compare size for equality",
        run: Run::Call(larger_media),
    },
    Case {
        name: "refusing_sink",
        expected: "it returns when the sink takes no more",
        mend: "stop when write returns something else than 0, and return 3",
        run: Run::Call(refusing_sink),
    },
    Case {
        name: "late_writes",
        expected: "nothing is written to the sink of a call that is over",
        mend: "do not keep `out` or `problems`: they are dead after the call",
        run: Run::Call(late_writes),
    },
    Case {
        name: "unknown_extension",
        expected: "NULL for an extension it does not have",
        mend: "compare the whole id, and return NULL for others",
        run: Run::Call(unknown_extension),
    },
    Case {
        name: SILENT,
        expected: "nothing printed",
        mend: "use the host's log, not stdout or stderr",
        run: Run::Silent,
    },
];

const SILENT: &str = "silent";

/// The names of all cases, golden ones without their number.
pub fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

/// A name and a number: `examples[3]` is the fourth of the golden examples.
fn numbered(name: &str) -> (&str, Option<usize>) {
    let parts = name.strip_suffix(']').and_then(|name| name.split_once('['));
    let parts = parts.and_then(|(name, n)| Some((name, Some(n.parse().ok()?))));
    parts.unwrap_or((name, None))
}

/// Runs the suite, or one case of it, on a library whose static data has passed.
pub(super) fn run_all(program: &Path, what: &Prepare, only: Option<&str>) -> Vec<Outcome> {
    let is_chosen = |case: &Case, name: &String| only.is_none_or(|only| only == name || only == case.name);
    let run = |case: &'static Case| {
        let names = match case.run {
            Run::Golden(count, _) => (0..count(&what.manifest)).map(|n| format!("{}[{n}]", case.name)).collect(),
            _ => vec![case.name.to_owned()],
        };
        let chosen = names.into_iter().filter(|name| is_chosen(case, name));
        chosen.map(|name| outcome(case, name, program, what)).collect::<Vec<_>>()
    };
    CASES.iter().flat_map(run).collect()
}

/// Whether the library can be loaded and configured so.
pub(super) fn can_be_created(program: &Path, what: &Prepare) -> bool {
    let verdict = Child::start(program, &what.manifest.id).and_then(|mut child| child.check("loads", what, DEADLINE));
    matches!(verdict, Ok(Ok(())))
}

fn outcome(case: &Case, name: String, program: &Path, what: &Prepare) -> Outcome {
    let came = match case.run {
        Run::Read(read) => Ok(read(what)),
        Run::Call(_) | Run::Golden(..) => {
            Child::start(program, &what.manifest.id).and_then(|mut child| child.check(&name, what, DEADLINE))
        }
        Run::Silent => Child::start(program, &what.manifest.id).and_then(|mut child| {
            child.check(&name, what, DEADLINE)?.ok();
            let printed = child.end();
            Ok(if printed.is_empty() { Ok(()) } else { Err(Otherwise::Failed(printed)) })
        }),
    };
    let (result, came) = match came {
        Ok(Ok(())) => (CaseResult::Passed, None),
        Ok(Err(Otherwise::Failed(came))) => (CaseResult::Failed, Some(came)),
        Ok(Err(Otherwise::Skipped(why))) => (CaseResult::Skipped, Some(why)),
        Err(ended) => {
            let result = if matches!(ended.how, How::Hung(_)) { CaseResult::Hung } else { CaseResult::Crashed };
            (result, Some(ended.to_string()))
        }
    };
    let is_fine = matches!(result, CaseResult::Passed | CaseResult::Skipped);
    Outcome { case: name, result, expected: case.expected, came, mend: (!is_fine).then_some(case.mend) }
}

/// The child's part: one case.
pub(super) fn run(name: &str, what: &Prepare, answers: &Answers) -> Verdict {
    let subject = Subject { what, answers };
    let (name, n) = numbered(name);
    match (CASES.iter().find(|case| case.name == name).map(|case| &case.run), n) {
        (Some(Run::Call(run)), None) => run(&subject),
        (Some(Run::Golden(_, run)), Some(n)) => run(&subject, n),
        (Some(Run::Silent), None) => all_golden(&subject),
        _ => failed("no such case"),
    }
}

/// A plugin under test, in its child.
struct Subject<'a> {
    what: &'a Prepare,
    answers: &'a Answers,
}

fn failed<T>(came: impl Into<String>) -> Result<T, Otherwise> {
    Err(Otherwise::Failed(came.into()))
}

fn skipped<T>(why: &str) -> Result<T, Otherwise> {
    Err(Otherwise::Skipped(why.into()))
}

impl Subject<'_> {
    fn open(&self, logger: Option<Logger>) -> Result<Arc<Library>, Otherwise> {
        self.answers.doing(Step::Opening);
        Library::open(&self.what.library, logger).map(Arc::new).or_else(failed)
    }

    fn create(&self, library: &Arc<Library>) -> Result<Instance, Otherwise> {
        self.answers.doing(Step::Configuring);
        let instance = self.what.create(library, None).or_else(|error| failed(error.to_string()))?;
        self.answers.doing(Step::Call);
        Ok(instance)
    }

    fn instance(&self) -> Result<(Arc<Library>, Instance), Otherwise> {
        let library = self.open(Some(self.answers.logger()))?;
        let instance = self.create(&library)?;
        Ok((library, instance))
    }

    /// A plain instance, and an identity that plays on it, with the URL it gives. Whether that is the right one is for
    /// the golden cases to say.
    fn sample(&self) -> Result<(Instance, &Media<'static>, String), Otherwise> {
        let (_, instance) = self.instance()?;
        let is_plain = |example: &&Example| example.config.as_ref().is_none_or(|config| *config == self.what.config);
        let plain = self.what.manifest.examples.iter().filter(is_plain);
        let played = plain.filter_map(|Example { media, .. }| Some((media, instance.embed_url(media).ok()?))).next();
        match played {
            Some((media, url)) => Ok((instance, media, url)),
            None => skipped("no golden example plays with the configuration it is tried with"),
        }
    }

    /// One identity of each media type it lists, around an id.
    fn media_of<'a>(&self, id: &'a str) -> Vec<Media<'a>> {
        let types = self.what.manifest.media_types.iter();
        types.map(|media_type| plain(*media_type, id)).collect()
    }

    /// Whether an answer is one a host can work with.
    fn is_sound(&self, came: &Result<String, CallError>) -> Result<(), String> {
        match came {
            Ok(url) => output::check_url(url, &self.what.destinations),
            Err(CallError::Rejected(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn plain(media_type: MediaType, id: &str) -> Media<'_> {
    match media_type {
        MediaType::Movie => Media::movie(id),
        MediaType::Tv => Media::tv(id, 1, 1),
    }
}

fn exports(what: &Prepare) -> Verdict {
    let bytes = fs::read(&what.library).or_else(|error| failed(error.to_string()))?;
    let foreign = foreign_exports(&bytes).or_else(failed)?;
    if foreign.is_empty() { Ok(()) } else { failed(foreign.join(", ")) }
}

fn bridge_syntax(subject: &Subject<'_>) -> Verdict {
    has_default_export(subject).map(drop)
}

fn bridge_export(subject: &Subject<'_>) -> Verdict {
    match has_default_export(subject) {
        Ok(true) => Ok(()),
        Ok(false) => failed("none"),
        Err(_) => skipped("it cannot be parsed"),
    }
}

fn has_default_export(subject: &Subject<'_>) -> Result<bool, Otherwise> {
    let bytes = fs::read(&subject.what.library).or_else(|error| failed(error.to_string()))?;
    let bridge = preflight(&bytes).or_else(failed)?.bridge;
    bridge::has_default_export(&bridge).or_else(failed)
}

fn coverage(what: &Prepare) -> Verdict {
    let manifest = &what.manifest;
    let is_covered = |media_type| manifest.examples.iter().any(|example| example.media.media_type == media_type);
    match manifest.media_types.iter().find(|media_type| !is_covered(**media_type)) {
        None => Ok(()),
        Some(media_type) => failed(format!("none for {media_type}")),
    }
}

fn loads(subject: &Subject<'_>) -> Verdict {
    subject.instance().map(drop)
}

fn loads_quickly(subject: &Subject<'_>) -> Verdict {
    use rustix::time::{ClockId, clock_gettime};
    let now = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
    };
    let before = now();
    subject.instance()?;
    let took = now().saturating_sub(before);
    if took < LOAD_TIME { Ok(()) } else { failed(format!("{took:?}")) }
}

fn example(subject: &Subject<'_>, n: usize) -> Verdict {
    let (library, instance) = subject.instance()?;
    subject.answers.doing(Step::Examples);
    let Some(golden) = subject.what.manifest.examples.get(n) else { return failed("there is none") };
    prepare::example(subject.what, &library, &instance, golden).or_else(failed)
}

fn reject(subject: &Subject<'_>, n: usize) -> Verdict {
    let (library, instance) = subject.instance()?;
    subject.answers.doing(Step::Examples);
    let Some(golden) = subject.what.manifest.rejects.get(n) else { return failed("there is none") };
    prepare::reject(subject.what, &library, &instance, golden).or_else(failed)
}

/// Every golden case, whatever comes of it.
fn all_golden(subject: &Subject<'_>) -> Verdict {
    let (library, instance) = subject.instance()?;
    subject.answers.doing(Step::Examples);
    let Manifest { examples, rejects, .. } = &subject.what.manifest;
    for golden in examples {
        let _ = prepare::example(subject.what, &library, &instance, golden);
    }
    for golden in rejects {
        let _ = prepare::reject(subject.what, &library, &instance, golden);
    }
    Ok(())
}

fn example_id(subject: &Subject<'_>) -> Verdict {
    let (_, instance) = subject.instance()?;
    let id = &subject.what.manifest.external_id.example;
    let mut reasons = Vec::new();
    for media in subject.media_of(id) {
        match instance.embed_url(&media) {
            Ok(_) => return Ok(()),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    failed(format!("`{id}`: {}", reasons.join("; ")))
}

fn same_answer(subject: &Subject<'_>) -> Verdict {
    let (instance, media, url) = subject.sample()?;
    for n in 1..=1000 {
        match instance.embed_url(media) {
            Ok(came) if came == url => {}
            came => return failed(format!("call {n}: {came:?}")),
        }
    }
    Ok(())
}

fn threads(subject: &Subject<'_>) -> Verdict {
    let (instance, media, url) = subject.sample()?;
    let calls = || (0..500).map(|_| instance.embed_url(media)).find(|came| came.as_ref() != Ok(&url));
    let other = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(calls)).collect();
        threads.into_iter().find_map(|thread| thread.join().ok().flatten())
    });
    match other {
        None => Ok(()),
        Some(came) => failed(format!("{came:?}")),
    }
}

fn instances(subject: &Subject<'_>) -> Verdict {
    let library = subject.open(Some(subject.answers.logger()))?;
    subject.answers.doing(Step::Configuring);
    // What each golden example gives with nothing else alive; one that gives nothing is a golden case's failure.
    let alone = subject.what.manifest.examples.iter().filter_map(|example| {
        let instance = subject.what.create(&library, example.config.as_ref()).ok()?;
        Some((example, instance.embed_url(&example.media).ok()?))
    });
    let alone: Vec<_> = alone.collect();
    if alone.is_empty() {
        return skipped("no golden example plays");
    }
    // The same again, all alive at once; and a twin of the first.
    let mut alive = Vec::new();
    for (example, url) in alone.iter().chain(alone.first()) {
        let instance = subject.what.create(&library, example.config.as_ref());
        alive.push((&example.media, url, instance.or_else(|error| failed(error.to_string()))?));
    }
    subject.answers.doing(Step::Call);
    let ask = |alive: &[(&Media<'_>, &String, Instance)], when: &str| {
        for (media, url, instance) in alive {
            match instance.embed_url(media) {
                Ok(came) if came == **url => {}
                Ok(came) => return failed(format!("{media}: {came} instead of {url}, {when}")),
                Err(error) => return failed(format!("{media}: {error}, {when}")),
            }
        }
        Ok(())
    };
    ask(&alive, "beside others")?;
    alive.remove(0);
    ask(&alive, "after another was destroyed")
}

fn create_and_destroy(subject: &Subject<'_>) -> Verdict {
    /// Resident bytes of this process, where the system tells.
    fn resident() -> Option<usize> {
        let pages = fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse::<usize>().ok()?;
        Some(pages * rustix::param::page_size())
    }
    let library = subject.open(Some(subject.answers.logger()))?;
    let create = |times| (0..times).try_for_each(|_| subject.what.create(&library, None).map(drop));
    subject.answers.doing(Step::Configuring);
    create(200).or_else(|error| failed(error.to_string()))?;
    let mut growth = 0;
    // Whoever leaks does so each time; a system's allocator takes a lump now and then.
    for _ in 0..3 {
        let Some(before) = resident() else {
            return skipped("this system does not say how much memory a process has");
        };
        create(1000).or_else(|error| failed(error.to_string()))?;
        growth = resident().unwrap_or(before).saturating_sub(before);
        if growth <= MAX_GROWTH_BYTES {
            return Ok(());
        }
    }
    failed(format!("it grew by {} KiB", growth / 1024))
}

/// Creates an instance with a configuration of any text.
fn create_with(subject: &Subject<'_>, config: &str) -> Result<Result<(), CallError>, Otherwise> {
    let library = subject.open(Some(subject.answers.logger()))?;
    subject.answers.doing(Step::Configuring);
    Ok(Instance::create(library, config).map(drop))
}

fn empty_config(subject: &Subject<'_>) -> Verdict {
    match create_with(subject, "{}")? {
        Ok(()) | Err(CallError::BadConfig(_)) => Ok(()),
        Err(error) => failed(error.to_string()),
    }
}

fn garbage_config(subject: &Subject<'_>) -> Verdict {
    for garbage in ["{", "[]", "null", "\u{1F37F}", "{\"a\":1}}"] {
        match create_with(subject, garbage)? {
            Err(CallError::BadConfig(_)) => {}
            came => return failed(format!("`{garbage}`: {came:?}")),
        }
    }
    Ok(())
}

fn unknown_config_key(subject: &Subject<'_>) -> Verdict {
    const KEY: &str = "no_such_key";
    let mut config = subject.what.config.clone();
    config.insert(KEY.into(), toml::Value::Integer(1));
    let json = serde_json::to_string(&config).or_else(|error| failed(error.to_string()))?;
    match create_with(subject, &json)? {
        Err(CallError::BadConfig(text)) if text.contains(KEY) => Ok(()),
        came => failed(format!("{came:?}")),
    }
}

fn no_log(subject: &Subject<'_>) -> Verdict {
    let library = subject.open(None)?;
    let instance = subject.create(&library)?;
    for media in subject.media_of(&subject.what.manifest.external_id.example) {
        subject.is_sound(&instance.embed_url(&media)).or_else(failed)?;
    }
    Ok(())
}

fn ids(subject: &Subject<'_>) -> Verdict {
    let (_, instance) = subject.instance()?;
    let long = "x".repeat(10_000);
    let digits = "9".repeat(10_000);
    for id in [
        "",
        " ",
        "0",
        "-1",
        &long,
        &digits,
        "a\0b",
        "a\nb",
        "é",
        "\u{1F37F}",
        "\u{202E}abc",
        "../../admin",
        "..",
        "/",
        "//evil.example",
        "?a=b",
        "#x",
        "%2F",
        "%00",
        "\"",
        "'",
        "<script>",
        "\\",
        "javascript:alert(1)",
        "https://evil.example/",
        "@evil.example",
        ":80",
        "a b",
        "{}",
        "${HOME}",
    ] {
        for media in subject.media_of(id) {
            let came = instance.embed_url(&media);
            let shown: String = id.chars().take(40).collect();
            subject.is_sound(&came).or_else(|reason| failed(format!("{} `{shown}`: {reason}", media.media_type)))?;
        }
    }
    Ok(())
}

fn numbers(subject: &Subject<'_>) -> Verdict {
    let (_, instance) = subject.instance()?;
    let id = &subject.what.manifest.external_id.example;
    for media_type in &subject.what.manifest.media_types {
        for season in [None, Some(0), Some(1), Some(u32::MAX)] {
            for episode in [None, Some(0), Some(1), Some(u32::MAX)] {
                let media = Media { season, episode, ..plain(*media_type, id) };
                let came = instance.embed_url(&media);
                let is_wrong = media.shape().is_err() && came.is_ok();
                match subject.is_sound(&came) {
                    Ok(()) if !is_wrong => {}
                    _ => return failed(format!("{media_type}, season {season:?}, episode {episode:?}: {came:?}")),
                }
            }
        }
    }
    Ok(())
}

fn is_rejected(came: Result<String, CallError>) -> Verdict {
    match came {
        Err(CallError::Rejected(_)) => Ok(()),
        came => failed(format!("{came:?}")),
    }
}

fn media_types(subject: &Subject<'_>) -> Verdict {
    let (_, instance) = subject.instance()?;
    let manifest = &subject.what.manifest;
    let unlisted = [MediaType::Movie, MediaType::Tv].into_iter().filter(|kind| !manifest.media_types.contains(kind));
    for media_type in unlisted {
        is_rejected(instance.embed_url(&plain(media_type, &manifest.external_id.example)))?;
    }
    let movie = Media::movie(manifest.external_id.example.as_str());
    for media_type in [0, 3, u32::MAX] {
        is_rejected(instance.ask(&Question { media_type, ..Question::from(&movie) }))?;
    }
    Ok(())
}

fn unknown_bits(subject: &Subject<'_>) -> Verdict {
    let (instance, media, _) = subject.sample()?;
    let question = Question::from(media);
    is_rejected(instance.ask(&Question { present: question.present | 4, ..question }))?;
    is_rejected(instance.ask(&Question { present: question.present | 1 << 31, ..question }))
}

fn not_utf8(subject: &Subject<'_>) -> Verdict {
    let (instance, media, _) = subject.sample()?;
    is_rejected(instance.ask(&Question { external_id: b"\xFF\xFE7", ..Question::from(media) }))
}

fn smaller_media(subject: &Subject<'_>) -> Verdict {
    let (instance, media, _) = subject.sample()?;
    for size in [0, 4, 8, size_of::<abi::StreamitMedia>() - 1] {
        match instance.ask(&Question { size, ..Question::from(media) }) {
            Ok(url) => return failed(format!("{url} for a size of {size}")),
            Err(CallError::Fault(reason)) if reason.contains("panicked") => return failed(reason),
            Err(_) => {}
        }
    }
    Ok(())
}

fn larger_media(subject: &Subject<'_>) -> Verdict {
    let (instance, media, url) = subject.sample()?;
    let size = size_of::<abi::StreamitMedia>() + 32;
    match instance.ask(&Question { size, ..Question::from(media) }) {
        Ok(came) if came == url => Ok(()),
        came => failed(format!("{came:?}")),
    }
}

fn refusing_sink(subject: &Subject<'_>) -> Verdict {
    let (instance, media, url) = subject.sample()?;
    for sink_takes in [0, 1, url.len() / 2, url.len().saturating_sub(1)] {
        match instance.ask(&Question { sink_takes, ..Question::from(media) }) {
            Err(CallError::Fault(reason)) if !reason.contains("panicked") => {}
            came => return failed(format!("a sink that takes {sink_takes} bytes: {came:?}")),
        }
    }
    Ok(())
}

fn late_writes(subject: &Subject<'_>) -> Verdict {
    let (instance, media, _) = subject.sample()?;
    let question = Question::from(media);
    let again = || {
        for _ in 0..10 {
            let _ = instance.ask(&question);
        }
        thread::sleep(Duration::from_millis(50));
    };
    match instance.late_writes(&question, again) {
        0 => Ok(()),
        writes => failed(format!("{writes} writes after the call")),
    }
}

fn unknown_extension(subject: &Subject<'_>) -> Verdict {
    let (_, instance) = subject.instance()?;
    for id in ["streamit.no-such-thing/1", "", "streamit.", "x"] {
        match instance.has_extension(id) {
            None => return skipped("it has no extensions at all"),
            Some(false) => {}
            Some(true) => return failed(format!("a table for `{id}`")),
        }
    }
    Ok(())
}

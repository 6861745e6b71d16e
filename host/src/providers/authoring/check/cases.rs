//! The cases themselves: what each asks of a plugin, and what it takes for an answer.

use std::{fs, thread, time::Duration};

use streamit_plugin_api::{Manifest, Media, MediaType, abi, links};

use super::{
    super::{
        super::{
            loading::{foreign_exports, preflight},
            running::{
                child::{Otherwise, Verdict},
                library::{CallError, Instance, Question},
                prepare::{self, Prepare, Step},
            },
        },
        bridge,
    },
    Subject, failed, plain, skipped,
};

/// Processor time to load and configure a plugin: a host with thirty of them shall start at once.
const LOAD_TIME: Duration = Duration::from_millis(100);

/// A leak of one small allocation per create is above this, and what an allocator keeps for itself below.
const MAX_GROWTH_BYTES: usize = 512 * 1024;

pub(super) fn exports(what: &Prepare) -> Verdict {
    let bytes = fs::read(&what.library).or_else(|error| failed(error.to_string()))?;
    let foreign = foreign_exports(&bytes).or_else(failed)?;
    if foreign.is_empty() { Ok(()) } else { failed(foreign.join(", ")) }
}

pub(super) fn bridge_syntax(subject: &Subject<'_>) -> Verdict {
    has_default_export(subject).map(drop)
}

pub(super) fn bridge_export(subject: &Subject<'_>) -> Verdict {
    match has_default_export(subject) {
        Ok(true) => Ok(()),
        Ok(false) => failed("none"),
        Err(_) => skipped("it cannot be parsed"),
    }
}

pub(super) fn has_default_export(subject: &Subject<'_>) -> Result<bool, Otherwise> {
    let bytes = fs::read(&subject.what.library).or_else(|error| failed(error.to_string()))?;
    let bridge = preflight(&bytes).or_else(failed)?.bridge;
    bridge::has_default_export(&bridge).or_else(failed)
}

pub(super) fn coverage(what: &Prepare) -> Verdict {
    let manifest = &what.manifest;
    let is_covered = |media_type| manifest.examples.iter().any(|example| example.media.media_type == media_type);
    match manifest.media_types.iter().find(|media_type| !is_covered(**media_type)) {
        None => Ok(()),
        Some(media_type) => failed(format!("none for {media_type}")),
    }
}

pub(super) fn links_are_tried(what: &Prepare) -> Verdict {
    let Manifest { links, link_examples, .. } = &what.manifest;
    match links::untried(links, link_examples, &what.config).or_else(failed)?.first() {
        None => Ok(()),
        Some(n) => failed(format!("none for links[{n}]")),
    }
}

pub(super) fn loads(subject: &Subject<'_>) -> Verdict {
    subject.instance().map(drop)
}

pub(super) fn loads_quickly(subject: &Subject<'_>) -> Verdict {
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

pub(super) fn example(subject: &Subject<'_>, n: usize) -> Verdict {
    let (library, instance) = subject.instance()?;
    subject.answers.doing(Step::Examples);
    let Some(golden) = subject.what.manifest.examples.get(n) else { return failed("there is none") };
    prepare::example(subject.what, &library, &instance, golden).or_else(failed)
}

pub(super) fn reject(subject: &Subject<'_>, n: usize) -> Verdict {
    let (library, instance) = subject.instance()?;
    subject.answers.doing(Step::Examples);
    let Some(golden) = subject.what.manifest.rejects.get(n) else { return failed("there is none") };
    prepare::reject(subject.what, &library, &instance, golden).or_else(failed)
}

pub(super) fn link_example(subject: &Subject<'_>, n: usize) -> Verdict {
    let (library, instance) = subject.instance()?;
    subject.answers.doing(Step::Examples);
    let Some(golden) = subject.what.manifest.link_examples.get(n) else { return failed("there is none") };
    prepare::link_example(subject.what, &library, &instance, golden).or_else(failed)
}

/// Every golden case, whatever comes of it.
pub(super) fn all_golden(subject: &Subject<'_>) -> Verdict {
    let (library, instance) = subject.instance()?;
    subject.answers.doing(Step::Examples);
    let Manifest { examples, rejects, link_examples, .. } = &subject.what.manifest;
    for golden in link_examples {
        let _ = prepare::link_example(subject.what, &library, &instance, golden);
    }
    for golden in examples {
        let _ = prepare::example(subject.what, &library, &instance, golden);
    }
    for golden in rejects {
        let _ = prepare::reject(subject.what, &library, &instance, golden);
    }
    Ok(())
}

pub(super) fn example_id(subject: &Subject<'_>) -> Verdict {
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

pub(super) fn same_answer(subject: &Subject<'_>) -> Verdict {
    let (instance, media, url) = subject.sample()?;
    for n in 1..=1000 {
        match instance.embed_url(media) {
            Ok(came) if came == url => {}
            came => return failed(format!("call {n}: {came:?}")),
        }
    }
    Ok(())
}

pub(super) fn threads(subject: &Subject<'_>) -> Verdict {
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

pub(super) fn instances(subject: &Subject<'_>) -> Verdict {
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

pub(super) fn create_and_destroy(subject: &Subject<'_>) -> Verdict {
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
pub(super) fn create_with(subject: &Subject<'_>, config: &str) -> Result<Result<(), CallError>, Otherwise> {
    let library = subject.open(Some(subject.answers.logger()))?;
    subject.answers.doing(Step::Configuring);
    Ok(Instance::create(library, config).map(drop))
}

pub(super) fn empty_config(subject: &Subject<'_>) -> Verdict {
    match create_with(subject, "{}")? {
        Ok(()) | Err(CallError::BadConfig(_)) => Ok(()),
        Err(error) => failed(error.to_string()),
    }
}

pub(super) fn garbage_config(subject: &Subject<'_>) -> Verdict {
    for garbage in ["{", "[]", "null", "\u{1F37F}", "{\"a\":1}}"] {
        match create_with(subject, garbage)? {
            Err(CallError::BadConfig(_)) => {}
            came => return failed(format!("`{garbage}`: {came:?}")),
        }
    }
    Ok(())
}

pub(super) fn unknown_config_key(subject: &Subject<'_>) -> Verdict {
    const KEY: &str = "no_such_key";
    let mut config = subject.what.config.clone();
    config.insert(KEY.into(), toml::Value::Integer(1));
    let json = serde_json::to_string(&config).or_else(|error| failed(error.to_string()))?;
    match create_with(subject, &json)? {
        Err(CallError::BadConfig(text)) if text.contains(KEY) => Ok(()),
        came => failed(format!("{came:?}")),
    }
}

pub(super) fn no_log(subject: &Subject<'_>) -> Verdict {
    let library = subject.open(None)?;
    let instance = subject.create(&library)?;
    for media in subject.media_of(&subject.what.manifest.external_id.example) {
        subject.is_sound(&instance.embed_url(&media)).or_else(failed)?;
    }
    Ok(())
}

pub(super) fn ids(subject: &Subject<'_>) -> Verdict {
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

pub(super) fn numbers(subject: &Subject<'_>) -> Verdict {
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

pub(super) fn media_types(subject: &Subject<'_>) -> Verdict {
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

pub(super) fn unknown_bits(subject: &Subject<'_>) -> Verdict {
    let (instance, media, _) = subject.sample()?;
    let question = Question::from(media);
    is_rejected(instance.ask(&Question { present: question.present | 4, ..question }))?;
    is_rejected(instance.ask(&Question { present: question.present | 1 << 31, ..question }))
}

pub(super) fn not_utf8(subject: &Subject<'_>) -> Verdict {
    let (instance, media, _) = subject.sample()?;
    is_rejected(instance.ask(&Question { external_id: b"\xFF\xFE7", ..Question::from(media) }))
}

pub(super) fn smaller_media(subject: &Subject<'_>) -> Verdict {
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

pub(super) fn larger_media(subject: &Subject<'_>) -> Verdict {
    let (instance, media, url) = subject.sample()?;
    let size = size_of::<abi::StreamitMedia>() + 32;
    match instance.ask(&Question { size, ..Question::from(media) }) {
        Ok(came) if came == url => Ok(()),
        came => failed(format!("{came:?}")),
    }
}

pub(super) fn refusing_sink(subject: &Subject<'_>) -> Verdict {
    let (instance, media, url) = subject.sample()?;
    for sink_takes in [0, 1, url.len() / 2, url.len().saturating_sub(1)] {
        match instance.ask(&Question { sink_takes, ..Question::from(media) }) {
            Err(CallError::Fault(reason)) if !reason.contains("panicked") => {}
            came => return failed(format!("a sink that takes {sink_takes} bytes: {came:?}")),
        }
    }
    Ok(())
}

pub(super) fn late_writes(subject: &Subject<'_>) -> Verdict {
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

pub(super) fn unknown_extension(subject: &Subject<'_>) -> Verdict {
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

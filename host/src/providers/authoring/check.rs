//! The conformance suite of `streamit plugin check`: each case in a child of its own, so that one that crashes or hangs
//! is that case's outcome and nobody else's.

mod cases;
mod catalogue;

use std::{path::Path, sync::Arc, time::Duration};

use serde::Serialize;
use streamit_plugin_api::{Manifest, Media, MediaType, manifest::Example};

use self::{cases::all_golden, catalogue::CASES};
use super::super::{
    output,
    running::{
        child::{Answers, Child, How, Otherwise, Verdict},
        library::{CallError, Instance, Library, Logger},
        prepare::{Prepare, Step},
    },
};

/// No case takes a hundredth of it, unless the plugin hangs.
const DEADLINE: Duration = Duration::from_secs(10);

/// A case of the suite.
pub(crate) struct Case {
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
pub(crate) fn run_all(program: &Path, what: &Prepare, only: Option<&str>) -> Vec<Outcome> {
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
pub(crate) fn can_be_created(program: &Path, what: &Prepare) -> bool {
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
pub(crate) fn run(name: &str, what: &Prepare, answers: &Answers) -> Verdict {
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

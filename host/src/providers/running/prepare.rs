//! The steps that run a plugin's code before it serves: load it, configure it, and hold it to its own golden examples.
//! The same steps in a child (the probe, a process of its own) and in the host.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use streamit_plugin_api::{
    Manifest, Media,
    links::{LinkExample, Links},
    manifest::{Example, Reject},
};

use super::{
    super::output::{self, Destination},
    library::{CallError, Instance, Library},
};

/// Everything that is needed to get a provider ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Prepare {
    /// The private copy.
    pub(crate) library: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) config: toml::Table,
    pub(crate) destinations: Vec<Destination>,
}

/// What a plugin is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    Opening,
    Configuring,
    Examples,
    Call,
    Destroying,
}

impl Step {
    pub(crate) fn during(self) -> &'static str {
        match self {
            Step::Opening => "while its library was being loaded (its constructors ran)",
            Step::Configuring => "in create",
            Step::Examples => "in one of its golden examples",
            Step::Call => "in embed_url",
            Step::Destroying => "in destroy",
        }
    }
}

impl Prepare {
    /// An instance with the operator's configuration, or another one's.
    pub(crate) fn create(&self, library: &Arc<Library>, config: Option<&toml::Table>) -> Result<Instance, CallError> {
        let config = serde_json::to_string(config.unwrap_or(&self.config))
            .map_err(|error| CallError::BadConfig(error.to_string()))?;
        Instance::create(library.clone(), &config)
    }

    /// Asks `instance`; or, under a configuration of its own, another one.
    fn ask(
        &self,
        library: &Arc<Library>,
        instance: &Instance,
        media: &Media<'_>,
        config: Option<&toml::Table>,
    ) -> Result<String, CallError> {
        match config {
            Some(config) => self.create(library, Some(config))?.embed_url(media),
            None => instance.embed_url(media),
        }
    }
}

/// Takes the steps, and tells each as it begins.
pub(crate) fn prepare(
    what: &Prepare,
    open: impl FnOnce() -> Result<Arc<Library>, String>,
    doing: impl Fn(Step),
) -> Result<Instance, String> {
    doing(Step::Opening);
    let library = open()?;
    doing(Step::Configuring);
    let instance = what.create(&library, None).map_err(|error| error.to_string())?;
    doing(Step::Examples);
    examples(what, &library, &instance)?;
    Ok(instance)
}

/// Whether every golden example comes out as the manifest says.
fn examples(what: &Prepare, library: &Arc<Library>, instance: &Instance) -> Result<(), String> {
    let Manifest { examples, rejects, link_examples, .. } = &what.manifest;
    examples.iter().try_for_each(|golden| example(what, library, instance, golden))?;
    rejects.iter().try_for_each(|golden| reject(what, library, instance, golden))?;
    link_examples.iter().try_for_each(|golden| link_example(what, library, instance, golden))
}

/// Whether this identity gives its URL, and gives it again.
pub(crate) fn example(
    what: &Prepare,
    library: &Arc<Library>,
    instance: &Instance,
    Example { media, url, config }: &Example,
) -> Result<(), String> {
    let ask = || what.ask(library, instance, media, config.as_ref());
    let came = ask();
    if came.as_ref() != Ok(url) {
        return Err(format!("its golden example {media} should give {url}; {}", shown(came)));
    }
    match ask() {
        Ok(again) if again == *url => {}
        Ok(again) => return Err(format!("its golden example {media} gave {url}, and {again} when asked again")),
        Err(error) => return Err(format!("its golden example {media} gave {url}, and when asked again: {error}")),
    }
    if config.is_none() { output::check_url(url, &what.destinations) } else { Ok(()) }
}

/// Whether this identity is refused for its field.
pub(crate) fn reject(
    what: &Prepare,
    library: &Arc<Library>,
    instance: &Instance,
    Reject { media, field, config }: &Reject,
) -> Result<(), String> {
    match what.ask(library, instance, media, config.as_ref()) {
        Err(CallError::Rejected(rejection)) if rejection.problems().iter().any(|p| p.field == *field) => Ok(()),
        came => {
            let field = field.as_str();
            Err(format!("its golden example {media} should be rejected for its {field}; {}", shown(came)))
        }
    }
}

/// Whether this address means what the manifest says.
pub(crate) fn link_example(
    what: &Prepare,
    library: &Arc<Library>,
    instance: &Instance,
    golden: &LinkExample,
) -> Result<(), String> {
    let config = golden.config.as_ref();
    let links = Links::new(&what.manifest.links, config.unwrap_or(&what.config))?;
    golden.check(&links, |media| match what.ask(library, instance, media, config) {
        Ok(url) => Ok(Ok(url)),
        Err(CallError::Rejected(rejection)) => Ok(Err(rejection)),
        Err(error) => Err(error.to_string()),
    })
}

fn shown(came: Result<String, CallError>) -> String {
    came.map_or_else(|error| error.to_string(), |url| format!("it gave {url}"))
}

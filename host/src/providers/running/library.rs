//! A loaded plugin: the host's only unsafe code. Everything a plugin says is copied, cut to a limit and checked here.
#![expect(unsafe_code, reason = "calls into a dynamic library, as include/streamit_provider.h describes it")]

use std::{
    ffi::c_void,
    fmt,
    mem::{ManuallyDrop, size_of},
    path::Path,
    ptr, slice,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use streamit_plugin_api::{
    Field, Media, MediaType, ProblemKind, Rejection,
    abi::{self, StreamitHost, StreamitMedia, StreamitProblems, StreamitProviderV1, StreamitSink, StreamitStr},
};
use tracing::{debug, error, info, warn};

/// Problems beyond this number are not read: no identity has more than four fields.
const MAX_PROBLEMS: usize = 16;

/// The function table of a library that stays in memory for the rest of the process.
///
/// Nothing is ever unloaded: a library that started a thread or registered a destructor would take the process with it.
pub(crate) struct Library {
    table: StreamitProviderV1,
    host: &'static StreamitHost,
}

/// One configured provider of a library. Calls on it may come from any thread.
pub(crate) struct Instance {
    library: Arc<Library>,
    opaque: *mut c_void,
}

/// Where a plugin's own lines go: level and text.
pub(crate) type Logger = Box<dyn Fn(u32, &str) + Send + Sync>;

/// To the host's log, under the provider's name.
pub(crate) fn to_log(provider: &str) -> Logger {
    let id = provider.to_owned();
    Box::new(move |level, text| match level {
        abi::LOG_ERROR => error!(provider.id = %id, "plugin: {text}"),
        abi::LOG_WARN => warn!(provider.id = %id, "plugin: {text}"),
        abi::LOG_INFO => info!(provider.id = %id, "plugin: {text}"),
        _ => debug!(provider.id = %id, "plugin: {text}"),
    })
}

/// A call of `embed_url` to the last bit. The host itself asks well-formed ones; the conformance suite asks others too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// What the struct says of its own size; whatever lies beyond the fields of this version is garbage.
    pub(crate) size: usize,
    pub(crate) media_type: u32,
    pub(crate) external_id: &'a [u8],
    pub(crate) present: u32,
    pub(crate) season: u32,
    pub(crate) episode: u32,
    /// How many bytes the sink takes before it refuses.
    pub(crate) sink_takes: usize,
}

impl<'a> From<&'a Media<'_>> for Question<'a> {
    fn from(media: &'a Media<'_>) -> Self {
        let bit = |number: Option<u32>, bit| if number.is_some() { bit } else { 0 };
        Question {
            size: size_of::<StreamitMedia>(),
            media_type: match media.media_type {
                MediaType::Movie => abi::MEDIA_MOVIE,
                MediaType::Tv => abi::MEDIA_TV,
            },
            external_id: media.external_id.as_bytes(),
            present: bit(media.season, abi::PRESENT_SEASON) | bit(media.episode, abi::PRESENT_EPISODE),
            season: media.season.unwrap_or(0),
            episode: media.episode.unwrap_or(0),
            sink_takes: abi::MAX_URL_BYTES,
        }
    }
}

// SAFETY: the ABI demands that instances bear calls from any thread at once, and that they can be destroyed on another
// thread than the one that made them. The pointer itself is never dereferenced here.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

/// How a call went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CallError {
    /// The identity has no URL: the viewer's matter.
    Rejected(Rejection),
    /// The configuration cannot be used: the operator's matter.
    BadConfig(String),
    /// The plugin failed: its author's matter.
    Fault(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Rejected(rejection) => write!(f, "rejected: {rejection}"),
            CallError::BadConfig(text) | CallError::Fault(text) => f.write_str(text),
        }
    }
}

impl Library {
    /// Loads the file at `path`, which was read and checked before: its constructors run now.
    /// Without a `logger` it is told that this host has no log.
    pub(crate) fn open(path: &Path, logger: Option<Logger>) -> Result<Library, String> {
        let library = open_for_good(path).map_err(|error| {
            // Where the private copy lies says nothing to whoever reads the reason.
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            let reason = cause.replace(&format!("{}: ", path.display()), "");
            format!("the system's loader refused it: {reason}")
        })?;
        // SAFETY: the symbol is of this type by the ABI, whose major version is in its name.
        let table = unsafe { library.get::<*const StreamitProviderV1>("streamit_provider_v1") }
            .map_err(|error| format!("no symbol streamit_provider_v1: {error}"))?;
        // SAFETY: the symbol's address is in the library's data, which has a table there that is as large as it says.
        let Some(table) = (unsafe { StreamitProviderV1::read(*table) }) else {
            return Err("its function table is smaller than that of ABI 1".into());
        };
        if table.create.is_none() || table.embed_url.is_none() {
            return Err(format!("its function table ({} bytes) has no create or no embed_url", table.size));
        }
        // Both live as long as the library, which is for ever; there is one per load.
        let has_log = logger.is_some();
        let ctx = logger.map_or(ptr::null_mut(), |logger| ptr::from_mut(Box::leak(Box::new(logger))).cast());
        let host = Box::leak(Box::new(StreamitHost {
            size: size_of::<StreamitHost>() as u32,
            abi_minor: abi::ABI_MINOR.into(),
            ctx,
            log: if has_log { Some(log) } else { None },
            extension: None,
        }));
        Ok(Library { table, host })
    }
}

// SAFETY: the table is constant data, and the host table is leaked constant data whose functions bear any thread.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

#[cfg(unix)]
fn open_for_good(path: &Path) -> Result<ManuallyDrop<libloading::os::unix::Library>, libloading::Error> {
    use libloading::os::unix;
    // NOW: a missing symbol is an error here and not an exit at its first use. LOCAL: plugins do not see each other's
    // symbols. NODELETE: nothing unmaps it, whatever the plugin itself may do.
    let flags = unix::RTLD_NOW | unix::RTLD_LOCAL | libc::RTLD_NODELETE;
    // SAFETY: constructors run; the operator named this file, and trusts it as much as the host.
    unsafe { unix::Library::open(Some(path), flags) }.map(ManuallyDrop::new)
}

#[cfg(windows)]
fn open_for_good(path: &Path) -> Result<ManuallyDrop<libloading::Library>, libloading::Error> {
    // SAFETY: constructors run; the operator named this file, and trusts it as much as the host.
    unsafe { libloading::Library::new(path) }.map(ManuallyDrop::new)
}

impl Instance {
    /// Configures a provider.
    pub(crate) fn create(library: Arc<Library>, config_json: &str) -> Result<Instance, CallError> {
        let create = library.table.create.expect("checked when the library was opened");
        let mut received = Received::default();
        let problems = received.receiver();
        let mut opaque = ptr::null_mut();
        // SAFETY: every pointer is valid for this call, and the host table for ever.
        let status =
            unsafe { create(library.host, StreamitStr::new(config_json), &raw const problems, &raw mut opaque) };
        match status {
            abi::STATUS_OK => Ok(Instance { library, opaque }),
            abi::STATUS_BAD_CONFIG => Err(CallError::BadConfig(received.config_text())),
            status => Err(fault(status, "create")),
        }
    }

    /// Asks for the URL of `media`. The text is UTF-8 within its limit, and nothing else is known of it.
    pub(crate) fn embed_url(&self, media: &Media<'_>) -> Result<String, CallError> {
        self.ask(&Question::from(media))
    }

    /// As [`Instance::embed_url`], for any question.
    pub(crate) fn ask(&self, question: &Question<'_>) -> Result<String, CallError> {
        let mut url = Url { bytes: Vec::new(), takes: question.sink_takes, refused: None };
        let sink = StreamitSink { ctx: (&raw mut url).cast(), write: Some(write) };
        let mut received = Received::default();
        let problems = received.receiver();
        let status = self.call(question, &sink, &problems);
        // A plugin may ignore the sink's answer, so what it wrote decides before the status does.
        if let Some(refused) = url.refused {
            return Err(CallError::Fault(format!("embed_url wrote {refused}")));
        }
        match status {
            abi::STATUS_OK => String::from_utf8(url.bytes)
                .map_err(|_| CallError::Fault("embed_url wrote text that is not UTF-8".into())),
            abi::STATUS_REJECTED => Err(CallError::Rejected(received.rejection())),
            status => Err(fault(status, "embed_url")),
        }
    }

    fn call(&self, question: &Question<'_>, sink: &StreamitSink, problems: &StreamitProblems) -> i32 {
        /// A media of a later version, as far as one of this version can tell.
        #[repr(C)]
        struct Grown {
            media: StreamitMedia,
            later: [u8; 32],
        }
        let embed_url = self.library.table.embed_url.expect("checked when the library was opened");
        let external_id = StreamitStr { ptr: question.external_id.as_ptr(), len: question.external_id.len() };
        let Question { size, media_type, present, season, episode, .. } = *question;
        let size = size.min(size_of::<Grown>()) as u32;
        let media = StreamitMedia { size, media_type, external_id, present, season, episode, reserved: 0 };
        let grown = Grown { media, later: [0xA5; 32] };
        // SAFETY: every pointer is valid for this call; the instance came from `create` and is not destroyed yet.
        unsafe { embed_url(self.opaque, &raw const grown.media, sink, problems) }
    }

    /// Whether the plugin knows the extension; nothing if it has none at all.
    pub(crate) fn has_extension(&self, id: &str) -> Option<bool> {
        let extension = self.library.table.extension?;
        // SAFETY: the instance came from `create` and is not destroyed yet; the id lives as long as the call.
        Some(!unsafe { extension(self.opaque, StreamitStr::new(id)) }.is_null())
    }

    /// Asks, and answers how often the plugin writes to a sink whose call is over, once `until` has returned.
    pub(crate) fn late_writes(&self, question: &Question<'_>, until: impl FnOnce()) -> usize {
        unsafe extern "C" fn count(ctx: *mut c_void, _: *const u8, _: usize) -> i32 {
            // SAFETY: `ctx` is the leaked counter below.
            unsafe { &*ctx.cast::<AtomicUsize>() }.fetch_add(1, Ordering::SeqCst);
            0
        }
        // Leaked: a plugin that keeps the sink may use it at any time to come.
        let writes: &AtomicUsize = Box::leak(Box::default());
        let ctx = ptr::from_ref(writes).cast_mut().cast();
        let sink = Box::leak(Box::new(StreamitSink { ctx, write: Some(count) }));
        let problems = StreamitProblems { ctx: ptr::null_mut(), problem: None };
        self.call(question, sink, &problems);
        let in_time = writes.load(Ordering::SeqCst);
        until();
        writes.load(Ordering::SeqCst) - in_time
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(destroy) = self.library.table.destroy {
            // SAFETY: the last owner is dropping it, so no call is running or follows.
            unsafe { destroy(self.opaque) }
        }
    }
}

fn fault(status: i32, entry: &str) -> CallError {
    CallError::Fault(match status {
        abi::STATUS_PANICKED => format!("{entry} panicked; the plugin's own text is in the host's log"),
        abi::STATUS_INTERNAL => format!("{entry} failed with an internal error"),
        other => format!("{entry} returned status {other}, which has no meaning here"),
    })
}

/// What a plugin writes its URL to.
struct Url {
    bytes: Vec<u8>,
    takes: usize,
    /// What it wrote that was not taken; nothing is after that.
    refused: Option<String>,
}

unsafe extern "C" fn write(ctx: *mut c_void, p: *const u8, n: usize) -> i32 {
    // SAFETY: `ctx` is the `Url` of the running call, which is on this thread.
    let url = unsafe { &mut *ctx.cast::<Url>() };
    if n == 0 {
        return 0;
    }
    if url.refused.is_none() && p.is_null() {
        url.refused = Some(format!("{n} bytes from NULL"));
    } else if url.refused.is_none() && n > url.takes - url.bytes.len() {
        url.refused = Some(format!("more than {} bytes", url.takes));
    }
    if url.refused.is_some() {
        return 1;
    }
    // SAFETY: the plugin lends `n` bytes, and `n` is small.
    url.bytes.extend_from_slice(unsafe { slice::from_raw_parts(p, n) });
    0
}

/// The problems a plugin reports during one call.
#[derive(Default)]
struct Received(Vec<(u32, String, String)>);

impl Received {
    fn receiver(&mut self) -> StreamitProblems {
        StreamitProblems { ctx: ptr::from_mut(self).cast(), problem: Some(problem) }
    }

    fn rejection(self) -> Rejection {
        let known = self.0.into_iter().map(|(kind, field, text)| {
            // A name that is not a field's can only be about the id.
            let field = Field::from_name(&field).unwrap_or(Field::ExternalId);
            let kind = match kind {
                abi::PROBLEM_MISSING => ProblemKind::Missing,
                abi::PROBLEM_FORMAT => ProblemKind::Format,
                abi::PROBLEM_RANGE => ProblemKind::Range,
                abi::PROBLEM_UNSUPPORTED => ProblemKind::Unsupported,
                _ => ProblemKind::Other,
            };
            (field, kind, text)
        });
        let rejection: Rejection = known.collect();
        match rejection.problems() {
            [] => Rejection::new(Field::ExternalId, ProblemKind::Other, "the provider does not play this"),
            _ => rejection,
        }
    }

    fn config_text(self) -> String {
        let problems = self.0.into_iter().filter(|(_, key, text)| !key.is_empty() || !text.is_empty());
        let texts = problems.map(|(_, key, text)| match key.as_str() {
            "" => format!("config: {text}"),
            key => format!("config.{key}: {text}"),
        });
        let text = texts.collect::<Vec<_>>().join("; ");
        if text.is_empty() { "config: refused without a reason".into() } else { text }
    }
}

unsafe extern "C" fn problem(ctx: *mut c_void, kind: u32, field: StreamitStr, text: StreamitStr) {
    // SAFETY: `ctx` is the `Received` of the running call, which is on this thread.
    let received = unsafe { &mut *ctx.cast::<Received>() };
    if received.0.len() < MAX_PROBLEMS {
        // SAFETY: the plugin lends both texts for this call.
        received.0.push(unsafe { (kind, copied(field), copied(text)) });
    }
}

unsafe extern "C" fn log(ctx: *mut c_void, level: u32, text: StreamitStr) {
    // SAFETY: `ctx` is the leaked logger set in `Library::open`; the plugin lends the text for this call.
    let (logger, text) = unsafe { (&*ctx.cast::<Logger>(), copied(text)) };
    logger(level, &text);
}

/// A plugin's text, cut to the limit, without control characters.
///
/// # Safety
/// If `text.ptr` is not NULL, the first bytes up to the limit are readable.
unsafe fn copied(text: StreamitStr) -> String {
    let cut = StreamitStr { len: text.len.min(abi::MAX_TEXT_BYTES), ..text };
    // SAFETY: the caller's promise, for no more bytes than it was made for.
    let bytes = unsafe { cut.bytes() }.unwrap_or_default();
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

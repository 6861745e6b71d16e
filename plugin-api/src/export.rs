//! `export_provider!`: a safe [`Provider`] in, the C table of [`abi`](crate::abi) out.
//!
//! Everything an author would need `unsafe` for happens here, once, generic over the provider.

use std::{
    any::Any,
    backtrace::Backtrace,
    borrow::Cow,
    ffi::c_void,
    mem::size_of,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    sync::{Once, PoisonError, RwLock},
};

use crate::{
    ConfigError, Field, Media, MediaType, ProblemKind, Provider, Rejection,
    abi::{
        self, StreamitAbiInfo, StreamitHost, StreamitMedia, StreamitProblems, StreamitProviderV1, StreamitSink,
        StreamitStr,
    },
};

/// Makes a library of the current crate: the four symbols of the ABI for one [`Provider`](crate::Provider), and its assets.
///
/// Paths are relative to the file the macro stands in, as with `include_bytes!`. The provider's id is taken from the
/// manifest while compiling, the version from the crate's `Cargo.toml`.
///
/// ```ignore
/// export_provider!(Acme, manifest: "../provider.toml", bridge: "../bridge.js");
/// ```
///
/// `assets` are files that the bridge needs beside itself, each under its own name: a player's library, WebAssembly, styles.
/// `options.assets("player.js")` is where a bridge finds one. A path may be put together: `concat!(env!("OUT_DIR"), "/x.js")`.
///
/// ```ignore
/// export_provider!(Acme, manifest: "../provider.toml", bridge: "../bridge.js", assets: ["../web/player.js", "../web/player.css"]);
/// ```
#[macro_export]
macro_rules! export_provider {
    ($provider:ty, manifest: $manifest:literal, bridge: $bridge:literal $(, assets: [$($asset:expr),* $(,)?])? $(,)?) => {
        const _: () = {
            const MANIFEST: &[u8] = include_bytes!($manifest);
            const BRIDGE: &[u8] = include_bytes!($bridge);

            #[unsafe(no_mangle)]
            pub static streamit_abi_info: $crate::abi::StreamitAbiInfo =
                $crate::export::info(MANIFEST, BRIDGE, env!("CARGO_PKG_VERSION"), cfg!(panic = "unwind"));

            #[unsafe(no_mangle)]
            pub static streamit_manifest: [u8; MANIFEST.len()] = $crate::export::bytes(MANIFEST);

            #[unsafe(no_mangle)]
            pub static streamit_bridge: [u8; BRIDGE.len()] = $crate::export::bytes(BRIDGE);

            #[unsafe(no_mangle)]
            pub static streamit_provider_v1: $crate::abi::StreamitProviderV1 = $crate::export::table::<$provider>();

            $($crate::export_assets!($($asset),*);)?
        };
    };
}

/// The info block of a plugin; a manifest or bridge that cannot work fails to compile.
#[doc(hidden)]
pub const fn info(manifest: &[u8], bridge: &[u8], version: &str, catches_panics: bool) -> StreamitAbiInfo {
    assert!(manifest.len() <= abi::MAX_STATIC_BYTES, "the manifest is larger than 64 KiB");
    assert!(bridge.len() <= abi::MAX_STATIC_BYTES, "the bridge is larger than 64 KiB");
    StreamitAbiInfo {
        magic: abi::MAGIC,
        size: size_of::<StreamitAbiInfo>() as u32,
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        flags: if catches_panics { abi::FLAG_CATCHES_PANICS } else { 0 },
        manifest_len: manifest.len() as u32,
        bridge_len: bridge.len() as u32,
        id: padded(manifest_id(manifest)),
        version: padded(version.as_bytes()),
        toolchain: padded(env!("STREAMIT_TOOLCHAIN").as_bytes()),
    }
}

/// A slice as an array, so that the symbol is the bytes themselves and not a pointer to them.
#[doc(hidden)]
pub const fn bytes<const N: usize>(slice: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(slice);
    array
}

/// The function table of a provider.
#[doc(hidden)]
pub const fn table<P: Provider>() -> StreamitProviderV1 {
    StreamitProviderV1 {
        size: size_of::<StreamitProviderV1>() as u32,
        reserved: 0,
        create: Some(create::<P>),
        destroy: Some(destroy::<P>),
        embed_url: Some(embed_url::<P>),
        extension: None,
        #[cfg(grown)]
        later: 0,
    }
}

/// `id = "…"` in the manifest's first, unnamed table.
const fn manifest_id(manifest: &[u8]) -> &[u8] {
    let mut line = 0;
    while line < manifest.len() && manifest[line] != b'[' {
        let mut at = line;
        if manifest.len() - at > 2 && manifest[at] == b'i' && manifest[at + 1] == b'd' {
            at = skip_blanks(manifest, at + 2);
            if at < manifest.len() && manifest[at] == b'=' {
                at = skip_blanks(manifest, at + 1);
                assert!(at < manifest.len() && manifest[at] == b'"', "the manifest's id must be a plain \"string\"");
                let start = at + 1;
                let mut end = start;
                while end < manifest.len() && manifest[end] != b'"' {
                    end += 1;
                }
                return manifest.split_at(end).0.split_at(start).1;
            }
        }
        while at < manifest.len() && manifest[at] != b'\n' {
            at += 1;
        }
        line = at + 1;
    }
    panic!("the manifest has no line `id = \"…\"` before its first [table]");
}

const fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && (text[at] == b' ' || text[at] == b'\t') {
        at += 1;
    }
    at
}

/// Pads with NUL; a longer text is cut, and one NUL always remains.
pub(crate) const fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    let mut n = 0;
    while n < text.len() && n < N - 1 {
        array[n] = text[n];
        n += 1;
    }
    array
}

/// Runs an entry so that no panic leaves the plugin. The payload is forgotten: its drop could panic again.
fn guarded(entry: impl FnOnce() -> i32) -> i32 {
    catch_unwind(AssertUnwindSafe(entry)).unwrap_or_else(|payload: Box<dyn Any + Send>| {
        std::mem::forget(payload);
        abi::STATUS_PANICKED
    })
}

#[expect(unsafe_code, reason = "the ABI hands over pointers")]
unsafe extern "C" fn create<P: Provider>(
    host: *const StreamitHost,
    config_json: StreamitStr,
    problems: *const StreamitProblems,
    instance: *mut *mut c_void,
) -> i32 {
    guarded(|| {
        // SAFETY: the host keeps its table alive as long as the instance, and its first field is always there.
        unsafe { Log::set(host) };
        // SAFETY: the host lends `config_json` and `problems` for the duration of this call.
        let (config_json, problems) = unsafe { (config_json.bytes(), Problems::new(problems)) };
        let provider = match parse_config::<P>(config_json.unwrap_or_default()).and_then(P::new) {
            Ok(provider) => provider,
            Err(error) => {
                problems.report(abi::PROBLEM_CONFIG, error.key(), error.message());
                return abi::STATUS_BAD_CONFIG;
            }
        };
        if instance.is_null() {
            return abi::STATUS_INTERNAL;
        }
        // SAFETY: not NULL, and the host passes a place to write one pointer to.
        unsafe { *instance = Box::into_raw(Box::new(provider)).cast() };
        abi::STATUS_OK
    })
}

#[expect(unsafe_code, reason = "the ABI hands over pointers")]
unsafe extern "C" fn destroy<P: Provider>(instance: *mut c_void) {
    guarded(|| {
        if !instance.is_null() {
            // SAFETY: `create::<P>` made this box, and the host destroys an instance once, after its last call.
            drop(unsafe { Box::from_raw(instance.cast::<P>()) });
        }
        abi::STATUS_OK
    });
}

#[expect(unsafe_code, reason = "the ABI hands over pointers")]
unsafe extern "C" fn embed_url<P: Provider>(
    instance: *const c_void,
    media: *const StreamitMedia,
    out: *const StreamitSink,
    problems: *const StreamitProblems,
) -> i32 {
    guarded(|| {
        // SAFETY: `create::<P>` made the instance and the host has not destroyed it; `P` is `Sync`.
        let Some(provider) = (unsafe { instance.cast::<P>().as_ref() }) else { return abi::STATUS_INTERNAL };
        // SAFETY: the host lends the three for the duration of this call.
        let (media, out, problems) = unsafe { (read_media(media), out.as_ref(), Problems::new(problems)) };
        let url = match media.and_then(|media| provider.embed_url(&media)) {
            Ok(url) => url,
            Err(rejection) => {
                for problem in rejection.problems() {
                    problems.report(kind_code(problem.kind), problem.field.as_str(), &problem.message);
                }
                return abi::STATUS_REJECTED;
            }
        };
        let Some(StreamitSink { ctx, write: Some(write) }) = out else { return abi::STATUS_INTERNAL };
        // SAFETY: the host's own function with its own context; it copies.
        match unsafe { write(*ctx, url.as_ptr(), url.len()) } {
            0 => abi::STATUS_OK,
            _ => abi::STATUS_INTERNAL,
        }
    })
}

fn parse_config<P: Provider>(json: &[u8]) -> Result<P::Config, ConfigError> {
    let json = if json.is_empty() { b"{}" } else { json };
    // A struct is also read from a list of its fields; an operator's table is not one.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(ConfigError::new("", "expected a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let key = match error.path().to_string() {
            root if root == "." => String::new(),
            path => path,
        };
        // serde_json ends its messages with a position in a text that the operator never wrote.
        let message = error.inner().to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        ConfigError::new(key, message)
    })
}

/// # Safety
/// `media` is NULL or points to a struct of at least its own `size`, lent for `'a`.
#[expect(unsafe_code, reason = "the ABI hands over pointers")]
unsafe fn read_media<'a>(media: *const StreamitMedia) -> Result<Media<'a>, Rejection> {
    let malformed = |what| Rejection::new(Field::MediaType, ProblemKind::Other, what);
    if media.is_null() {
        return Err(malformed("the host passed no media"));
    }
    // SAFETY: not NULL, and as large as it says.
    let Some(media) = (unsafe { StreamitMedia::read(media) }) else {
        return Err(malformed("the host passed less than a version 1 media"));
    };
    let media_type = match media.media_type {
        abi::MEDIA_MOVIE => MediaType::Movie,
        abi::MEDIA_TV => MediaType::Tv,
        _ => return Err(Rejection::unsupported(Field::MediaType, "expected a movie or an episode")),
    };
    if media.present & !(abi::PRESENT_SEASON | abi::PRESENT_EPISODE) != 0 {
        return Err(Rejection::unsupported(Field::MediaType, "it is described by more than season and episode"));
    }
    // SAFETY: the host lends the text as long as the media.
    let external_id = unsafe { media.external_id.bytes() }
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .ok_or_else(|| Rejection::format(Field::ExternalId, "not UTF-8 text"))?;
    let number = |bit, value| (media.present & bit != 0).then_some(value);
    Ok(Media {
        media_type,
        external_id: Cow::Borrowed(external_id),
        season: number(abi::PRESENT_SEASON, media.season),
        episode: number(abi::PRESENT_EPISODE, media.episode),
    })
}

fn kind_code(kind: ProblemKind) -> u32 {
    match kind {
        ProblemKind::Missing => abi::PROBLEM_MISSING,
        ProblemKind::Format => abi::PROBLEM_FORMAT,
        ProblemKind::Range => abi::PROBLEM_RANGE,
        ProblemKind::Unsupported => abi::PROBLEM_UNSUPPORTED,
        ProblemKind::Other => abi::PROBLEM_OTHER,
    }
}

/// The host's problem receiver, for the length of one call.
struct Problems<'a>(Option<&'a StreamitProblems>);

impl Problems<'_> {
    /// # Safety
    /// `problems` is NULL or valid as long as the value returned.
    #[expect(unsafe_code, reason = "the ABI hands over pointers")]
    unsafe fn new(problems: *const StreamitProblems) -> Self {
        // SAFETY: the caller's promise.
        Problems(unsafe { problems.as_ref() })
    }

    #[expect(unsafe_code, reason = "calls the host")]
    fn report(&self, kind: u32, field: &str, text: &str) {
        if let Some(StreamitProblems { ctx, problem: Some(problem) }) = self.0 {
            // SAFETY: the host's own function with its own context; it copies both texts.
            unsafe { problem(*ctx, kind, StreamitStr::new(field), StreamitStr::new(text)) }
        }
    }
}

/// What the host offers, as it was given to the last instance.
struct Host(StreamitHost);

// SAFETY: the ABI lets its functions be called from any thread; nobody else looks at its context.
#[expect(unsafe_code, reason = "a pointer of the host's that is only handed back to it")]
unsafe impl Send for Host {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "as above")]
unsafe impl Sync for Host {}

/// The way to the host's log. One per plugin library, since each carries its own copy of this static.
struct Log;

static HOST: RwLock<Option<Host>> = RwLock::new(None);
static PANIC_HOOK: Once = Once::new();

impl Log {
    /// Remembers the host and sends this library's panics to it: the default hook would write to stderr, past the log.
    ///
    /// # Safety
    /// `host` is NULL or stays valid while any instance lives.
    #[expect(unsafe_code, reason = "the ABI hands over pointers")]
    unsafe fn set(host: *const StreamitHost) {
        // SAFETY: the caller's promise, and it is as large as it says.
        let Some(host) = (!host.is_null()).then(|| unsafe { StreamitHost::read(host) }).flatten() else { return };
        *HOST.write().unwrap_or_else(PoisonError::into_inner) = Some(Host(host));
        PANIC_HOOK.call_once(|| std::panic::set_hook(Box::new(Log::panicked)));
    }

    fn panicked(info: &PanicHookInfo<'_>) {
        let text = info.payload_as_str().unwrap_or("a panic without a text");
        let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
        let trace = Backtrace::capture();
        let trace = match trace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        Log::write(abi::LOG_ERROR, &format!("panicked{place}: {text}{trace}"));
    }

    #[expect(unsafe_code, reason = "calls the host")]
    fn write(level: u32, text: &str) {
        let host = HOST.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|host| host.0);
        if let Some(StreamitHost { ctx, log: Some(log), .. }) = host {
            // SAFETY: the host's own function with its own context, which outlive every instance, hence every caller of this;
            // it copies the text.
            unsafe { log(ctx, level, StreamitStr::new(text)) }
        }
    }
}

/// Severity of a line in the host's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something is broken.
    Error,
    /// Something is off.
    Warn,
    /// Worth knowing.
    Info,
    /// For the author.
    Debug,
}

/// Writes a line to the host's log, under the provider's name. Does nothing outside a host, as in a unit test.
pub fn log(level: Level, text: &str) {
    let level = match level {
        Level::Error => abi::LOG_ERROR,
        Level::Warn => abi::LOG_WARN,
        Level::Info => abi::LOG_INFO,
        Level::Debug => abi::LOG_DEBUG,
    };
    Log::write(level, text);
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;
    use crate::NoConfig;

    struct Shouting;

    impl Provider for Shouting {
        type Config = NoConfig;

        fn new(_: NoConfig) -> Result<Self, ConfigError> {
            Ok(Shouting)
        }

        fn embed_url(&self, media: &Media<'_>) -> Result<String, Rejection> {
            match &*media.external_id {
                "panic" => panic!("as asked"),
                id => Ok(format!("https://shout.example/{id}")),
            }
        }
    }

    /// Calls the C table the way a host does, and answers the status and whatever reached the sink.
    #[expect(unsafe_code, reason = "the test is the host")]
    fn call(media: &StreamitMedia) -> (i32, String) {
        unsafe extern "C" fn write(ctx: *mut c_void, p: *const u8, n: usize) -> i32 {
            // SAFETY: `ctx` is the vector below; the plugin lends `n` bytes.
            unsafe { (*ctx.cast::<Vec<u8>>()).extend_from_slice(std::slice::from_raw_parts(p, n)) };
            0
        }
        let table = table::<Shouting>();
        let mut instance = ptr::null_mut();
        let mut url = Vec::new();
        let sink = StreamitSink { ctx: (&raw mut url).cast(), write: Some(write) };
        // SAFETY: every pointer is valid for the length of these calls, and NULL is allowed elsewhere.
        let status = unsafe {
            assert_eq!(
                table.create.expect("set")(ptr::null(), StreamitStr::new("{}"), ptr::null(), &raw mut instance),
                0
            );
            let status = table.embed_url.expect("set")(instance, media, &raw const sink, ptr::null());
            table.destroy.expect("set")(instance);
            status
        };
        (status, String::from_utf8(url).expect("UTF-8"))
    }

    fn movie(id: &str) -> StreamitMedia {
        StreamitMedia {
            size: size_of::<StreamitMedia>() as u32,
            media_type: abi::MEDIA_MOVIE,
            external_id: StreamitStr::new(id),
            present: 0,
            season: 0,
            episode: 0,
            reserved: 0,
            #[cfg(grown)]
            later: 0,
        }
    }

    #[test]
    fn a_call_through_the_table_reaches_the_trait() {
        assert_eq!(call(&movie("a")), (abi::STATUS_OK, "https://shout.example/a".into()));
    }

    #[test]
    fn a_panic_becomes_a_status() {
        assert_eq!(call(&movie("panic")).0, abi::STATUS_PANICKED);
    }

    #[test]
    fn unknown_numbers_are_rejected() {
        assert_eq!(call(&StreamitMedia { media_type: 3, ..movie("a") }).0, abi::STATUS_REJECTED);
        assert_eq!(call(&StreamitMedia { present: 4, ..movie("a") }).0, abi::STATUS_REJECTED);
        assert_eq!(call(&StreamitMedia { size: 8, ..movie("a") }).0, abi::STATUS_REJECTED);
        let null = StreamitStr { ptr: ptr::null(), len: 9 };
        assert_eq!(call(&StreamitMedia { external_id: null, ..movie("a") }).0, abi::STATUS_REJECTED);
    }

    /// A host may be older than its plugin, and place its media where it likes.
    #[test]
    #[expect(unsafe_code, reason = "the test is the host")]
    fn a_media_of_version_1_0_is_enough_wherever_it_lies() {
        let (media, size) = (movie("a"), StreamitMedia::size_1_0());
        let mut bytes = vec![0xA5_u8; size + 1];
        // SAFETY: a media has at least that many bytes, and so has the vector after its first.
        unsafe { ptr::copy_nonoverlapping((&raw const media).cast::<u8>(), bytes.as_mut_ptr().add(1), size) };
        bytes[1..5].copy_from_slice(&(size as u32).to_ne_bytes());
        // SAFETY: as large as it says.
        let read = |bytes: &[u8]| unsafe { read_media(bytes.as_ptr().add(1).cast()) };
        assert_eq!(read(&bytes).expect("whole").external_id, "a");
        bytes[1..5].copy_from_slice(&(size as u32 - 1).to_ne_bytes());
        assert!(read(&bytes).is_err(), "less than version 1.0 is no media");
    }

    #[test]
    fn a_bad_configuration_is_named_by_its_key() {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only parsed")]
        struct Config {
            base_url: String,
        }
        struct Configured;
        impl Provider for Configured {
            type Config = Config;
            fn new(_: Config) -> Result<Self, ConfigError> {
                Ok(Configured)
            }
            fn embed_url(&self, _: &Media<'_>) -> Result<String, Rejection> {
                Ok(String::new())
            }
        }
        let refused = |json: &str| parse_config::<Configured>(json.as_bytes()).err().expect("refused").to_string();
        assert_eq!(refused(r#"{"base_url": 5}"#), "config.base_url: invalid type: integer `5`, expected a string");
        assert_eq!(refused(r#"{"base": "x"}"#), "config.base: unknown field `base`, expected `base_url`");
        assert_eq!(refused("{}"), "config: missing field `base_url`");
        assert_eq!(refused(r#"["x"]"#), "config: expected a JSON object");
    }

    #[test]
    fn the_id_is_read_from_the_manifest_while_compiling() {
        const INFO: StreamitAbiInfo =
            info(b"schema = 1\n# id = \"no\"\nid  = \"acme\"\n[player]\nid = \"no\"\n", b"", "1.2.3", true);
        assert!(INFO.id.starts_with(b"acme\0"));
        assert!(INFO.version.starts_with(b"1.2.3\0"));
        assert!(INFO.toolchain.starts_with(b"rustc "));
    }
}

//! The C ABI, version 1: what really crosses the boundary between host and plugin.
//!
//! A Rust author never sees it; [`export_provider!`](crate::export_provider) builds it from a
//! [`Provider`](crate::Provider). The rules that hold for every function:
//!
//! - **Versions.** The major version is in the symbol's name and in [`StreamitAbiInfo`]; a host refuses another major.
//!   A minor version only appends: fields, and kinds of entries in the manifest. Each struct begins with its `size`, which
//!   is never less than version 1.0 has; a field is read only if it lies wholly inside that size and is not NULL. A host
//!   refuses a plugin that needs a later minor version than its own, so that nothing in it is passed over in silence.
//! - **Ownership.** Nobody frees the other's memory. Inputs end with the call; the sink and the problem receiver copy.
//! - **Panics and exceptions** end inside the plugin, as [`STATUS_PANICKED`].
//! - **Types** are fixed-width integers, pointers and `size_t`. Unknown values of a number mean "rejected", never
//!   undefined behaviour.

use std::{
    ffi::c_void,
    mem::{MaybeUninit, offset_of, size_of},
    ptr,
};

/// First bytes of [`StreamitAbiInfo`].
pub const MAGIC: [u8; 8] = *b"STREAMIT";
/// The ABI's major version.
pub const ABI_MAJOR: u16 = 1;
/// The ABI's minor version: what there is beyond `.0`. 1: the manifest has links, settings and places to fetch from, and the
/// library has assets.
pub const ABI_MINOR: u16 = 1;

/// Bit 0 of [`StreamitAbiInfo::flags`]: a panic in the plugin becomes [`STATUS_PANICKED`] instead of ending the process.
pub const FLAG_CATCHES_PANICS: u32 = 1;

/// The call did what it says.
pub const STATUS_OK: i32 = 0;
/// The identity has no URL; each reason went to the problem receiver.
pub const STATUS_REJECTED: i32 = 1;
/// The configuration cannot be used; each reason went to the problem receiver.
pub const STATUS_BAD_CONFIG: i32 = 2;
/// The plugin failed for a reason of its own. Every number not listed here counts as this one.
pub const STATUS_INTERNAL: i32 = 3;
/// The plugin panicked and caught it.
pub const STATUS_PANICKED: i32 = 4;

/// [`StreamitMedia::media_type`] of a movie.
pub const MEDIA_MOVIE: u32 = 1;
/// [`StreamitMedia::media_type`] of an episode.
pub const MEDIA_TV: u32 = 2;
/// Bit of [`StreamitMedia::present`]: `season` holds a number.
pub const PRESENT_SEASON: u32 = 1;
/// Bit of [`StreamitMedia::present`]: `episode` holds a number.
pub const PRESENT_EPISODE: u32 = 2;

/// Problem kind: needed and not there.
pub const PROBLEM_MISSING: u32 = 1;
/// Problem kind: not written the way this provider writes it.
pub const PROBLEM_FORMAT: u32 = 2;
/// Problem kind: outside what exists.
pub const PROBLEM_RANGE: u32 = 3;
/// Problem kind: this provider has no such thing.
pub const PROBLEM_UNSUPPORTED: u32 = 4;
/// Problem kind: a configuration key; `field` is the key.
pub const PROBLEM_CONFIG: u32 = 5;
/// Problem kind: anything else.
pub const PROBLEM_OTHER: u32 = 6;

/// Log level: something is broken.
pub const LOG_ERROR: u32 = 1;
/// Log level: something is off.
pub const LOG_WARN: u32 = 2;
/// Log level: worth knowing.
pub const LOG_INFO: u32 = 3;
/// Log level: for the author.
pub const LOG_DEBUG: u32 = 4;

/// A URL longer than this is cut off by the host's sink, and the call counts as failed.
pub const MAX_URL_BYTES: usize = 2048;
/// Problem and log texts are cut here.
pub const MAX_TEXT_BYTES: usize = 1024;
/// The largest manifest, and the largest bridge.
pub const MAX_STATIC_BYTES: usize = 64 * 1024;
/// The largest asset.
pub const MAX_ASSET_BYTES: usize = 4 * 1024 * 1024;
/// The most that all assets of a library have together.
pub const MAX_ASSETS_BYTES: usize = 16 * 1024 * 1024;
/// The most assets of a library.
pub const MAX_ASSETS: usize = 64;
/// The longest name of an asset.
pub const MAX_ASSET_NAME_BYTES: usize = 55;

/// What the host reads from the file's bytes before any plugin code runs. Its layout is frozen for ever.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StreamitAbiInfo {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// Size of this struct in bytes: 156.
    pub size: u32,
    /// The ABI's major version.
    pub abi_major: u16,
    /// The ABI's minor version that the plugin needs; a host of an earlier one refuses it.
    pub abi_minor: u16,
    /// [`FLAG_CATCHES_PANICS`]; other bits are 0.
    pub flags: u32,
    /// Bytes in `streamit_manifest`.
    pub manifest_len: u32,
    /// Bytes in `streamit_bridge`.
    pub bridge_len: u32,
    /// The provider's id, padded with NUL.
    pub id: [u8; 40],
    /// The plugin's own version, padded with NUL.
    pub version: [u8; 24],
    /// The compiler that built it, padded with NUL: shown, never compared.
    pub toolchain: [u8; 64],
}

/// One of a library's assets, the files that its bridge needs beside itself: an entry of `streamit_assets`, which the host
/// reads from the file's bytes before any plugin code runs. The bytes are at a symbol of their own, `streamit_asset_0` for the
/// first entry, `streamit_asset_1` for the second, and so on; an entry without a name ends the list. Since version 1.1. Its
/// layout is frozen for ever.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StreamitAsset {
    /// At most [`MAX_ASSET_NAME_BYTES`] of `a` to `z`, `0` to `9`, `.`, `_` and `-`, padded with NUL. It does not begin with a
    /// dot, has no two of them in a row, and no other asset has it.
    pub name: [u8; 56],
    /// How many bytes there are: 1 to [`MAX_ASSET_BYTES`], and not more than the symbol has.
    pub len: u32,
    /// 0.
    pub reserved: u32,
}

/// UTF-8 text of `len` bytes, without a NUL at its end. `ptr` may be NULL when `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StreamitStr {
    /// First byte.
    pub ptr: *const u8,
    /// Number of bytes.
    pub len: usize,
}

/// Where a plugin writes its URL. The host owns it; it is dead after the call returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StreamitSink {
    /// To be handed back in each call.
    pub ctx: *mut c_void,
    /// Appends `n` bytes; may be called several times. Returns 0, or something else when it takes no more: stop then.
    pub write: Option<unsafe extern "C" fn(ctx: *mut c_void, p: *const u8, n: usize) -> i32>,
}

/// Where a plugin says what is wrong. The host owns it; it is dead after the call returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StreamitProblems {
    /// To be handed back in each call.
    pub ctx: *mut c_void,
    /// Reports one problem: one of the problem kinds, the field (or configuration key), and what is expected.
    pub problem: Option<unsafe extern "C" fn(ctx: *mut c_void, kind: u32, field: StreamitStr, text: StreamitStr)>,
}

/// The identity a URL is asked for. Lives as long as the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StreamitMedia {
    /// Size of this struct in bytes.
    pub size: u32,
    /// [`MEDIA_MOVIE`] or [`MEDIA_TV`]; anything else: reject.
    pub media_type: u32,
    /// The provider's id for the work, as typed by a viewer.
    pub external_id: StreamitStr,
    /// [`PRESENT_SEASON`] and [`PRESENT_EPISODE`]; any other bit: reject.
    pub present: u32,
    /// Valid if its bit is set.
    pub season: u32,
    /// Valid if its bit is set.
    pub episode: u32,
    /// 0.
    pub reserved: u32,
    /// A field that only tests have: of some later version.
    #[cfg(grown)]
    pub later: u64,
}

/// What the host offers a plugin. Valid as long as the instance it was given to.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StreamitHost {
    /// Size of this struct in bytes.
    pub size: u32,
    /// The host's minor version.
    pub abi_minor: u32,
    /// To be handed back in each call.
    pub ctx: *mut c_void,
    /// Writes a line to the host's log. Any thread, also from a panic hook. May be NULL.
    pub log: Option<unsafe extern "C" fn(ctx: *mut c_void, level: u32, text: StreamitStr)>,
    /// A table by string id (`"streamit.name/1"`), or NULL. May be NULL.
    pub extension: Option<unsafe extern "C" fn(ctx: *mut c_void, id: StreamitStr) -> *const c_void>,
    /// A field that only tests have: of some later version.
    #[cfg(grown)]
    pub later: u64,
}

/// What a plugin offers the host, as the symbol `streamit_provider_v1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StreamitProviderV1 {
    /// Size of this struct in bytes.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// Checks the configuration (a JSON object) and makes an instance. Called on one thread, not during other calls on
    /// the same instance; several instances may exist. Returns [`STATUS_OK`] after writing `*instance` (which the host
    /// treats as opaque: NULL is fine), or [`STATUS_BAD_CONFIG`] after reporting each key.
    pub create: Option<
        unsafe extern "C" fn(
            host: *const StreamitHost,
            config_json: StreamitStr,
            problems: *const StreamitProblems,
            instance: *mut *mut c_void,
        ) -> i32,
    >,
    /// Ends an instance; no call on it is running or follows. May be NULL when there is nothing to free.
    pub destroy: Option<unsafe extern "C" fn(instance: *mut c_void)>,
    /// Writes the URL of `media` to `out`, or reports problems and returns [`STATUS_REJECTED`]. Any thread, several
    /// at once. A pure function of configuration and media.
    pub embed_url: Option<
        unsafe extern "C" fn(
            instance: *const c_void,
            media: *const StreamitMedia,
            out: *const StreamitSink,
            problems: *const StreamitProblems,
        ) -> i32,
    >,
    /// A table by string id, or NULL for an unknown one. Any thread. May be NULL.
    pub extension: Option<unsafe extern "C" fn(instance: *const c_void, id: StreamitStr) -> *const c_void>,
    /// A field that only tests have: of some later version.
    #[cfg(grown)]
    pub later: u64,
}

/// Where a field ends.
macro_rules! end_of {
    ($struct:ident, $field:ident) => {{
        const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
            size_of::<F>()
        }
        offset_of!($struct, $field) + size_of_field(|whole: &$struct| &whole.$field)
    }};
}

/// What all structs have in common that begin with their `size`.
macro_rules! sized {
    ($struct:ident: $($field:ident),* up to $last:ident $(, #[$since:meta] $later:ident)*) => {
        impl $struct {
            /// What version 1.0 has, in bytes: nobody passes less, whatever later versions append.
            pub const fn size_1_0() -> usize {
                end_of!($struct, $last)
            }

            /// A copy of as many whole fields as its `size` says are there; the others are 0, NULL or absent. Nothing if it is
            /// smaller than version 1.0.
            ///
            /// # Safety
            /// `from` is readable for four bytes, which are its `size`, and then for as many as they say. It need not be aligned.
            #[expect(unsafe_code, reason = "the other side may be of another version")]
            pub unsafe fn read(from: *const Self) -> Option<Self> {
                const ENDS: &[usize] = &[
                    $(end_of!($struct, $field),)*
                    end_of!($struct, $last),
                    $(#[$since] end_of!($struct, $later),)*
                ];
                // SAFETY: the caller's promise.
                let size = unsafe { from.cast::<u32>().read_unaligned() } as usize;
                if size < Self::size_1_0() {
                    return None;
                }
                let whole = ENDS.iter().copied().filter(|end| *end <= size).max()?;
                let mut copy = MaybeUninit::<Self>::zeroed();
                // SAFETY: `whole` bytes are there by the caller's promise, and are no more than a whole struct of this version;
                // zeroes are a valid value of each field that they leave out.
                unsafe {
                    ptr::copy_nonoverlapping(from.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), whole);
                    Some(copy.assume_init())
                }
            }
        }
    };
}

sized!(StreamitMedia: size, media_type, external_id, present, season, episode up to reserved, #[cfg(grown)] later);
sized!(StreamitHost: size, abi_minor, ctx, log up to extension, #[cfg(grown)] later);
sized!(StreamitProviderV1: size, reserved, create, destroy, embed_url up to extension, #[cfg(grown)] later);

impl StreamitStr {
    /// Borrows `text`; valid as long as it is.
    pub fn new(text: &str) -> Self {
        StreamitStr { ptr: text.as_ptr(), len: text.len() }
    }

    /// The bytes, or nothing if the pointer is NULL or the length cannot be that of a real object.
    ///
    /// # Safety
    /// If `ptr` is not NULL, it points to `len` readable bytes that stay unchanged for `'a`.
    #[expect(unsafe_code, reason = "the ABI hands over pointers")]
    pub unsafe fn bytes<'a>(self) -> Option<&'a [u8]> {
        if self.len == 0 {
            return Some(&[]);
        }
        if self.ptr.is_null() || self.len > isize::MAX as usize {
            return None;
        }
        // SAFETY: not NULL, length in bounds; the rest is the caller's promise.
        Some(unsafe { std::slice::from_raw_parts(self.ptr, self.len) })
    }
}

// The layout every plugin in the world relies on, for 64-bit targets.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<StreamitAbiInfo>() == 156);
    assert!(offset_of!(StreamitAbiInfo, size) == 8);
    assert!(offset_of!(StreamitAbiInfo, abi_major) == 12);
    assert!(offset_of!(StreamitAbiInfo, abi_minor) == 14);
    assert!(offset_of!(StreamitAbiInfo, flags) == 16);
    assert!(offset_of!(StreamitAbiInfo, manifest_len) == 20);
    assert!(offset_of!(StreamitAbiInfo, bridge_len) == 24);
    assert!(offset_of!(StreamitAbiInfo, id) == 28);
    assert!(offset_of!(StreamitAbiInfo, version) == 68);
    assert!(offset_of!(StreamitAbiInfo, toolchain) == 92);
    assert!(size_of::<StreamitAsset>() == 64);
    assert!(offset_of!(StreamitAsset, len) == 56);
    assert!(size_of::<StreamitStr>() == 16);
    assert!(size_of::<StreamitSink>() == 16);
    assert!(size_of::<StreamitProblems>() == 16);
    assert!(StreamitMedia::size_1_0() == 40);
    assert!(offset_of!(StreamitMedia, media_type) == 4);
    assert!(offset_of!(StreamitMedia, external_id) == 8);
    assert!(offset_of!(StreamitMedia, present) == 24);
    assert!(offset_of!(StreamitMedia, season) == 28);
    assert!(offset_of!(StreamitMedia, episode) == 32);
    assert!(StreamitHost::size_1_0() == 32);
    assert!(offset_of!(StreamitHost, ctx) == 8);
    assert!(offset_of!(StreamitHost, log) == 16);
    assert!(offset_of!(StreamitHost, extension) == 24);
    assert!(StreamitProviderV1::size_1_0() == 40);
    assert!(offset_of!(StreamitProviderV1, create) == 8);
    assert!(offset_of!(StreamitProviderV1, destroy) == 16);
    assert!(offset_of!(StreamitProviderV1, embed_url) == 24);
    assert!(offset_of!(StreamitProviderV1, extension) == 32);
};

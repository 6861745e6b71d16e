//! Host and plugin of different versions of the API: each reads what both know. (A plugin that *needs* a later minor version
//! says so, and is refused: the zoo has one.)

use std::{ffi::c_void, mem::size_of, ptr, slice};

use grown_api::abi::{
    MEDIA_MOVIE, STATUS_OK, StreamitHost, StreamitMedia, StreamitProblems, StreamitProviderV1, StreamitSink,
    StreamitStr,
};

use crate::harness::App;

#[tokio::test]
async fn a_plugin_of_a_later_version_serves_in_this_host() {
    let app = App::with("[providers.grown]").await;
    let provider = app.provider("grown").await;
    assert_eq!(provider["state"], "ready", "{provider}");
    assert!(app.log().contains("plugin: made by a host of any version"), "{}", app.log());
    assert_eq!(app.resolve("grown", "a").await.body["embed_url"], "https://grown.example/a");
    let checked = app.streamit(&["plugin", "check"]).arg(app.library("grown")).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

/// This test is a host of the later version; the plugin is one of today's.
#[test]
#[expect(unsafe_code, reason = "the test is the host")]
fn a_plugin_of_this_version_serves_in_a_later_host() {
    unsafe extern "C" fn write(ctx: *mut c_void, p: *const u8, n: usize) -> i32 {
        // SAFETY: `ctx` is the vector below; the plugin lends `n` bytes.
        unsafe { (*ctx.cast::<Vec<u8>>()).extend_from_slice(slice::from_raw_parts(p, n)) };
        0
    }
    let app = App::prepare("");
    // SAFETY: a plugin of this workspace, whose symbol is what its name says.
    let library = unsafe { libloading::Library::new(app.library("vimeo")) }.unwrap();
    // SAFETY: as above.
    let table = unsafe { library.get::<*const StreamitProviderV1>(b"streamit_provider_v1") }.unwrap();
    // SAFETY: as large as it says, which is less than this host knows.
    let table = unsafe { StreamitProviderV1::read(*table) }.expect("a whole table of version 1.0");
    assert_eq!((table.size as usize, table.later), (StreamitProviderV1::size_1_0(), 0));
    assert!(size_of::<StreamitProviderV1>() > StreamitProviderV1::size_1_0(), "the test itself is of a later version");

    let host = StreamitHost {
        size: size_of::<StreamitHost>() as u32,
        abi_minor: 9,
        ctx: ptr::null_mut(),
        log: None,
        extension: None,
        later: u64::MAX,
    };
    let problems = StreamitProblems { ctx: ptr::null_mut(), problem: None };
    let mut instance = ptr::null_mut();
    let media = StreamitMedia {
        size: size_of::<StreamitMedia>() as u32,
        media_type: MEDIA_MOVIE,
        external_id: StreamitStr::new("76979871"),
        present: 0,
        season: 0,
        episode: 0,
        reserved: 0,
        later: u64::MAX,
    };
    let mut url = Vec::new();
    let sink = StreamitSink { ctx: (&raw mut url).cast(), write: Some(write) };
    // SAFETY: every pointer is valid for the length of these calls.
    unsafe {
        let created =
            table.create.unwrap()(&raw const host, StreamitStr::new("{}"), &raw const problems, &raw mut instance);
        assert_eq!(created, STATUS_OK);
        let asked = table.embed_url.unwrap()(instance, &raw const media, &raw const sink, &raw const problems);
        assert_eq!(asked, STATUS_OK);
        table.destroy.unwrap()(instance);
    }
    let url = String::from_utf8(url).unwrap();
    assert!(url.starts_with("https://player.vimeo.com/video/76979871"), "{url}");
}

//! The zoo: a plugin for each way of misbehaving that a host has to survive, and what the host says about it.
//! They are C, since none of them could be written in safe Rust.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// One kind of misbehaviour.
pub struct Animal {
    /// Its provider id, and the name of its library.
    pub name: &'static str,
    /// `-D` flags for `zoo.c`.
    pub flags: &'static [&'static str],
    /// The state it ends up in.
    pub state: &'static str,
    /// What the reason says, among other things.
    pub reason: &'static str,
}

const fn refused(name: &'static str, flags: &'static [&'static str], reason: &'static str) -> Animal {
    Animal { name, flags, state: "refused", reason }
}

const fn harmless(name: &'static str, flags: &'static [&'static str]) -> Animal {
    Animal { name, flags, state: "ready", reason: "" }
}

/// Those whose misbehaviour shows when they are loaded.
pub const AT_LOAD: &[Animal] = &[
    // What is read from the file, without running it.
    refused("no-info", &["-DNO_INFO"], "no symbol streamit_abi_info: not a StreamIt plugin"),
    refused("no-table", &["-DNO_TABLE"], "no symbol streamit_provider_v1: not a StreamIt plugin"),
    refused("no-manifest", &["-DNO_MANIFEST", "-DMANIFEST_LEN=10"], "no symbol streamit_manifest"),
    refused("no-bridge", &["-DNO_BRIDGE"], "no symbol streamit_bridge"),
    refused("bad-magic", &["-DMAGIC={'M','A','G','I','C'}"], "streamit_abi_info does not begin with STREAMIT"),
    refused("major-two", &["-DABI_MAJOR=2"], "built for ABI 2 (with C), this host speaks ABI 1; rebuild it against"),
    refused("minor-nine", &["-DABI_MINOR=9"], "needs ABI 1.9 (built with C), this host speaks 1.1; update the host"),
    harmless("minor-zero", &["-DABI_MINOR=0"]),
    refused("small-info", &["-DINFO_SIZE=100"], "its ABI info has 100 bytes, less than ABI 1 has"),
    refused("aborting-panics", &["-DFLAGS=0"], "built with panic = \"abort\""),
    refused("long-manifest", &["-DMANIFEST_LEN=70000"], "streamit_manifest has 70000 bytes; at most 65536 are read"),
    refused("no-toml", &["-DMANIFEST_TEXT=\"{}\""], "its provider.toml is not valid: line 1: "),
    refused("no-utf8", &["-DMANIFEST_TEXT=\"\\xff\\xfe\""], "streamit_manifest is not UTF-8 text"),
    refused("two-ids", &["-DMANIFEST_ID=\"other\""], "its ABI info names the provider `two-ids`, its manifest `other`"),
    refused(
        "beyond-file",
        &["-DMANIFEST_LEN=65000"],
        "symbol streamit_manifest with its 65000 bytes is not inside the file",
    ),
    // What its assets are, by the same bytes.
    harmless("assets-well", &["-DASSET_BYTES=20", "-DASSETS={\"player.js\",17,0},{\"\",0,0}"]),
    harmless("assets-none", &["-DASSETS={\"\",0,0}"]),
    refused(
        "asset-lies",
        &["-DASSET_BYTES=20", "-DASSETS={\"player.js\",21,0},{\"\",0,0}"],
        "its asset `player.js` has 21 bytes by streamit_assets, and 20 by its symbol streamit_asset_0",
    ),
    refused(
        "asset-lies-twice",
        &["-DASSET_CLAIMS=\"3000000\"", "-DASSETS={\"player.js\",3000000,0},{\"\",0,0}"],
        "symbol streamit_asset_0 with its 3000000 bytes is not inside the file",
    ),
    refused(
        "asset-missing",
        &["-DASSET_BYTES=20", "-DASSETS={\"player.js\",20,0},{\"player.css\",20,0},{\"\",0,0}"],
        "no symbol streamit_asset_1, which streamit_assets calls `player.css`",
    ),
    refused("asset-alone", &["-DASSET_BYTES=20"], "streamit_asset_0 is there, and streamit_assets has no entry for it"),
    refused(
        "asset-endless",
        &["-DASSET_BYTES=20", "-DASSETS={\"player.js\",20,0}"],
        "streamit_assets has no end: behind the last of at most 64 assets",
    ),
    refused(
        "asset-up",
        &["-DASSET_BYTES=20", "-DASSETS={\"../up.js\",20,0},{\"\",0,0}"],
        "streamit_assets: `../up.js`: an asset's name has 1 to 55 of",
    ),
    refused(
        "asset-dots",
        &["-DASSET_BYTES=20", "-DASSETS={\"a..b\",20,0},{\"\",0,0}"],
        "streamit_assets: `a..b`: an asset's name has 1 to 55 of",
    ),
    refused(
        "asset-hidden",
        &["-DASSET_BYTES=20", "-DASSETS={\".hidden\",20,0},{\"\",0,0}"],
        "streamit_assets: `.hidden`: an asset's name has 1 to 55 of",
    ),
    refused(
        "asset-capital",
        &["-DASSET_BYTES=20", "-DASSETS={\"Player.js\",20,0},{\"\",0,0}"],
        "streamit_assets: `Player.js`: an asset's name has 1 to 55 of",
    ),
    refused(
        "asset-twice",
        &["-DFIVE_ASSETS=9", "-DASSETS={\"a\",9,0},{\"b\",9,0},{\"a\",9,0},{\"c\",9,0},{\"d\",9,0},{\"\",0,0}"],
        "streamit_assets: two assets are called `a`",
    ),
    refused(
        "asset-empty",
        &["-DASSET_BYTES=20", "-DASSETS={\"player.js\",0,0},{\"\",0,0}"],
        "its asset `player.js` is empty",
    ),
    refused(
        "asset-large",
        &["-DASSET_BYTES=4194305", "-DASSETS={\"player.js\",4194305,0},{\"\",0,0}"],
        "its asset `player.js` has 4194305 bytes; at most 4194304 are served",
    ),
    refused(
        "assets-17-mib",
        &[
            "-DFIVE_ASSETS=3565158",
            "-DASSETS={\"a\",3565158,0},{\"b\",3565158,0},{\"c\",3565158,0},{\"d\",3565158,0},{\"e\",3565158,0},{\"\",0,0}",
        ],
        "its assets have more than 16777216 bytes together",
    ),
    refused(
        "assets-too-early",
        &["-DABI_MINOR=0", "-DASSET_BYTES=20", "-DASSETS={\"player.js\",20,0},{\"\",0,0}"],
        "it has assets, and its ABI info asks for ABI 1.0 only",
    ),
    // What its loading does.
    refused("undefined", &["-DUNDEFINED"], "the system's loader refused it: undefined symbol: nowhere"),
    refused(
        "ctor-abort",
        &["-DCONSTRUCTOR=abort()"],
        "it crashed (signal 6, SIGABRT) while its library was being loaded",
    ),
    refused(
        "ctor-segv",
        &["-DCONSTRUCTOR=segv()"],
        "it crashed (signal 11, SIGSEGV) while its library was being loaded",
    ),
    refused("ctor-overflow", &["-DCONSTRUCTOR=overflow(NULL)"], "it crashed (signal 11, SIGSEGV) while its library"),
    refused(
        "ctor-exit",
        &["-DCONSTRUCTOR=exit(0)"],
        "it ended its process (exit status 0) while its library was being loaded",
    ),
    refused(
        "ctor-loop",
        &["-DCONSTRUCTOR=loop()"],
        "it did not come to an end within 2s, while its library was being loaded",
    ),
    refused("ctor-lies", &["-DCONSTRUCTOR=lie()"], "it wrote to a channel that is not its own"),
    refused(
        "ctor-hoards",
        &["-DCONSTRUCTOR=hoard()"],
        "it crashed (signal 6, SIGABRT) while its library was being loaded",
    ),
    refused(
        "ctor-scribbles",
        &["-DCONSTRUCTOR=scribble()"],
        "it crashed (signal 25, SIGXFSZ: a file it wrote is too large)",
    ),
    harmless("ctor-prints", &["-DCONSTRUCTOR=print()"]),
    // What its table holds.
    refused("no-create", &["-DCREATE_FN=NULL"], "its function table (40 bytes) has no create or no embed_url"),
    refused("no-embed", &["-DEMBED_FN=NULL"], "its function table (40 bytes) has no create or no embed_url"),
    refused("tiny-table", &["-DTABLE_SIZE=8"], "its function table is smaller than that of ABI 1"),
    refused("cut-table", &["-DTABLE_SIZE=36"], "its function table is smaller than that of ABI 1"),
    refused("empty-table", &["-DTABLE_SIZE=0"], "its function table is smaller than that of ABI 1"),
    harmless("large-table", &["-DTABLE_SIZE=4096"]),
    harmless("null-instance", &[]),
    // What create does.
    refused("create-abort", &["-DCREATE=abort()"], "it crashed (signal 6, SIGABRT) in create"),
    refused("create-exit", &["-DCREATE=exit(3)"], "it ended its process (exit status 3) in create"),
    refused("create-loop", &["-DCREATE=loop()"], "it did not come to an end within 2s, in create"),
    refused("create-status", &["-DCREATE=return 4711"], "create returned status 4711, which has no meaning here"),
    refused("create-no", &["-DCREATE=return 2"], "config: refused without a reason"),
    refused(
        "create-bytes",
        &[
            "-DCREATE=StreamitStr k={0,0};StreamitStr t={(const uint8_t*)\"\\xff!\",2};problems->problem(problems->ctx,5,k,t);return 2",
        ],
        "config: \u{fffd}!",
    ),
    refused(
        "create-null-text",
        &[
            "-DCREATE=StreamitStr k={0,9};StreamitStr t={0,(size_t)1<<60};problems->problem(problems->ctx,5,k,t);return 2",
        ],
        "config: refused without a reason",
    ),
    // What its golden example gives.
    refused(
        "example-wrong",
        &["-DMEDIA_URL=\"https://zoo.example/else\""],
        "should give https://zoo.example/else; it gave https://zoo.example/fine",
    ),
    refused("example-http", &["-DURL=\"http://zoo.example/\""], "its URL is neither https nor http on this machine"),
    refused("example-script", &["-DURL=\"javascript:alert(1)\""], "its URL is neither https nor http on this machine"),
    refused("example-foreign", &["-DURL=\"https://elsewhere.example/\""], "its URL is on none of its embed_origins"),
    refused(
        "example-flickers",
        &["-DFLICKER"],
        "its golden example movie `fine` gave https://zoo.example/fine, and https://zoo.example/again when asked again",
    ),
    refused("example-user", &["-DURL=\"https://user@zoo.example/\""], "its URL carries a user name"),
    // What its end does.
    refused("destroy-segv", &["-DDESTROY=segv()"], "it crashed (signal 11, SIGSEGV) in destroy"),
    refused("destroy-exit", &["-DDESTROY=exit(1)"], "it ended its process (exit status 1) in destroy"),
    refused("destroy-loop", &["-DDESTROY=loop()"], "it did not come to an end within 2s, in destroy"),
];

/// One whose misbehaviour is asked for with each identity: as `external_id`, with what the host's log says of it.
pub const CALLS: &str = "caller";

/// What the host survives wherever the plugin runs.
pub const IN_CALLS: &[(&str, &str)] = &[
    ("utf8", "embed_url wrote text that is not UTF-8"),
    ("gib", "embed_url wrote more than 2048 bytes"),
    ("huge", "embed_url wrote more than 2048 bytes"),
    ("null", "embed_url wrote 7 bytes from NULL"),
    ("status", "embed_url returned status 4711, which has no meaning here"),
    ("internal", "embed_url failed with an internal error"),
    ("silent", "its URL is empty"),
    ("http", "its URL is neither https nor http on this machine: http://zoo.example/"),
    ("script", "its URL is neither https nor http on this machine: javascript:alert(1)"),
    ("foreign", "its URL is on none of its embed_origins: https://elsewhere.example/"),
    ("user", "its URL carries a user name: https://user@zoo.example/"),
    ("control", "its URL has blanks, backslashes or control characters"),
];

/// What only a process of its own survives.
pub const IN_CALLS_APART: &[(&str, &str)] = &[
    ("abort", "it crashed (signal 6, SIGABRT) in embed_url"),
    ("segv", "it crashed (signal 11, SIGSEGV) in embed_url"),
    ("overflow", "it crashed (signal 11, SIGSEGV) in embed_url"),
    ("exit", "it ended its process (exit status 0) in embed_url"),
    ("loop", "it did not come to an end within 250ms, in embed_url"),
    ("lie", "it wrote to a channel that is not its own"),
];

/// One that is well in a child and crashes in the host.
pub const CRASHES_IN_HOST: Animal =
    Animal { name: "host-crasher", flags: &["-DCONSTRUCTOR=abort_in_host()"], state: "quarantined", reason: "" };

/// One that is well in a child and whose constructor never returns in the host.
pub const HANGS_IN_HOST: Animal =
    Animal { name: "host-hanger", flags: &["-DCONSTRUCTOR=loop_in_host()"], state: "quarantined", reason: "" };

/// One that takes its time to be loaded into the host.
pub const SLOW_IN_HOST: Animal =
    Animal { name: "host-sleeper", flags: &["-DCONSTRUCTOR=wait_in_host()"], state: "ready", reason: "" };

/// Builds a library of `zoo.c` with these flags into `folder`, under the name a host looks for.
pub fn build(folder: &Path, name: &str, flags: &[&str]) -> PathBuf {
    use env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = folder.join(format!("{DLL_PREFIX}{}{DLL_SUFFIX}", name.replace('-', "_")));
    let status = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-std=gnu99", "-g0", "-O0", "-w", "-fPIC", "-shared", "-fvisibility=hidden"])
        .arg(format!("-DID=\"{name}\""))
        .args(flags)
        .arg("-I")
        .arg(here.join("../../plugin-api/include"))
        .arg("-o")
        .arg(&library)
        .arg(here.join("zoo.c"))
        .status()
        .expect("a C compiler, which Rust needs to link as well");
    assert!(status.success(), "{name} does not compile");
    library
}

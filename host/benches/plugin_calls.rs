//! What a URL costs, by the way it is asked for. All ways in one run, in turns, as ratios to a plain Rust call.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and ends when something is wrong")]

#[path = "../../plugins/vidking/src/lib.rs"]
#[cfg_attr(test, expect(unused_imports, reason = "its unit tests are not run here"))]
mod vidking;

use std::{fs, hint::black_box, path::PathBuf, sync::Arc, time::Instant};

use futures_util::FutureExt;
use streamit::{
    config::{self, Config, Isolation},
    providers::{Bare, Providers},
    telemetry::Metrics,
};
use streamit_plugin_api::{Media, Provider};
use vidking::Vidking;

const ROUNDS: usize = 9;

type Call<'a> = Box<dyn FnMut() -> usize + 'a>;

fn main() {
    // `cargo test --benches` wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let streamit = PathBuf::from(env!("CARGO_BIN_EXE_streamit"));
    let name = format!("{}vidking{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let library = streamit.with_file_name(&name);
    assert!(library.is_file(), "{} is built first: `cargo xtask bench`", library.display());
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    fs::copy(&library, plugins.join(&name)).unwrap();

    let load = |isolation| {
        let mut config = Config { state_dir: folder.path().join("state"), ..Config::default() };
        config.plugins.dir = plugins.clone();
        config.providers.insert("vidking".into(), config::Provider { isolation, ..config::Provider::default() });
        let providers = Providers::load(&config, streamit.clone(), &Arc::new(Metrics::new())).unwrap();
        assert!(providers.get("vidking").unwrap().is_ready(), "{}", providers.get("vidking").unwrap().status().1);
        providers
    };
    // New identities make room for themselves, so the known one has a host of its own.
    let (calm, here, apart) = (load(Isolation::None), load(Isolation::None), load(Isolation::Process));
    let bare = Bare::open(&plugins.join(&name)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ask = |providers: &Providers, media: &Media<'_>| {
        runtime.block_on(providers.embed_url("vidking", media)).unwrap().len()
    };

    let known = Media::tv("119051", 1, 8);
    ask(&calm, &known);
    let (mut of_here, mut of_apart) = (0, 0);
    let ask_new = |providers: &Providers, episode: &mut u32| {
        *episode += 1;
        ask(providers, &Media::tv("119051", 1, *episode))
    };
    let mut ways: Vec<(&str, u32, Call<'_>)> = vec![
        ("static Rust call", 200_000, Box::new(|| Vidking.embed_url(black_box(&known)).unwrap().len())),
        ("plugin, across the ABI", 200_000, Box::new(|| bare.embed_url(black_box(&known)).unwrap().len())),
        (
            "host, known identity",
            200_000,
            Box::new(|| {
                // Nothing to wait for, so no runtime either.
                let url = calm.embed_url("vidking", black_box(&known)).now_or_never();
                url.expect("it is known").unwrap().len()
            }),
        ),
        ("host, new identity", 4_000, Box::new(|| ask_new(&here, &mut of_here))),
        ("host, new identity, process", 4_000, Box::new(|| ask_new(&apart, &mut of_apart))),
    ];
    let mut times: Vec<Vec<f64>> = ways.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for ((_, calls, call), times) in ways.iter_mut().zip(&mut times) {
            let start = Instant::now();
            for _ in 0..*calls {
                black_box(call());
            }
            times.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(*calls));
        }
    }
    let medians: Vec<f64> = times
        .into_iter()
        .map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[ROUNDS / 2]
        })
        .collect();
    println!("{:<30} {:>12} {:>10}", "one URL", "ns a call", "ratio");
    for ((name, ..), median) in ways.iter().zip(&medians) {
        println!("{name:<30} {median:>12.0} {:>9.2}x", median / medians[0]);
    }
}

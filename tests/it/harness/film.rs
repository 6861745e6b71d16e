//! The clip that windows play in scenes, and how films for them are made.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use super::repository;

/// The clip that is there on first run.
pub(crate) fn bundled() -> PathBuf {
    repository().join("plugins/mp4/media/clock.webm")
}

/// The same with a small picture that changes five times a second, of about as many bytes: without a graphics card half of
/// what a window that plays has to do is to draw the bundled one.
pub(crate) fn light() -> &'static Path {
    static LIGHT: OnceLock<PathBuf> = OnceLock::new();
    LIGHT.get_or_init(|| made_once("clip-1", make_light).join("clock.webm"))
}

fn make_light(folder: &Path) {
    let mut ffmpeg = ffmpeg();
    ffmpeg.arg("-i").arg(bundled()).args(["-vf", "fps=5,scale=214:120", "-c:a", "copy"]);
    // Between two pictures that stand for themselves lies as much time as in the bundled one.
    ffmpeg.args(["-c:v", "libvpx-vp9", "-b:v", "45k", "-g", "15", "-deadline", "realtime", "-cpu-used", "8"]);
    succeeds(ffmpeg.arg(folder.join("clock.webm")));
}

/// A folder that is kept from run to run: the name is another one when something else is made.
pub(super) fn made_once(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !folder.is_dir() {
        let making = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        make(making.path());
        // Another run may have been quicker.
        assert!(fs::rename(making.keep(), &folder).is_ok() || folder.is_dir());
    }
    folder
}

pub(super) fn ffmpeg() -> Command {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]).stdin(Stdio::null());
    ffmpeg
}

pub(super) fn succeeds(command: &mut Command) {
    let output = command.output().expect("ffmpeg is installed; `cargo xtask test` sees to it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

//! A film, made by ffmpeg once and kept: a picture in two sizes, a sound in two languages, subtitles, and a copy under a key.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::{
    super::film::{self, ffmpeg, made_once, succeeds},
    KEY, KEY_ID, cenc,
};

/// How long it is.
pub(super) const SECONDS: u32 = 120;

/// The folder of its files: fragmented MP4, each with an index.
pub(super) fn folder() -> &'static Path {
    static MEDIA: OnceLock<PathBuf> = OnceLock::new();
    MEDIA.get_or_init(|| made_once("streams-2", make))
}

fn make(folder: &Path) {
    let picture = format!("testsrc=s=160x90:r=5:d={SECONDS}");
    let sound = |hertz: u32| format!("sine=f={hertz}:r=24000:d={SECONDS}");
    let (english, german) = (sound(440), sound(880));
    let fragments = ["-movflags", "+frag_keyframe+empty_moov+default_base_moof+global_sidx"];
    let video = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "5", "-sc_threshold", "0", "-pix_fmt", "yuv420p"];
    let audio = ["-c:a", "aac", "-b:a", "32k", "-frag_duration", "1000000"];
    let mut ffmpeg = ffmpeg();
    ffmpeg.current_dir(folder);
    for input in [&picture, &english, &german] {
        ffmpeg.args(["-f", "lavfi", "-i", input]);
    }
    ffmpeg.args(["-map", "0"]).args(video).args(["-s", "96x54"]).args(fragments).arg("small.mp4");
    ffmpeg.args(["-map", "0"]).args(video).args(fragments).arg("large.mp4");
    ffmpeg.args(["-map", "1"]).args(audio).args(fragments).arg("en.mp4");
    ffmpeg.args(["-map", "2"]).args(audio).args(fragments).arg("de.mp4");
    succeeds(&mut ffmpeg);
    let [key, id] = [KEY, KEY_ID].map(|bytes| hex(bytes));
    for name in ["small", "en"] {
        let mut lock = film::ffmpeg();
        lock.current_dir(folder).args(["-i", &format!("{name}.mp4"), "-c", "copy"]).args(fragments);
        lock.args(["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", &key, "-encryption_kid", &id]);
        // So it counts its initialisation vectors from 0, which `told` relies on.
        let locked = format!("{name}-locked.mp4");
        succeeds(lock.args(["-fflags", "+bitexact"]).arg(&locked));
        let file = folder.join(locked);
        fs::write(&file, cenc::told(&fs::read(&file).unwrap())).unwrap();
    }
    for (lang, word) in [("en", "Hello"), ("de", "Guten Tag")] {
        let cue = format!("WEBVTT\n\n00:00:00.000 --> 00:{:02}:00.000\n{word}\n", SECONDS / 60);
        fs::write(folder.join(format!("{lang}.vtt")), cue).unwrap();
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file's head, its index, and the segments that the index lists: length in bytes and in seconds.
pub(super) struct Track {
    pub(super) head: usize,
    pub(super) index: Range<usize>,
    pub(super) segments: Vec<(usize, f64)>,
    pub(super) codec: String,
}

impl Track {
    pub(super) fn read(name: &str) -> Track {
        let bytes = fs::read(folder().join(format!("{name}.mp4"))).unwrap();
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let (mut at, mut index) = (0, 0..0);
        while index.is_empty() {
            if &bytes[at + 4..at + 8] == b"sidx" {
                index = at..at + number(at);
            }
            at += number(at);
        }
        // ISO 14496-12, 8.16.3: of version 1 the times have eight bytes.
        let (scale, list) = (number(index.start + 16) as f64, index.start + 36);
        let count = number(list) & 0xffff;
        let segment = |n: usize| (number(list + 4 + 12 * n), number(list + 8 + 12 * n) as f64 / scale);
        let avc = bytes.windows(4).position(|name| name == b"avcC");
        // The profile stands behind the record's version.
        let codec = avc.map_or("mp4a.40.2".into(), |at| format!("avc1.{}", hex(&bytes[at + 5..at + 8])));
        Track { head: index.start, index: index.clone(), segments: (0..count).map(segment).collect(), codec }
    }
}

//! The manifests of the film, in both forms: `clear` with all that it has, `locked` with a picture and a sound under a key.

use std::{fs, path::Path};

use super::{
    KEY_ID,
    media::{self, SECONDS, Track, hex},
};

type Names = &'static [&'static str];

/// The tracks of a folder, by the names of their files.
struct Tracks {
    videos: Names,
    sounds: Names,
    texts: Names,
}

fn tracks(folder: &str) -> Option<Tracks> {
    match folder {
        "clear" => Some(Tracks { videos: &["small", "large"], sounds: &["en", "de"], texts: &["en", "de"] }),
        "locked" => Some(Tracks { videos: &["small-locked"], sounds: &["en-locked"], texts: &[] }),
        _ => None,
    }
}

const LANGUAGES: [(&str, &str); 2] = [("en", "English"), ("de", "Deutsch")];

fn size(name: &str) -> &'static str {
    if name == "large" { "160x90" } else { "96x54" }
}

fn dash(folder: &str, query: &str) -> Option<String> {
    let Tracks { videos, sounds, texts } = tracks(folder)?;
    let uuid = {
        let id = hex(KEY_ID);
        [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-")
    };
    let protection = if folder == "locked" {
        format!(
            "<ContentProtection schemeIdUri=\"urn:mpeg:dash:mp4protection:2011\" value=\"cenc\" cenc:default_KID=\"{uuid}\"/>\
             <ContentProtection schemeIdUri=\"urn:uuid:e2719d58-a985-b3c9-781a-b030af78d30e\" value=\"ClearKey1.0\"/>"
        )
    } else {
        String::new()
    };
    let representation = |name: &str, bandwidth: u32, more: &str| {
        let Track { head, index, codec, .. } = Track::read(name);
        format!(
            "<Representation id=\"{name}\" codecs=\"{codec}\" bandwidth=\"{bandwidth}\"{more}>\
             <BaseURL>{name}.mp4{query}</BaseURL><SegmentBase indexRange=\"{}-{}\"><Initialization range=\"0-{}\"/>\
             </SegmentBase></Representation>",
            index.start,
            index.end - 1,
            head - 1
        )
    };
    let mut sets = format!("<AdaptationSet contentType=\"video\" mimeType=\"video/mp4\">{protection}");
    for name in videos {
        let (width, height) = size(name).split_once('x').unwrap();
        let bandwidth = if *name == "large" { 60_000 } else { 30_000 };
        sets += &representation(name, bandwidth, &format!(" width=\"{width}\" height=\"{height}\""));
    }
    sets += "</AdaptationSet>";
    for name in sounds {
        let lang = &name[..2];
        sets += &format!("<AdaptationSet contentType=\"audio\" mimeType=\"audio/mp4\" lang=\"{lang}\">{protection}");
        sets += &representation(name, 32_000, "");
        sets += "</AdaptationSet>";
    }
    for lang in texts {
        sets += &format!(
            "<AdaptationSet contentType=\"text\" mimeType=\"text/vtt\" lang=\"{lang}\"><Representation id=\"text-{lang}\" \
             bandwidth=\"100\"><BaseURL>{lang}.vtt{query}</BaseURL></Representation></AdaptationSet>"
        );
    }
    Some(format!(
        "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" xmlns:cenc=\"urn:mpeg:cenc:2013\" type=\"static\" \
         mediaPresentationDuration=\"PT{SECONDS}S\" minBufferTime=\"PT2S\" \
         profiles=\"urn:mpeg:dash:profile:isoff-on-demand:2011\"><Period>{sets}</Period></MPD>"
    ))
}

fn hls_master(folder: &str) -> Option<String> {
    let Tracks { videos, sounds, texts } = tracks(folder)?;
    let mut text = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n".to_owned();
    for (kind, group, list, prefix) in [("AUDIO", "sound", sounds, ""), ("SUBTITLES", "text", texts, "text-")] {
        for name in list {
            let (lang, label) = LANGUAGES.iter().find(|(lang, _)| name.starts_with(lang)).unwrap();
            let is_first = if kind == "AUDIO" && *lang == "en" { "YES" } else { "NO" };
            text += &format!(
                "#EXT-X-MEDIA:TYPE={kind},GROUP-ID=\"{group}\",NAME=\"{label}\",LANGUAGE=\"{lang}\",DEFAULT={is_first},\
                 AUTOSELECT=YES,URI=\"{prefix}{name}.m3u8\"\n"
            );
        }
    }
    let subtitles = if texts.is_empty() { "" } else { ",SUBTITLES=\"text\"" };
    for name in videos {
        let (codec, bandwidth) = (Track::read(name).codec, if *name == "large" { 92_000 } else { 62_000 });
        let size = size(name);
        text += &format!(
            "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},RESOLUTION={size},CODECS=\"{codec},mp4a.40.2\",AUDIO=\"sound\"{subtitles}\n\
             {name}.m3u8\n"
        );
    }
    Some(text)
}

fn hls_media(name: &str, key_server: &str) -> Option<String> {
    let end = "#EXT-X-ENDLIST\n";
    let head = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-PLAYLIST-TYPE:VOD\n";
    if let Some(lang) = name.strip_prefix("text-") {
        return Some(format!("{head}#EXT-X-TARGETDURATION:{SECONDS}\n#EXTINF:{SECONDS},\n{lang}.vtt\n{end}"));
    }
    if !media::folder().join(format!("{name}.mp4")).is_file() {
        return None;
    }
    let Track { head: first, index, segments, .. } = Track::read(name);
    let mut text = format!("{head}#EXT-X-TARGETDURATION:2\n");
    if name.ends_with("-locked") {
        text += &format!("#EXT-X-KEY:METHOD=SAMPLE-AES-CTR,URI=\"{key_server}key\",KEYFORMAT=\"identity\"\n");
    }
    text += &format!("#EXT-X-MAP:URI=\"{name}.mp4\",BYTERANGE=\"{first}@0\"\n");
    let mut at = index.end;
    for (bytes, seconds) in segments {
        text += &format!("#EXTINF:{seconds:.5},\n#EXT-X-BYTERANGE:{bytes}@{at}\n{name}.mp4\n");
        at += bytes;
    }
    Some(text + end)
}

/// A file of the film's, or a manifest: its bytes and their kind. `query` goes with each address in it, so that what is asked
/// of a server for the manifest is asked for all that it names.
pub(crate) fn find(path: &[&str], query: &str, key_server: &str) -> Option<(Vec<u8>, &'static str)> {
    let [folder, file] = path else { return None };
    let (stem, kind) = file.rsplit_once('.')?;
    match kind {
        "mpd" => Some((dash(folder, query)?.into_bytes(), "application/dash+xml")),
        "m3u8" if stem == "master" => Some((hls_master(folder)?.into_bytes(), "application/vnd.apple.mpegurl")),
        "m3u8" => Some((hls_media(stem, key_server)?.into_bytes(), "application/vnd.apple.mpegurl")),
        _ => tracks(folder).and_then(|_| read_from(media::folder(), file)),
    }
}

/// A file of a folder. Its name has no slash: it was a segment of a path.
pub(super) fn read_from(folder: &Path, file: &str) -> Option<(Vec<u8>, &'static str)> {
    let kind = match file.rsplit_once('.')?.1 {
        "mpd" => "application/dash+xml",
        "m3u8" => "application/vnd.apple.mpegurl",
        "vtt" => "text/vtt",
        _ => "video/mp4",
    };
    Some((fs::read(folder.join(file)).ok()?, kind))
}

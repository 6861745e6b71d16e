//! SubRip files as WebVTT, which is what browsers take: read leniently, since people have them from everywhere.

use std::path::Path;

/// A film's worth of subtitles has a tenth of a megabyte.
pub(super) const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What Windows-1252 has in place of the control characters of Latin-1.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Whether a file is one, by its name.
pub(super) fn is_srt(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("srt"))
}

/// The same subtitles as WebVTT.
pub(super) fn to_vtt(srt: &[u8]) -> String {
    let text = decode(srt).replace("\r\n", "\n").replace('\r', "\n");
    let mut vtt = String::with_capacity(text.len() + 16);
    vtt.push_str("WEBVTT\n\n");
    for line in text.lines() {
        match timing(line) {
            Some(timing) => vtt.push_str(&timing),
            // In a text an arrow would be a time.
            None => vtt.push_str(&without_placement(line).replace("-->", "→")),
        }
        vtt.push('\n');
    }
    vtt
}

/// UTF-8, UTF-16 with its mark, or what Windows wrote before there was either.
fn decode(bytes: &[u8]) -> String {
    let units = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.as_chunks().0.iter().map(|pair| unit(*pair)).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => return units(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => return units(rest, u16::from_be_bytes),
        _ => {}
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}').to_owned(),
        Err(_) => bytes.iter().map(|byte| byte_of_windows(*byte)).collect(),
    }
}

fn byte_of_windows(byte: u8) -> char {
    match byte {
        0x80..=0x9f => WINDOWS[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

/// `1:02:03,45 --> 1:02:05,5 X1:…` as WebVTT has it; where on the picture it was meant to be is left to the browser.
fn timing(line: &str) -> Option<String> {
    let (from, to) = line.split_once("-->")?;
    let to = to.split_whitespace().next()?;
    Some(format!("{} --> {}", moment(from.trim())?, moment(to)?))
}

fn moment(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once([',', '.']).unwrap_or((text, "0"));
    let number = |text: &str| -> Option<u32> {
        let is_number = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { text.parse().ok() } else { None }
    };
    let mut parts = whole.rsplit(':').map(|part| number(part.trim()));
    let (seconds, minutes) = (parts.next()??, parts.next()??);
    let hours = parts.next().unwrap_or(Some(0))?;
    if parts.next().is_some() || minutes > 59 || seconds > 59 {
        return None;
    }
    // Tenths and hundredths are written without their zeros.
    let digits = fraction.get(..fraction.len().min(3)).filter(|digits| number(digits).is_some())?;
    Some(format!("{hours:02}:{minutes:02}:{seconds:02}.{digits:0<3}"))
}

/// Without `{\an8}` and its like: players of other formats read those, browsers would show them.
fn without_placement(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{\\") {
        text.push_str(before);
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn subtitles_are_converted_as_people_have_them() {
        let srt = "\u{feff}1\r\n00:00:01,000 --> 00:00:02,500\r\n{\\an8}<i>Hello</i> & bye\r\n\r\n\
                   2\r\n1:2:3,4 --> 01:02:05.45 X1:10 X2:20\r\nan --> arrow\r\nÄ\r\n";
        assert_eq!(
            to_vtt(srt.as_bytes()),
            "WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.500\n<i>Hello</i> & bye\n\n\
             2\n01:02:03.400 --> 01:02:05.450\nan → arrow\nÄ\n"
        );
    }

    #[test]
    fn what_windows_wrote_is_read() {
        let line = "“Größe” – 5 €";
        let windows = b"\x93Gr\xf6\xdfe\x94 \x96 5 \x80";
        let little = [&[0xff, 0xfe][..], &line.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()].concat();
        let big = [&[0xfe, 0xff][..], &line.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>()].concat();
        for bytes in [line.as_bytes(), windows, &little, &big] {
            assert_eq!(to_vtt(bytes), format!("WEBVTT\n\n{line}\n"));
        }
    }

    #[test]
    fn what_is_no_time_is_text() {
        for line in [
            "--> 00:00:01,000",
            "00:00:01,000 -->",
            "00:61:00,000 --> 00:62:00,000",
            "1 --> 2",
            "a:b,c --> d:e,f",
            "1:1:1:1,0 --> 1:1:1:2,0",
        ] {
            assert_eq!(to_vtt(line.as_bytes()), format!("WEBVTT\n\n{}\n", line.replace("-->", "→")), "{line}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_nothing_breaks(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(to_vtt(&bytes).starts_with("WEBVTT\n\n"));
        }

        #[test]
        fn every_line_with_an_arrow_is_a_time(lines in "([0-9:,. >{}\\\\-]{0,30}\n){0,5}") {
            for line in to_vtt(lines.as_bytes()).lines().filter(|line| line.contains("-->")) {
                prop_assert!(timing(line).as_deref() == Some(line), "{}", line);
            }
        }
    }
}

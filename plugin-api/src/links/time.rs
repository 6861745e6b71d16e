//! Where in a video a link wants to begin, in the ways that sites write it.

/// The milliseconds that a text means: `90`, `90s`, `12.5`, `1m40s`, `1m40`, `1h2m3s`, `1:30`, `00:01:30`, and the first
/// half of a media fragment (`10,20`, `npt:10`). What is none of these, or is negative, is the beginning.
pub(super) fn millis(text: &str) -> u64 {
    let text = text.trim();
    let text = text.strip_prefix("npt:").unwrap_or(text);
    let start = text.split(',').next().unwrap_or_default();
    let seconds = if start.contains(':') { clock(start) } else { units(start) };
    // The cast saturates.
    seconds.map_or(0, |seconds| (seconds * 1000.0).round() as u64)
}

/// `mm:ss` or `hh:mm:ss`, the seconds with a fraction if they have one.
fn clock(text: &str) -> Option<f64> {
    let (rest, seconds) = text.rsplit_once(':')?;
    let (hours, minutes) = rest.split_once(':').unwrap_or(("0", rest));
    Some(whole(hours)? * 3600.0 + whole(minutes)? * 60.0 + decimal(seconds)?)
}

/// `1h2m3s`, in that order and each at most once; the last number may lack its unit, which is the next smaller one.
fn units(text: &str) -> Option<f64> {
    const UNITS: [(char, f64); 3] = [('h', 3600.0), ('m', 60.0), ('s', 1.0)];
    let text = text.to_ascii_lowercase();
    let (mut rest, mut seconds, mut units) = (text.as_str(), None, UNITS.iter());
    while let Some(end) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let unit = rest[end..].chars().next()?;
        let (_, factor) = units.find(|(known, _)| *known == unit)?;
        let number = if unit == 's' { decimal(&rest[..end])? } else { whole(&rest[..end])? };
        seconds = Some(seconds.unwrap_or(0.0) + number * factor);
        rest = &rest[end + unit.len_utf8()..];
    }
    match (rest, seconds) {
        ("", seconds) => seconds,
        (rest, None) => decimal(rest),
        (rest, Some(seconds)) => {
            let (_, factor) = units.next()?;
            Some(seconds + decimal(rest)? * factor)
        }
    }
}

fn whole(text: &str) -> Option<f64> {
    let is_one = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_one.then(|| text.parse().ok()).flatten()
}

fn decimal(text: &str) -> Option<f64> {
    match text.split_once('.') {
        None => whole(text),
        Some((seconds, fraction)) => whole(seconds).and(whole(fraction)).and_then(|_| text.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_a_time_is_read() {
        for (text, ms) in [
            ("90", 90_000),
            ("90s", 90_000),
            ("12.5", 12_500),
            ("12.5s", 12_500),
            ("1m40s", 100_000),
            ("1m40", 100_000),
            ("1h2m3s", 3_723_000),
            ("1H2M3S", 3_723_000),
            ("1h3s", 3_603_000),
            ("1h2", 3_720_000),
            ("2h", 7_200_000),
            ("0m10s", 10_000),
            ("1:30", 90_000),
            ("00:01:30", 90_000),
            ("00:01:30.25", 90_250),
            ("10,20", 10_000),
            ("npt:10", 10_000),
            ("npt:10,npt:20", 10_000),
            (" 5 ", 5_000),
            ("0", 0),
        ] {
            assert_eq!(millis(text), ms, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_the_beginning() {
        let odd = [
            "", "-5", "-1m", "soon", "1x", "3s2m", "1m1m", "m", "1.", ".5", "1.5m", "1:2:3:4", ":30", "1:", "1e3",
            "0x10", "٣", ",20", "smpte:10", "inf", "nan", "+5", "1 m",
        ];
        for text in odd {
            assert_eq!(millis(text), 0, "{text}");
        }
        assert_eq!(millis(&"9".repeat(400)), u64::MAX, "too far is far, and no panic");
    }
}

//! Text that people read.

/// Characters that leave no mark: Unicode's `Default_Ignorable_Code_Point`, the signs around annotations, and the Braille
/// pattern without a dot. In their order.
const UNSEEN: [(u32, u32); 18] = [
    (0x00ad, 0x00ad),
    (0x034f, 0x034f),
    (0x061c, 0x061c),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x200b, 0x200f),
    (0x202a, 0x202e),
    (0x2060, 0x206f),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffb),
    (0x1bca0, 0x1bca3),
    (0x1d173, 0x1d17a),
    (0xe0000, 0xe0fff),
];

/// Whether there is anything to see in a text. The pages ask the same (`typed` in `page.js`).
pub(crate) fn can_be_seen(text: &str) -> bool {
    let leaves_mark = |letter: char| {
        let code = u32::from(letter);
        let is_unseen = UNSEEN.iter().any(|(first, last)| (*first..=*last).contains(&code));
        !is_unseen && !letter.is_whitespace() && !letter.is_control()
    };
    text.chars().any(leaves_mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_no_mark_is_nothing_however_much_there_is_of_it() {
        for nothing in
            ["", " \u{3000}\t", "\u{200b}", "\u{200d}\u{200d}\u{fe0f}", "\u{3164}\u{2800}", "\u{e0041}\u{202e}"]
        {
            assert!(!can_be_seen(nothing), "{nothing:?}");
        }
        for something in ["a", "\u{200b}.", "👨\u{200d}👩", "\u{fffd}", "\u{0301}", "\u{0600}"] {
            assert!(can_be_seen(something), "{something:?}");
        }
    }
}

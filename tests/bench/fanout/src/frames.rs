//! As much of WebSocket framing as a measurement needs: where frames end, and how to write a small one.

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Finds the frames in a stream that arrives in pieces, cut anywhere.
#[derive(Default)]
pub(crate) struct Scanner {
    /// The begin of a frame whose end has not arrived. Empty, and without memory, most of the time.
    cut: Vec<u8>,
}

impl Scanner {
    /// Hands over each frame that is whole now: its opcode and its payload.
    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(u8, &[u8])) {
        if self.cut.is_empty() {
            self.cut = scan(bytes, &mut each).to_vec();
        } else {
            let mut known = std::mem::take(&mut self.cut);
            known.extend_from_slice(bytes);
            self.cut = scan(&known, &mut each).to_vec();
        }
    }
}

/// Hands over the whole frames, and answers what is left.
fn scan<'a>(mut bytes: &'a [u8], each: &mut impl FnMut(u8, &[u8])) -> &'a [u8] {
    while let Some(head) = Head::of(bytes).filter(|head| head.end <= bytes.len()) {
        let payload = &bytes[head.start..head.end];
        match head.key {
            None | Some([0, 0, 0, 0]) => each(head.opcode, payload),
            Some(key) => {
                let plain: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
                each(head.opcode, &plain);
            }
        }
        bytes = &bytes[head.end..];
    }
    bytes
}

/// Where a frame's payload is.
struct Head {
    opcode: u8,
    key: Option<[u8; 4]>,
    start: usize,
    end: usize,
}

impl Head {
    /// `None`: not even the header is there.
    fn of(bytes: &[u8]) -> Option<Head> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (length, after_length) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let is_masked = second & 0x80 != 0;
        let key = if is_masked { Some(bytes.get(after_length..after_length + 4)?.try_into().ok()?) } else { None };
        let start = after_length + if is_masked { 4 } else { 0 };
        let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        Some(Head { opcode: first & 0x0f, key, start, end })
    }
}

/// A frame as clients send it. The key is of zeros, which is as good as any where nobody listens.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(opcode, payload, 0x80)
}

/// A frame as servers send it.
pub(crate) fn plain(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(opcode, payload, 0)
}

fn frame(opcode: u8, payload: &[u8], mask_bit: u8) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length < 126 => frame.push(mask_bit | length),
        (_, Ok(length)) => {
            frame.push(mask_bit | 126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(mask_bit | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    if mask_bit != 0 {
        frame.extend([0; 4]);
    }
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pieces: &[&[u8]]) -> Vec<(u8, Vec<u8>)> {
        let (mut scanner, mut frames) = (Scanner::default(), Vec::new());
        for piece in pieces {
            scanner.push(piece, |opcode, payload| frames.push((opcode, payload.to_vec())));
        }
        assert!(scanner.cut.is_empty(), "nothing is left of whole frames");
        frames
    }

    #[test]
    fn frames_are_found_wherever_the_stream_is_cut() {
        let sent = [(TEXT, vec![b'a'; 5]), (PING, Vec::new()), (2, vec![b'b'; 126]), (TEXT, vec![b'c'; 70_000])];
        let stream: Vec<u8> = sent.iter().flat_map(|(opcode, payload)| plain(*opcode, payload)).collect();
        for cut in (0..300).chain(stream.len() - 300..stream.len()) {
            let (one, other) = stream.split_at(cut);
            assert_eq!(found(&[one, other]), sent, "cut at {cut}");
        }
        let small = &stream[..7 + 2 + 4 + 126];
        let bytes: Vec<&[u8]> = small.chunks(1).collect();
        assert_eq!(found(&bytes), sent[..3], "byte by byte");
    }

    #[test]
    fn what_clients_send_is_unmasked() {
        assert_eq!(found(&[&masked(TEXT, b"hello")]), [(TEXT, b"hello".to_vec())]);
        let keyed = [0x81, 0x85, 1, 2, 3, 4, b'h' ^ 1, b'e' ^ 2, b'l' ^ 3, b'l' ^ 4, b'o' ^ 1];
        assert_eq!(found(&[&keyed]), [(TEXT, b"hello".to_vec())]);
    }
}

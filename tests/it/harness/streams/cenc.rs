//! Common Encryption in fragments (ISO 23001-7): ffmpeg 5 encrypts the samples of fragmented files, and does not say in the
//! fragments how. Here it is said: each gets the `senc` box that tells a browser which bytes are encrypted, and from which
//! initialisation vector.

use std::ops::Range;

/// A file of ffmpeg's whose fragments tell how they are encrypted. It has counted the samples from 0.
pub(super) fn told(file: &[u8]) -> Vec<u8> {
    let is_video = find(file, b"avcC").is_some();
    let (mut out, mut sample, mut growths) = (Vec::new(), 0, Vec::new());
    let mut index = 0..0;
    let boxes = boxes(file, 0..file.len());
    for (n, (name, place)) in boxes.iter().enumerate() {
        match name {
            b"sidx" => index = out.len()..out.len() + place.len(),
            b"moof" if !is_told(file, place) => {
                let samples = samples(file, place, &boxes[n + 1].1);
                let vectors = sample..sample + samples.len() as u64;
                let told = senc(file, vectors.clone(), &samples, is_video);
                sample = vectors.end;
                out.extend(moof(file, place, &told));
                growths.push(told.len() as u32);
                continue;
            }
            // Places from the file's beginning, which are others by now; nobody needs them.
            b"mfra" => continue,
            _ => {}
        }
        out.extend(&file[place.clone()]);
    }
    // The index has the length of each fragment, every twelve bytes.
    for (n, growth) in growths.into_iter().enumerate() {
        grow(&mut out, index.start + 40 + 12 * n, growth);
    }
    out
}

/// Whether a fragment says it already.
fn is_told(file: &[u8], moof: &Range<usize>) -> bool {
    find(&file[moof.clone()], b"senc").is_some()
}

/// The boxes in a part of a file: their names, and where they are.
fn boxes(file: &[u8], part: Range<usize>) -> Vec<([u8; 4], Range<usize>)> {
    let (mut found, mut at) = (Vec::new(), part.start);
    while at < part.end {
        let length = number(file, at) as usize;
        found.push((file[at + 4..at + 8].try_into().unwrap(), at..at + length));
        at += length;
    }
    found
}

fn inside<'a>(all: &'a [([u8; 4], Range<usize>)], name: &[u8; 4]) -> &'a Range<usize> {
    &all.iter().find(|(known, _)| known == name).expect("ffmpeg writes one").1
}

fn number(file: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(file[at..at + 4].try_into().unwrap())
}

fn grow(file: &mut [u8], at: usize, by: u32) {
    let grown = number(file, at) + by;
    file[at..at + 4].copy_from_slice(&grown.to_be_bytes());
}

fn find(file: &[u8], word: &[u8]) -> Option<usize> {
    file.windows(word.len()).position(|found| found == word)
}

/// Where the samples of a fragment are, one after the other in the box behind it.
fn samples(file: &[u8], moof: &Range<usize>, mdat: &Range<usize>) -> Vec<Range<usize>> {
    let moof = boxes(file, moof.start + 8..moof.end);
    let traf = inside(&moof, b"traf");
    let traf = boxes(file, traf.start + 8..traf.end);
    let (tfhd, trun) = (inside(&traf, b"tfhd").start, inside(&traf, b"trun").start);
    let has = |at: usize, flag: u32| number(file, at + 8) & flag != 0;
    // What stands before the default size, and what each sample has beside its own.
    let before = [(0x1, 8), (0x2, 4), (0x8, 4)]
        .iter()
        .filter(|(flag, _)| has(tfhd, *flag))
        .map(|(_, bytes)| bytes)
        .sum::<usize>();
    let first = trun + 16 + [0x1, 0x4].iter().filter(|flag| has(trun, **flag)).count() * 4;
    let each = [0x100, 0x200, 0x400, 0x800].iter().filter(|flag| has(trun, **flag)).count() * 4;
    let ahead = if has(trun, 0x100) { 4 } else { 0 };
    let mut at = mdat.start + 8;
    (0..number(file, trun + 12) as usize)
        .map(|n| {
            let length = if has(trun, 0x200) {
                number(file, first + n * each + ahead)
            } else {
                number(file, tfhd + 16 + before)
            };
            at += length as usize;
            at - length as usize..at
        })
        .collect()
}

/// How samples are encrypted: of a picture each unit but its length and its first byte, of a sound everything.
fn senc(file: &[u8], vectors: Range<u64>, samples: &[Range<usize>], is_video: bool) -> Vec<u8> {
    let mut body = (if is_video { 2_u32 } else { 0 }).to_be_bytes().to_vec();
    body.extend((samples.len() as u32).to_be_bytes());
    for (vector, sample) in vectors.zip(samples) {
        body.extend(vector.to_be_bytes());
        if !is_video {
            continue;
        }
        let mut units = Vec::new();
        let mut at = sample.start;
        while at < sample.end {
            let length = number(file, at);
            units.push(length - 1);
            at += 4 + length as usize;
        }
        body.extend((units.len() as u16).to_be_bytes());
        for encrypted in units {
            body.extend(5_u16.to_be_bytes());
            body.extend(encrypted.to_be_bytes());
        }
    }
    [&(body.len() as u32 + 8).to_be_bytes()[..], b"senc", &body].concat()
}

/// A fragment's description with that at the end of its track's: it is longer, and its samples are further away.
fn moof(file: &[u8], place: &Range<usize>, senc: &[u8]) -> Vec<u8> {
    let all = boxes(file, place.start + 8..place.end);
    let traf = inside(&all, b"traf");
    assert_eq!(traf.end, place.end, "one track in a file");
    let trun = inside(&boxes(file, traf.start + 8..traf.end), b"trun").start;
    let mut moof = [&file[place.clone()], senc].concat();
    for at in [place.start, traf.start, trun + 16] {
        grow(&mut moof, at - place.start, senc.len() as u32);
    }
    moof
}

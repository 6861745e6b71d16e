//! Assets: files that a bridge needs beside itself. What they may be called, and how [`export_provider!`](crate::export_provider)
//! makes each a symbol of the library.

use crate::{
    abi::{MAX_ASSET_BYTES, MAX_ASSET_NAME_BYTES, MAX_ASSETS_BYTES, StreamitAsset},
    export::padded,
};

/// Whether an asset may be called this: a plain file's name in small letters, the same on every system and in every address.
pub const fn is_asset_name(name: &[u8]) -> bool {
    let mut n = 0;
    while n < name.len() {
        let is_plain = matches!(name[n], b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        // Also at the beginning: no name is hidden, or leads anywhere.
        let is_odd_dot = name[n] == b'.' && (n == 0 || name[n - 1] == b'.');
        if !is_plain || is_odd_dot {
            return false;
        }
        n += 1;
    }
    !name.is_empty() && name.len() <= MAX_ASSET_NAME_BYTES
}

/// The table of a library's assets, each a path and what is there. What a host would refuse fails to compile.
#[doc(hidden)]
pub const fn table<const N: usize>(assets: &[(&str, &[u8])]) -> [StreamitAsset; N] {
    let mut table = [StreamitAsset { name: [0; 56], len: 0, reserved: 0 }; N];
    let (mut n, mut sum) = (0, 0);
    while n < assets.len() {
        let (path, bytes) = assets[n];
        let name = file_name(path.as_bytes());
        assert!(
            is_asset_name(name),
            "an asset's name has 1 to 55 of a-z, 0-9, `.`, `_` and `-`, does not begin with a dot and has no two in a row"
        );
        assert!(!bytes.is_empty(), "an asset is empty");
        assert!(bytes.len() <= MAX_ASSET_BYTES, "an asset is larger than 4 MiB");
        sum += bytes.len();
        assert!(sum <= MAX_ASSETS_BYTES, "the assets are larger than 16 MiB together");
        table[n] = StreamitAsset { name: padded(name), len: bytes.len() as u32, reserved: 0 };
        let mut before = 0;
        while before < n {
            assert!(!is_same(&table[before].name, &table[n].name), "two assets have the same name");
            before += 1;
        }
        n += 1;
    }
    table
}

/// What stands behind the last slash of either kind.
const fn file_name(path: &[u8]) -> &[u8] {
    let mut start = path.len();
    while start > 0 && path[start - 1] != b'/' && path[start - 1] != b'\\' {
        start -= 1;
    }
    path.split_at(start).1
}

const fn is_same(a: &[u8; 56], b: &[u8; 56]) -> bool {
    let mut n = 0;
    while n < a.len() {
        if a[n] != b[n] {
            return false;
        }
        n += 1;
    }
    true
}

/// The part of [`export_provider!`](crate::export_provider) that is about assets: each under the next of the names that the
/// ABI has for them.
#[doc(hidden)]
#[macro_export]
macro_rules! export_assets {
    (@ [$($name:ident)*]) => {};
    (@ [$name:ident $($others:ident)*] $asset:expr $(, $rest:expr)*) => {
        #[unsafe(no_mangle)]
        pub static $name: [u8; include_bytes!($asset).len()] = *include_bytes!($asset);

        $crate::export_assets!(@ [$($others)*] $($rest),*);
    };
    (@ [] $($rest:expr),+) => {
        compile_error!("a library has at most 64 assets");
    };
    ($($asset:expr),*) => {
        const ASSETS: &[(&str, &[u8])] = &[$(($asset, include_bytes!($asset))),*];

        #[unsafe(no_mangle)]
        pub static streamit_assets: [$crate::abi::StreamitAsset; ASSETS.len() + 1] = $crate::assets::table(ASSETS);

        $crate::export_assets!(@ [
            streamit_asset_0 streamit_asset_1 streamit_asset_2 streamit_asset_3 streamit_asset_4
            streamit_asset_5 streamit_asset_6 streamit_asset_7 streamit_asset_8 streamit_asset_9
            streamit_asset_10 streamit_asset_11 streamit_asset_12 streamit_asset_13 streamit_asset_14
            streamit_asset_15 streamit_asset_16 streamit_asset_17 streamit_asset_18 streamit_asset_19
            streamit_asset_20 streamit_asset_21 streamit_asset_22 streamit_asset_23 streamit_asset_24
            streamit_asset_25 streamit_asset_26 streamit_asset_27 streamit_asset_28 streamit_asset_29
            streamit_asset_30 streamit_asset_31 streamit_asset_32 streamit_asset_33 streamit_asset_34
            streamit_asset_35 streamit_asset_36 streamit_asset_37 streamit_asset_38 streamit_asset_39
            streamit_asset_40 streamit_asset_41 streamit_asset_42 streamit_asset_43 streamit_asset_44
            streamit_asset_45 streamit_asset_46 streamit_asset_47 streamit_asset_48 streamit_asset_49
            streamit_asset_50 streamit_asset_51 streamit_asset_52 streamit_asset_53 streamit_asset_54
            streamit_asset_55 streamit_asset_56 streamit_asset_57 streamit_asset_58 streamit_asset_59
            streamit_asset_60 streamit_asset_61 streamit_asset_62 streamit_asset_63
        ] $($asset),*);
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_plain_files() {
        for good in ["player.js", "a", "shaka-player.compiled.js", "x_1.2.3.wasm", "-", "a.", &"a".repeat(55)] {
            assert!(is_asset_name(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "a..b",
            "../a",
            "a/b",
            "a\\b",
            "Player.js",
            "a b",
            "a%2e",
            "é",
            "a\0",
            "a:b",
            &"a".repeat(56),
        ] {
            assert!(!is_asset_name(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_table_has_names_lengths_and_an_end() {
        const TABLE: [StreamitAsset; 3] = table(&[("../web/player.js", b"12345"), ("C:\\web\\style.css", b"1")]);
        let entries = TABLE.map(|asset| (String::from_utf8(asset.name.to_vec()).expect("ASCII"), asset.len));
        let [player, style, end] = &entries;
        assert_eq!((player.0.trim_end_matches('\0'), player.1), ("player.js", 5));
        assert_eq!((style.0.trim_end_matches('\0'), style.1), ("style.css", 1));
        assert_eq!((end.0.trim_end_matches('\0'), end.1), ("", 0));
    }

    #[test]
    fn what_a_host_would_refuse_does_not_compile() {
        let refused = |assets: &[(&str, &[u8])]| {
            let table = std::panic::catch_unwind(|| table::<8>(assets));
            table.expect_err("refused").downcast_ref::<&str>().map(|text| (*text).to_owned()).expect("a text")
        };
        assert!(refused(&[("web/Player.js", b"1")]).starts_with("an asset's name has"));
        assert_eq!(refused(&[("a.js", b"")]), "an asset is empty");
        assert_eq!(refused(&[("a/x.js", b"1"), ("b/x.js", b"2")]), "two assets have the same name");
        let large = vec![0; MAX_ASSET_BYTES + 1];
        assert_eq!(refused(&[("a.js", &large)]), "an asset is larger than 4 MiB");
        let most: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| (name, &large[1..])).into();
        assert_eq!(refused(&most), "the assets are larger than 16 MiB together");
    }
}

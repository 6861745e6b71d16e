//! Every case of the conformance suite: what is expected, and what mends it.

use super::{Case, Run, cases::*};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "exports",
        expected: "no symbol but those of the ABI, streamit_…",
        mend: "build with hidden visibility (C: -fvisibility=hidden), so that no other library meets your names",
        run: Run::Read(exports),
    },
    Case {
        name: "bridge_syntax",
        expected: "a bridge.js that browsers can parse, as an ES module",
        mend: "mend that line of bridge.js; a page that cannot parse it has no player",
        run: Run::Call(bridge_syntax),
    },
    Case {
        name: "bridge",
        expected: "a default export",
        mend: "bridge.js needs `export default function mount(stage, options)` that returns the player",
        run: Run::Call(bridge_export),
    },
    Case {
        name: "examples_cover_media_types",
        expected: "a golden example for each of media_types",
        mend: "add an [[examples]] entry to provider.toml for each media type you list",
        run: Run::Read(coverage),
    },
    Case {
        name: "links_are_tried",
        expected: "a link example that fits, for each rule of [[links]]",
        mend: "add a [[link_examples]] entry to provider.toml for that rule: with media, or with refuse",
        run: Run::Read(links_are_tried),
    },
    Case {
        name: "loads",
        expected: "the library loads with every symbol resolved, and create succeeds",
        mend: "link what is missing; do nothing in constructors; return 0 from create for a good configuration",
        run: Run::Call(loads),
    },
    Case {
        name: "loads_quickly",
        expected: "less than 100 ms of processor time to load and create",
        mend: "do work when it is asked for; create only checks the configuration",
        run: Run::Call(loads_quickly),
    },
    Case {
        name: "examples",
        expected: "the golden example gives its URL, each time",
        mend: "make embed_url and that [[examples]] entry of provider.toml agree",
        run: Run::Golden(|manifest| manifest.examples.len(), example),
    },
    Case {
        name: "rejects",
        expected: "a rejection that names the field",
        mend: "make embed_url and that [[rejects]] entry of provider.toml agree",
        run: Run::Golden(|manifest| manifest.rejects.len(), reject),
    },
    Case {
        name: "link_examples",
        expected: "the address means what its example says",
        mend: "make the [[links]] rules and that [[link_examples]] entry of provider.toml agree; `plugin try FILE --link URL` says \
               what an address means",
        run: Run::Golden(|manifest| manifest.link_examples.len(), link_example),
    },
    Case {
        name: "example_id",
        expected: "external_id.example has a URL",
        mend: "provider.toml's external_id.example is what people try first: use one that works",
        run: Run::Call(example_id),
    },
    Case {
        name: "same_answer",
        expected: "the same URL 1,000 times",
        mend: "embed_url is a pure function of configuration and media: no clock, no randomness, no state",
        run: Run::Call(same_answer),
    },
    Case {
        name: "threads",
        expected: "the same URL from 8 threads at once",
        mend: "embed_url is called from any thread; keep no unprotected state",
        run: Run::Call(threads),
    },
    Case {
        name: "instances",
        expected: "instances with different configurations that do not disturb each other",
        mend: "keep everything in the instance that create returns, nothing in statics",
        run: Run::Call(instances),
    },
    Case {
        name: "create_and_destroy",
        expected: "no growth over 1,000 instances",
        mend: "free in destroy whatever create allocated",
        run: Run::Call(create_and_destroy),
    },
    Case {
        name: "empty_config",
        expected: "an instance, or status 2 with the key that is missing",
        mend: "report each missing key with problem kind 5 and return 2",
        run: Run::Call(empty_config),
    },
    Case {
        name: "garbage_config",
        expected: "status 2 for a text that is no JSON object",
        mend: "parse config_json before using it; return 2 if it does not parse",
        run: Run::Call(garbage_config),
    },
    Case {
        name: "unknown_config_key",
        expected: "status 2 that names the key",
        mend: "refuse keys you do not know (Rust: #[serde(deny_unknown_fields)] or NoConfig): operators mistype",
        run: Run::Call(unknown_config_key),
    },
    Case {
        name: "no_log",
        expected: "it works in a host that offers no log",
        mend: "host->log may be NULL: look before you call it",
        run: Run::Call(no_log),
    },
    Case {
        name: "ids",
        expected: "a URL on embed_origins or a rejection, for any text",
        mend: "check external_id before you use it, and escape what you put into a URL",
        run: Run::Call(ids),
    },
    Case {
        name: "numbers",
        expected: "a URL or a rejection for any numbers; never a URL for an episode without both, or a movie with one",
        mend: "call media.shape()? (C: look at `present`) and report what is missing",
        run: Run::Call(numbers),
    },
    Case {
        name: "media_types",
        expected: "a rejection for every media type that provider.toml does not list, and for unknown ones",
        mend: "reject what you do not play: status 1, field media_type",
        run: Run::Call(media_types),
    },
    Case {
        name: "unknown_bits",
        expected: "a rejection for a `present` bit that this version does not know",
        mend: "reject if present has other bits than 1 and 2: something there matters that you cannot see",
        run: Run::Call(unknown_bits),
    },
    Case {
        name: "not_utf8",
        expected: "a rejection for an external_id that is not UTF-8",
        mend: "check the bytes before you treat them as text",
        run: Run::Call(not_utf8),
    },
    Case {
        name: "smaller_media",
        expected: "no URL for a media struct that is smaller than this version's",
        mend: "read media->size first, and no field beyond it",
        run: Run::Call(smaller_media),
    },
    Case {
        name: "larger_media",
        expected: "the same URL for a media struct of a later version",
        mend: "ignore whatever lies beyond the fields you know; do not compare size for equality",
        run: Run::Call(larger_media),
    },
    Case {
        name: "refusing_sink",
        expected: "it returns when the sink takes no more",
        mend: "stop when write returns something else than 0, and return 3",
        run: Run::Call(refusing_sink),
    },
    Case {
        name: "late_writes",
        expected: "nothing is written to the sink of a call that is over",
        mend: "do not keep `out` or `problems`: they are dead after the call",
        run: Run::Call(late_writes),
    },
    Case {
        name: "unknown_extension",
        expected: "NULL for an extension it does not have",
        mend: "compare the whole id, and return NULL for others",
        run: Run::Call(unknown_extension),
    },
    Case {
        name: "silent",
        expected: "nothing printed",
        mend: "use the host's log, not stdout or stderr",
        run: Run::Silent,
    },
];

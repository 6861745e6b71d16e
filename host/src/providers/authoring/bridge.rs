//! A bridge as a page's parser sees it. For its author: a host serves it as it is, and no browser is there to complain.

use std::{
    cell::Cell,
    io::{self, Read},
    thread,
};

use boa_ast::{Position, scope::Scope};
use boa_interner::Interner;
use boa_parser::{Error, Parser, Source, lexer};

/// The parser calls itself for each bracket that is opened, and built for debugging it takes much for that.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// Whether the module has a default export; or what is wrong with its syntax, and where.
pub(crate) fn has_default_export(text: &str) -> Result<bool, String> {
    thread::scope(|scope| {
        let parse = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || parse(text));
        let parse = parse.map_err(|error| format!("no thread can be had to parse it: {error}"))?;
        parse.join().unwrap_or_else(|_| Err("the parser does not know what to make of it".into()))
    })
}

fn parse(text: &str) -> Result<bool, String> {
    let left = Cell::new(text.len());
    let source = Source::from_reader(Watched { rest: text.as_bytes(), left: &left }, None);
    let mut names = Interner::default();
    match Parser::new(source).parse_module(&Scope::new_global(), &mut names) {
        Ok(module) => {
            let exported = module.items().exported_names();
            Ok(exported.into_iter().any(|name| names.resolve_expect(name).utf8() == Some("default")))
        }
        Err(error) => Err(said(&error, &text[..text.floor_char_boundary(text.len() - left.get())])),
    }
}

/// The error with its place, which some have and for others is where the parser gave up, after `read`.
fn said(error: &Error, read: &str) -> String {
    let place = match error {
        Error::Expected { span, .. } | Error::Unexpected { span, .. } => Some(span.start()),
        // What is wrong with the module as a whole, as two things of one name, is said to be at its beginning.
        Error::General { position, .. } => Some(*position).filter(|position| *position != Position::new(1, 1)),
        Error::Lex { err: lexer::Error::Syntax(_, position) } => Some(*position),
        Error::ScopeAnalysis { .. } => None,
        Error::AbruptEnd | Error::Lex { .. } => {
            let read = read.trim_end();
            let line = 1 + read.matches('\n').count();
            let column = 1 + read.rsplit('\n').next().unwrap_or_default().chars().count();
            Some(Position::new(line.try_into().unwrap_or(u32::MAX), column.try_into().unwrap_or(u32::MAX)))
        }
    };
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    match place {
        Some(place) => format!("line {}, column {}: {text}", place.line_number(), place.column_number()),
        None => text.to_owned(),
    }
}

/// A text that is read byte by byte, and tells how much of it is left.
struct Watched<'a> {
    rest: &'a [u8],
    left: &'a Cell<usize>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.rest.read(buffer)?;
        self.left.set(self.rest.len());
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_browsers_take_is_taken() {
        for text in [
            "export default function mount(stage, options) { return new Player(stage, options); }",
            "export default (stage) => stage?.player ?? null;",
            "export default class extends EventTarget { #at = 0; static { } get at() { return this.#at; } has(o) { return #at in o; } }",
            "function mount() {}\nexport { mount as default };",
            "export { default } from './player.js';",
            "import { FramePlayer } from '/bridge/v1.js';\nawait import(import.meta.url + '?');\nexport default async function* () {}",
            "const { a = 1_000n, ...rest } = {}; a ||= rest ** 2; for await (const b of a) b`x${/(?<y>\\p{L})/u}`;\nexport default a",
        ] {
            assert_eq!(has_default_export(text), Ok(true), "{text}");
        }
        let nested = format!("export default {}1{}", "[".repeat(500), "]".repeat(500));
        assert_eq!(has_default_export(&nested), Ok(true));
    }

    #[test]
    fn a_default_export_is_one_that_is_exported() {
        for text in [
            "",
            "function mount() {}",
            "export function mount() {}",
            "// export default mount",
            "export const x = `\nexport default 1`",
        ] {
            assert_eq!(has_default_export(text), Ok(false), "{text}");
        }
    }

    #[test]
    fn a_mistake_has_a_place() {
        for (text, place) in [
            ("export default function mount( {\n  return 1;\n}", "line 2, column 3: "),
            ("const a = 1;\n  const b = ;", "line 2, column 13: "),
            ("// \u{e9}\u{1f37f}\nconst s = \"abc\nexport default 1", "line 2, column 15: unterminated string"),
            ("export default 1;\nif (a) {\n", "line 2, column 9: "),
            ("export default 1;\nlet t = `a\n b", "line 3, column 3: unterminated template"),
            ("let a = 1;\nreturn a;", "line 2, column 1: "),
            ("let a = 1;\nlet a = 2;", "lexical name `a` declared multiple times"),
            ("let a = /(/;", "line 1, column 9: "),
        ] {
            let said = has_default_export(text).expect_err(text);
            assert!(said.starts_with(place), "{text}: {said}");
        }
    }
}

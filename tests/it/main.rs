//! StreamIt tried as its users would. Every scene has its own host process, its own folder and its own database.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]
#![expect(clippy::print_stdout, reason = "what a scene measured is worth reading")]

mod harness;

// What people do, and what they are promised.
mod abilities; // what a provider's player cannot do is neither offered nor ordered
mod accessible; // what axe-core finds on the pages: nothing
mod adaptive; // HLS and DASH: two people, their tracks, a broadcast, what is encrypted, what fails and comes back
mod bridges;
mod client; // the library that pages are made of
mod conformance; // every bridge against a stand-in of its player
mod expiry; // rooms are neither lost nor kept against the rules, and what is refused is not carried out
mod files; // a browser's own player: a file that breaks, ends early, seeks slowly
mod kept; // what a browser keeps of what its device takes
mod leaving; // a node that stops: nobody is left hanging, nothing holds it
mod links; // whatever people copy from their browser is understood, or refused in words
mod loose; // players that cannot be held to the timeline: the room goes by the host's
mod manners; // what people type, press and open
mod nodes; // several hosts as one, and what happens when something breaks
mod odd_text; // what people type is counted alike everywhere, and turns nothing around it
mod pasting; // one field: what is pasted or typed there is understood at once, or it is said why not
mod returning; // a tab, a machine, a line, a person that was away: in the room again, once, and nobody moved
mod rooms; // create, look, list, change, close; what survives
mod session; // the socket: HELLO, authority, limits, close codes
mod starving; // media that stop, or are slower than they are shown: one waits, nobody is thrown back
mod staying; // whatever happens to a page, its line, its clock and its player: it is where the room is
mod storage; // what is in the database, and what never is
mod strangers; // what strangers can take, and what they are told
mod subpath; // below a path of another site, behind a proxy
mod theatre; // a player of several files, its settings and its tracks
mod timeline; // whose word about the position counts, when a start is, and what survives a restart
mod watching; // two real browsers

// What operators and authors do.
mod assets; // a library's files, served and kept; what pages are told, and may do
mod commands; // the command line and the configuration
mod contract; // answers and messages against the published descriptions
mod database; // databases as operators have them: pooled, cut off, full, locked, newer, backed up
mod examples; // three real providers that are not bundled, written by the guide
mod media; // files and pages over HTTP
mod media_list; // choosing among the server's files, and the subtitles beside one
mod plugins; // beginning, checking, dropping in and taking out a plugin, in Rust and in C
mod private; // URLs with a key in them are told to those who are in the room
mod providers; // what loaded providers answer, and what happens when they fail
mod reload; // new files and settings while rooms play
mod versions; // host and plugin of different minor versions
mod zoo; // every way a plugin can misbehave

mod structure; // what the source may know

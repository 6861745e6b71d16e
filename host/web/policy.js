// What the page's Content-Security-Policy forbids it: places and means of providers that came later than the page.
import { keptHere } from "./page.js";
import { say } from "./notices.js";

/** For whose sake the page is loaded anew. */
const RELOADED_FOR = "reloaded-for";

/** What a provider may have come to need since the page was loaded. */
const OF_PROVIDERS = ["frame-src", "media-src", "connect-src", "worker-src"];

/**
 * A page may do what its providers needed when it was loaded, and nothing else. For a provider that came later the page is
 * loaded once more, once for each film.
 * @param {() => object | null} current what the room plays
 */
export function reloadForNewcomers(current) {
  document.addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI }) => {
    const isCompiling = effectiveDirective === "script-src" && blockedURI === "wasm-eval";
    const source = current();
    if (!source || !(isCompiling || OF_PROVIDERS.includes(effectiveDirective))) return;
    const film = JSON.stringify(source);
    if (keptHere.read(RELOADED_FOR) === film) {
      say("blocked", sentence(effectiveDirective, blockedURI));
      return;
    }
    keptHere.write(RELOADED_FOR, film);
    location.reload();
  });
}

function sentence(directive, blockedURI) {
  if (directive === "script-src" || directive === "worker-src") {
    return "This video may not play: its player does more in this page than its provider says.";
  }
  const where = URL.canParse(blockedURI) ? new URL(blockedURI).origin : blockedURI;
  return `This video cannot be loaded from ${where}: it leads to a place that its provider does not name.`;
}

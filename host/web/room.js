// The room page: joins, shows the player the room's provider brings, and holds it to the room. It names no provider.
import { ApiError, forgetKey, request, storeKey, storedKey } from "/assets/api.js";
import { Connection } from "/assets/connection.js";
import { MediaForm } from "/assets/media-form.js";
import { Follower, ServerClock, positionAt } from "/assets/sync.js";

const $ = (id) => document.getElementById(id);

const TICK_MS = 250;
/** A leading player says where it really is: it may have buffered. */
const PROGRESS_EVERY_MS = 5000;
const SOURCE_RETRY_MS = [1000, 2000, 5000, 15_000, 60_000];
const PASSING_MS = 6000;
/** An order of one's own comes back as a STATE within this time. */
const OWN_ORDER_MS = 2000;

/** Marks for the next load of this page: who was joined, and for whose sake it is loaded anew. */
const REJOIN = "streamit.rejoin";
const RELOADED_FOR = "streamit.reloaded-for";

const ENDINGS = {
  closed_by_host: "The host has closed this room.",
  host_gone: "The host did not come back, so the room is closed.",
  closed: "This room is closed.",
  gone: "There is no such room. It may have been closed.",
};

const code = decodeURIComponent(location.pathname.split("/")[2] ?? "").toUpperCase();
const clock = new ServerClock();

let key = takeKey();
let connection = null;
let role = "viewer";
let state = null;
let wasLost = false;
let mounted = null; // { source, player, follower, manifest }
let mountAttempt = 0;
let orderedAt = -Infinity;
let saidProgressAt = -Infinity;
let isDragging = false;

/** The host key: from the link, which must not be passed on by accident, or from this browser. */
function takeKey() {
  const fromLink = new URLSearchParams(location.hash.slice(1)).get("key");
  if (fromLink) {
    storeKey(code, fromLink);
    history.replaceState(null, "", location.pathname);
  }
  return fromLink ?? storedKey(code);
}

// ---- Joining -------------------------------------------------------------------------------------------------------

async function arrive() {
  cover("…");
  try {
    const room = await request("GET", `/rooms/${encodeURIComponent(code)}`);
    showTitle(room);
    const name = sessionStorage.getItem(REJOIN);
    if (name !== null) {
      sessionStorage.removeItem(REJOIN);
      $("name").value = name;
      join();
      return;
    }
    const who = room.presence.viewers === 1 ? "1 person is here." : `${room.presence.viewers} people are here.`;
    cover(key ? "This is your room." : room.presence.viewers > 0 ? who : "Nobody is here yet.", "enter");
    $("join").textContent = key ? "Enter as host" : "Join";
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) cover(ENDINGS.gone, "home-link");
    else {
      cover(error.message);
      setTimeout(arrive, 3000);
    }
  }
}

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  join();
});

function join() {
  cover("Joining…");
  connection = new Connection(code, { name: $("name").value.trim(), key, clock });
  connection.addEventListener("status", ({ detail }) => showConnection(detail));
  connection.addEventListener("welcome", ({ detail }) => {
    ({ role } = detail.you);
    showRole();
  });
  connection.addEventListener("state", ({ detail }) => applyState(detail));
  connection.addEventListener("closed", ({ detail }) => ended(detail));
  connection.addEventListener("error", ({ detail }) => passingNotice(detail.message));
  connection.open();
  setInterval(tick, TICK_MS);
}

function ended(reason) {
  if (reason === "wrong_key") {
    // The key of this browser is not the room's: whoever has it may still watch.
    forgetKey(code);
    key = null;
    notice("The key in this browser is not this room's. You are watching as a guest.");
    join();
    return;
  }
  unmount();
  $("panel").hidden = true;
  for (const id of ["options", "change", "manage"]) $(id).hidden = true;
  notice("");
  showConnection("over");
  if (reason === "closed_by_host" || reason === "host_gone" || reason === "gone") forgetKey(code);
  cover(ENDINGS[reason] ?? ENDINGS.closed, "home-link");
}

/**
 * A page may load players from where its providers were when it was loaded, and from nowhere else (its
 * Content-Security-Policy). For a provider that came later the page is loaded once more.
 */
document.addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI }) => {
  if (!state || !["frame-src", "media-src"].includes(effectiveDirective)) return;
  if (sessionStorage.getItem(RELOADED_FOR) === blockedURI) return;
  sessionStorage.setItem(RELOADED_FOR, blockedURI);
  sessionStorage.setItem(REJOIN, $("name").value);
  location.reload();
});

// ---- The room's state ----------------------------------------------------------------------------------------------

function applyState(next) {
  const before = state;
  state = next;
  showTitle(next.room);
  showPresence(next.presence);
  const sameSource = mounted && isSame(mounted.source, next.room.source);
  if (wasLost && sameSource && reassert(before, next)) return;
  wasLost = false;
  if (!sameSource) {
    mount(next.room.source);
  } else if (!before || !isSame(before.playback, next.playback)) {
    const { follower } = mounted;
    // There is none while the player is on its way; it will begin with the state of that moment.
    if (follower) {
      // Somebody else gave this order, so theirs is the player to follow from now on.
      if (performance.now() - orderedAt > OWN_ORDER_MS) follower.isLeader = false;
      follower.apply(next.playback);
    }
  }
  showTransport();
}

/**
 * A server that restarted may have forgotten where its rooms were. The host's player has not: it says so once.
 * Answers whether it did.
 */
function reassert(before, next) {
  const { player, follower } = mounted;
  const isReset = !next.playback.is_playing && next.playback.position_ms === 0 && before?.playback.position_ms > 0;
  wasLost = false;
  if (role !== "host" || !isReset || !follower || follower.isDetached) return false;
  order(before.playback.is_playing ? "PLAY" : "PAUSE", player.currentTime);
  return true;
}

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/[.…]?$/, ".")}`;

const isSame = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// ---- The player ----------------------------------------------------------------------------------------------------

async function mount(source) {
  unmount();
  const attempt = ++mountAttempt;
  const isCurrent = () => attempt === mountAttempt;
  mounted = { source, player: null, follower: null };
  cover("Loading the player…");
  for (let tries = 0; isCurrent(); tries += 1) {
    try {
      const [room, manifest] = await Promise.all([
        request("GET", `/rooms/${encodeURIComponent(code)}`),
        request("GET", `/providers/${encodeURIComponent(source.provider)}`),
      ]);
      if (!isCurrent()) return;
      if (!room.embed_url) throw new Error(room.source_error ?? "The provider is not ready.");
      const bridge = await import(manifest.bridge_url);
      if (!isCurrent()) return;
      mountPlayer(source, room.embed_url, manifest, bridge.default);
      return;
    } catch (error) {
      if (!isCurrent()) return;
      cover(`${sentence(error.message)} Trying again…`);
      await new Promise((resolve) => { setTimeout(resolve, SOURCE_RETRY_MS[Math.min(tries, SOURCE_RETRY_MS.length - 1)]); });
    }
  }
}

function mountPlayer(source, url, manifest, mountBridge) {
  cover(null);
  const { playback } = state;
  const player = mountBridge($("stage"), {
    url,
    startAt: positionAt(playback, clock.now()),
    autoplay: playback.is_playing,
    params: chosenParams(manifest, source),
    player: manifest.player,
    interactive: role === "host",
  });
  const follower = new Follower(player, clock, manifest.player);
  mounted = { source, player, follower, manifest };
  follower.addEventListener("act", ({ detail }) => acted(detail));
  follower.addEventListener("blocked", () => cover("Your browser wants a click before it plays.", "unblock"));
  player.addEventListener("error", ({ detail }) => notice(`The player says: ${detail ?? "it cannot play this"}`));
  player.addEventListener("ready", () => {
    sessionStorage.removeItem(RELOADED_FOR);
    notice("");
  });
  player.addEventListener("timeupdate", showTransport);
  follower.apply(playback);
  showParams();
  showTransport();
}

function unmount() {
  mountAttempt += 1;
  mounted?.player?.destroy();
  mounted = null;
  $("stage").replaceChildren();
}

/** The person moved the player itself: an order if they are the host, their own affair if not. */
function acted(type) {
  const { player, follower } = mounted;
  if (role !== "host") {
    follower.detach();
    showTransport();
    return;
  }
  follower.claim();
  order({ play: "PLAY", pause: "PAUSE", seeked: "SEEK" }[type], player.currentTime);
}

$("unblock").addEventListener("click", () => {
  cover(null);
  mounted?.follower?.rejoin();
});

$("rejoin").addEventListener("click", () => {
  mounted?.follower?.rejoin();
  showTransport();
});

function tick() {
  const { player, follower } = mounted ?? {};
  if (!follower) return;
  follower.tick();
  const now = performance.now();
  const isDue = now - saidProgressAt >= PROGRESS_EVERY_MS;
  if (role === "host" && follower.isLeader && follower.isReady && !player.paused && state.playback.is_playing && isDue) {
    saidProgressAt = now;
    connection.send({ type: "PROGRESS", ...report(player.currentTime) });
  }
  showTransport();
}

// ---- The host's orders ---------------------------------------------------------------------------------------------

const report = (seconds) => ({
  position_ms: Math.max(0, Math.round(seconds * 1000)),
  at_ms: Math.round(clock.now()),
});

/** Says it to the room. Nothing changes here until the room says it back. */
function order(type, seconds) {
  orderedAt = performance.now();
  saidProgressAt = orderedAt;
  if (mounted?.follower) mounted.follower.isLeader = true;
  const message = seconds === undefined ? { type } : { type, ...report(seconds) };
  if (!connection.send(message)) passingNotice("Not connected: this was not sent. Try again when the line is back.");
}

const here = () => positionAt(state.playback, clock.now());

$("play").addEventListener("click", () => order(state.playback.is_playing ? "PAUSE" : "PLAY"));
$("back").addEventListener("click", () => order("SEEK", Math.max(0, here() - 10)));
$("forward").addEventListener("click", () => order("SEEK", here() + 10));
$("position").addEventListener("input", () => { isDragging = true; $("time").value = clockText(Number($("position").value)); });
$("position").addEventListener("change", () => {
  isDragging = false;
  order("SEEK", Number($("position").value));
});

let changeForm = null;

$("change").addEventListener("toggle", async () => {
  if (!$("change").open) return;
  changeForm ??= new MediaForm($("media"));
  try {
    const { providers } = await request("GET", "/providers");
    changeForm.offer(providers);
    if (state) changeForm.show(state.room.source);
  } catch (error) {
    $("change-error").textContent = error.message;
  }
});

$("change-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("change-error").textContent = "";
  const source = changeForm.read();
  if (!source) return;
  try {
    await request("PUT", `/rooms/${code}/source`, { body: source, key });
    $("change").open = false;
  } catch (error) {
    const rest = changeForm.showErrors(error.errors);
    if (rest.length || !error.errors?.length) $("change-error").textContent = error.message;
  }
});

$("close").addEventListener("click", async () => {
  if (!confirm("Close this room for everyone in it?")) return;
  try {
    await request("DELETE", `/rooms/${code}`, { key });
  } catch (error) {
    notice(error.message);
  }
});

// ---- What the person chose of the player's parameters: kept in this browser, appended to the URL here ---------------

const paramsName = (manifest) => `streamit.params.${manifest.id}`;

function storedParams(manifest) {
  try {
    return JSON.parse(localStorage.getItem(paramsName(manifest))) ?? {};
  } catch {
    return {};
  }
}

function offeredParams({ render_params }, { media_type }) {
  return render_params.filter(({ managed, media_types }) => {
    return !managed && (media_types.length === 0 || media_types.includes(media_type));
  });
}

function chosenParams(manifest, source) {
  const stored = storedParams(manifest);
  return Object.fromEntries(offeredParams(manifest, source).map(({ name }) => [name, stored[name]]));
}

function showParams() {
  const { manifest, source } = mounted;
  const offered = offeredParams(manifest, source);
  $("options").hidden = offered.length === 0;
  $("params").replaceChildren(...offered.map((param) => paramField(manifest, param)));
}

function paramField(manifest, { name, kind, about }) {
  const stored = storedParams(manifest)[name];
  const label = document.createElement("label");
  label.textContent = about;
  let input;
  if (kind === "boolean") {
    input = document.createElement("select");
    input.append(new Option("as the player likes", ""), new Option("yes", "true"), new Option("no", "false"));
    input.value = stored ?? "";
  } else {
    input = document.createElement("input");
    input.type = kind === "integer" ? "number" : "text";
    if (kind === "hex_color") {
      input.pattern = "[0-9a-fA-F]{6}";
      input.placeholder = "7c5cff";
    }
    input.value = stored ?? "";
  }
  input.name = name;
  input.addEventListener("change", () => {
    if (!input.checkValidity()) return;
    const chosen = { ...storedParams(manifest), [name]: input.value };
    if (input.value === "") delete chosen[name];
    try {
      localStorage.setItem(paramsName(manifest), JSON.stringify(chosen));
    } catch {
      // Without storage the choice cannot be kept.
    }
    mount(mounted.source);
  });
  label.append(input);
  return label;
}

// ---- What is shown -------------------------------------------------------------------------------------------------

/** What lies over the player: a text, and one thing to do. */
function cover(text, part = null) {
  $("cover").hidden = text === null;
  $("cover-text").textContent = text ?? "";
  for (const id of ["enter", "unblock", "home-link"]) $(id).hidden = id !== part;
}

let noticeTimer = null;

function notice(text) {
  clearTimeout(noticeTimer);
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

/** What was true of one moment is not left standing. */
function passingNotice(text) {
  notice(text);
  noticeTimer = setTimeout(() => notice(""), PASSING_MS);
}

function showTitle({ title, source }) {
  const { external_id, season, episode } = source;
  const text = title ?? (season == null ? external_id : `${external_id} · S${season} E${episode}`);
  $("room-title").textContent = text;
  document.title = `${text} – StreamIt`;
}

function showConnection(status) {
  const texts = { connecting: "connecting…", connected: "live", lost: "reconnecting…", over: "closed" };
  $("connection").textContent = texts[status];
  $("connection").dataset.status = status;
  if (status === "lost") wasLost = true;
}

function showPresence({ viewers, host, host_away_until_ms }) {
  $("viewers").textContent = `${viewers} watching`;
  const until = host_away_until_ms && new Date(host_away_until_ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  $("host-state").textContent = host === "connected" ? "host is here" : `host is away – the room stays until ${until}`;
  $("host-state").dataset.host = host;
}

function showRole() {
  $("panel").hidden = false;
  const isHost = role === "host";
  $("role").textContent = isHost ? "You control this room." : "The host controls this room.";
  $("transport").hidden = !isHost;
  $("change").hidden = !isHost;
  $("manage").hidden = !isHost;
}

function showTransport() {
  if (!state) return;
  const { player, follower } = mounted ?? {};
  const position = here();
  const duration = player && Number.isFinite(player.duration) ? player.duration : 0;
  $("play").textContent = state.playback.is_playing ? "Pause" : "Play";
  if (!isDragging) {
    $("position").max = duration || Math.max(position, 1);
    $("position").value = position;
    const text = clockText(duration ? Math.min(position, duration) : position);
    $("time").value = duration ? `${text} / ${clockText(duration)}` : text;
  }
  $("position").disabled = !duration;
  $("rejoin").hidden = !follower?.isDetached;
}

function clockText(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

async function copy(button, text) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Outside https the clipboard is closed to pages.
    prompt("Copy this link:", text);
  }
  setTimeout(() => { button.textContent = label; }, 1500);
}

const link = `${location.origin}/r/${code}`;
$("copy").addEventListener("click", () => copy($("copy"), link));
$("copy-host").addEventListener("click", () => copy($("copy-host"), `${link}#key=${key}`));

arrive();

// The room page: joins, shows the player the room's provider brings, holds it to the room, and gives the host's orders.
// It names no provider.
import { ApiError, forgetKey, request, storeKey, storedKey } from "./api.js";
import { cover, say, sayBriefly, sayNothing } from "./notices.js";
import { $, at, codeIn, describe, kept, keptHere, keptTexts, put, typed, unturned } from "./page.js";
import { reloadForNewcomers } from "./policy.js";
import { SourceForm } from "./source-form.js";
import { Stage } from "./stage.js";
import { SyncPanel } from "./sync-panel.js";
import { Newest, Transport } from "./transport.js";
import { Connection, localMs, positionAt } from "../client/v1.js";

const TICK_MS = 100;
/** A name longer than this the server does not take. */
const NAME_CHARS = 40;
/** No key is longer. */
const KEY_CHARS = 128;
/** What one said oneself comes back as a STATE within this time. */
const OWN_DOING_MS = 2000;
/** A player that cannot be held says where it is when it is off by more, and not more often than this. */
const REPORT_BEYOND_S = 0.08;
const REPORT_EVERY_MS = 5000;
/** Said again if the room has not gone on by then: it may have been refused, or lost. */
const GO_ON_AGAIN_MS = 3000;

/** Why Play is no order: the room's clock does not run over a picture that its host cannot see. */
const REFUSALS = {
  loading: "Your player is not ready yet, so nothing was started. Press Play again when it is.",
  starving: "Your player is buffering, so nothing was started. Press Play again when it has something to show.",
  failed: "Nothing was started: your player cannot play this. It is loaded anew; press Play again when it is there, or put on something else.",
};

const ENDINGS = {
  closed_by_host: "The host has closed this room.",
  host_gone: "The host did not come back, so the room is closed.",
  closed: "This room is closed.",
  gone: "There is no such room. It may have been closed.",
};

const code = codeIn(location.pathname);
/** Marks of this tab: who was joined here, and the key of the link it came by. */
const JOINED = `joined.${code}`;
const LINK_KEY = `link-key.${code}`;
/**
 * The moment of the order by which the room goes, if this tab gave it. It is kept only from one page of the tab to its
 * next: a tab that is duplicated takes along what is kept, and there is one leader.
 */
const LED = `led.${code}`;
/** What a host saw last, kept by the browser: a server that is started anew is told by their next page. */
const SEEN = `seen.${code}`;
const ledAt = keptHere.read(LED);
keptHere.write(LED, null);

const stage = new Stage(code);
const transport = new Transport();
const panel = new SyncPanel((seconds) => { stage.offset = seconds; });

let key = takeKey();
/** @type {Connection | null} */
let connection = null;
let role = "viewer";
let state = null;
let saidAt = -Infinity;
/** Whether the room goes by an order of this page's: its player may say where it is. */
let leads = false;
/** Whether the room waits when this page's player starves: as long as it leads, and after it was loaded anew. */
let isWaitedFor = false;
/** Whether the room waits for this page's player. */
let holds = false;
/** Whether the next STATE is the first of a connection. */
let isBack = false;
let wentOnAt = -Infinity;
/** Whether a viewer who is on their own has gone to another place. */
let hasStrayed = false;
let reportedAt = -Infinity;
let reportedEnd = null;
let ticking = null;

/** The host key: from the link, which must not be passed on by accident, or from this browser. */
function takeKey() {
  const inLink = new URLSearchParams(location.hash.slice(1)).get("key");
  const fromLink = inLink && inLink.length <= KEY_CHARS ? inLink : null;
  if (inLink && !fromLink) {
    say("key", "The key in the link is none: it is too long. Ask for the link again.");
    history.replaceState(null, "", location.pathname);
  }
  if (fromLink) {
    // It is kept in this browser only when the server has taken it: anybody can send a link.
    keptHere.write(LINK_KEY, fromLink);
    history.replaceState(null, "", location.pathname);
  }
  return keptHere.read(LINK_KEY) ?? fromLink ?? storedKey(code);
}

/** Somebody opened a host's link in the tab that was here already. */
addEventListener("hashchange", () => location.reload());

// ---- Joining -------------------------------------------------------------------------------------------------------

async function arrive() {
  cover("…");
  try {
    const room = await request("GET", `/rooms/${encodeURIComponent(code)}`);
    showTitle(room);
    $("name").value = keptHere.read(JOINED) ?? kept.read("name", "");
    if (keptHere.read(JOINED) !== null) {
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
  const { text, wrong } = typed($("name").value, NAME_CHARS, "name");
  $("name-error").textContent = wrong;
  if (wrong) return;
  $("name").value = text;
  kept.write("name", text);
  join();
});

function join() {
  cover("Joining…");
  const joining = new Connection(code, { name: $("name").value, key, seen: kept.read(SEEN) });
  connection = joining;
  const listen = (type, listener) => joining.addEventListener(type, ({ detail }) => joining === connection && listener(detail));
  listen("status", showConnection);
  listen("welcome", welcomed);
  listen("state", applyState);
  listen("closed", ended);
  listen("refused", ({ message }) => {
    cover("What is your name?", "enter");
    $("name-error").textContent = message;
    keptHere.write(JOINED, null);
  });
  listen("full", () => cover("This room is full. Trying again until there is a place…"));
  listen("error", ({ message }) => {
    sayBriefly("order", message);
    stage.follower?.disclaim();
  });
  listen("doubt", () => stage.follower?.doubt());
  listen("unheard", () => {
    sayBriefly("order", "The line was dead: your last order may not have arrived. The room shows what is true.");
    stage.follower?.disclaim();
  });
  joining.open();
  ticking ??= setInterval(tick, TICK_MS);
}

function welcomed({ you }) {
  ({ role } = you);
  isBack = true;
  keptHere.write(JOINED, $("name").value);
  if (role === "host") {
    storeKey(code, key);
    keptHere.write(LINK_KEY, null);
  }
  stage.use(connection, { isInteractive: role === "host" });
  showRole();
}

function ended(reason) {
  if (reason === "wrong_key") {
    tryWithoutThisKey();
    return;
  }
  stage.clear();
  keptHere.write(JOINED, null);
  $("panel").hidden = true;
  for (const id of ["options", "change", "manage", "sync"]) $(id).hidden = true;
  sayNothing();
  showConnection("over");
  if (reason === "closed_by_host" || reason === "host_gone" || reason === "gone") {
    forgetKey(code);
    keptTexts.write(SEEN, null);
  }
  cover(ENDINGS[reason] ?? ENDINGS.closed, "home-link");
}

/** The key is not the room's: whoever has it may still watch, and a good key is not lost over a bad link. */
function tryWithoutThisKey() {
  const wasOfLink = keptHere.read(LINK_KEY) !== null;
  keptHere.write(LINK_KEY, null);
  const other = storedKey(code);
  if (wasOfLink && other && other !== key) {
    key = other;
    say("key", "The key in the link is not this room's. The one in this browser is used.");
  } else {
    if (other === key) forgetKey(code);
    key = null;
    say("key", `The key in ${wasOfLink ? "the link" : "this browser"} is not this room's. You are watching as a guest.`);
  }
  join();
}

reloadForNewcomers(() => state?.room.source ?? null);

// ---- The room's state ----------------------------------------------------------------------------------------------

function applyState(next) {
  const before = state;
  state = next;
  if (role === "host") kept.write(SEEN, connection.seen);
  showTitle(next.room);
  showPresence(next.presence);
  const isHeld = next.playback.hold === "buffering";
  if (before && !isSame(before.playback, next.playback)) {
    leads = isOwnDoing();
    isWaitedFor = leads;
    holds &&= isHeld;
  } else if (!before) {
    isWaitedFor = role === "host" && ledAt === String(next.playback.at_ms);
  }
  // Whoever held it may have been this page, before it was loaded anew or lost its line: somebody has to go on.
  if (isBack && isHeld && role === "host") holds = true;
  isBack = false;
  showHold(next);
  const { follower } = stage;
  if (!stage.source || !isSame(stage.source, next.room.source)) {
    say("blocked");
    stage.show(next.room.source);
  } else if (follower) {
    appoint();
    follower.apply(next.playback);
  }
  show();
}

/** What the room makes of this page's player. */
function appoint() {
  const { follower } = stage;
  if (!follower) return;
  follower.isLeader = leads;
  follower.isHolding = holds;
}

const isSame = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const isOwnDoing = () => localMs() - saidAt < OWN_DOING_MS;
const here = () => positionAt(state.playback, connection.now());

// ---- The host's orders ---------------------------------------------------------------------------------------------

/** Says it to the room. Nothing changes here until the room says it back. */
function order(message) {
  const wasSent = connection?.send(message) ?? false;
  if (wasSent) saidAt = localMs();
  else sayBriefly("unsent", "Not connected: this was not sent. Try again when the line is back.");
  return wasSent;
}

/** Where the player is at this moment. */
const report = (seconds) => ({
  position_ms: Math.max(0, Math.round(seconds * 1000)),
  at_ms: Math.round(connection.now()),
});

transport.addEventListener("order", ({ detail }) => order(detail));

transport.addEventListener("refused", () => {
  const { trouble } = stage;
  sayBriefly("order", REFUSALS[trouble]);
  if (trouble === "failed") stage.show(stage.source);
});

const ORDERS = { play: "PLAY", pause: "PAUSE" };
const PLAYS = { PLAY: true, PAUSE: false };

/** The player is already where the host put it: it stays there until the room has answered. */
function orderFromPlayer(message) {
  const isPlaying = PLAYS[message.type];
  stage.follower.claim(isPlaying);
  if (!order(message)) stage.follower.disclaim();
  else if (isPlaying !== undefined) transport.expect(isPlaying);
}

/** A hand on the player's own bar seeks many times a second; the player says itself where it has come to. */
const seeks = new Newest(() => {
  if (stage.follower?.isReady) orderFromPlayer({ type: "SEEK", ...report(stage.player.currentTime) });
});

/** The person moved the player itself: an order if they are the host, their own affair if not. */
stage.addEventListener("act", ({ detail: { kind, seconds } }) => {
  const { follower } = stage;
  if (role !== "host") {
    // Two clicks on the picture are a pause and a way back; a hand on the player's bar pauses, seeks and plays.
    const isAsItWas = !hasStrayed && !stage.player.seeking;
    const isWayBack = kind === "play" && follower.isDetached && (isAsItWas || follower.ranOut);
    if (isWayBack && state.playback.is_playing) {
      follower.rejoin();
    } else {
      if (kind === "seek") hasStrayed = true;
      follower.detach();
    }
    return;
  }
  if (!Number.isFinite(seconds)) return;
  // Of its own buttons a player may have more than can be asked of everybody's.
  if (!stage.can[kind]) {
    follower.refresh();
    return;
  }
  if (kind === "seek") seeks.wish(seconds);
  // Two hosts did the same at once; the player here took the second for its opposite.
  else if (transport.isOvertaken) follower.refresh();
  else orderFromPlayer({ type: ORDERS[kind], ...report(seconds) });
});

/** The host's player has nothing to show: the room waits for it, once. One that only joins catches up by itself. */
stage.addEventListener("starving", () => {
  // A room that cannot be stopped, or not be set going again, does not wait.
  const canWait = stage.can.pause && stage.can.play;
  const mayHold = role === "host" && canWait && isWaitedFor && !stage.follower.isArriving;
  if (mayHold && state.playback.is_playing) holds = order({ type: "PAUSE", because: "buffering" });
  appoint();
});

/** It has enough again: the room goes on. */
function goOn() {
  const { follower } = stage;
  const now = localMs();
  if (!holds || state.playback.hold !== "buffering" || !follower?.canGoOn || now - wentOnAt < GO_ON_AGAIN_MS) return;
  if (connection.send({ type: "PLAY" })) {
    saidAt = now;
    wentOnAt = now;
  }
}

stage.addEventListener("speed", () => {
  sayBriefly("speed", "A room has one speed for all: yours was put back to normal.");
});

/** What a host's player says by itself: that the video is over, and, if it cannot be held to the room, where it is. */
function reportAsHost() {
  const { player, follower } = stage;
  if (role !== "host" || !follower?.isReady || follower.isDetached || !state.playback.is_playing) return;
  const { duration } = follower;
  const isOver = Number.isFinite(duration) && duration > 0 && here() >= duration;
  // A file may end before its time.
  if (isOver || (isWaitedFor && follower.ranOut)) {
    if (reportedEnd === state.playback.at_ms) return;
    reportedEnd = state.playback.at_ms;
    const end = isOver ? duration : player.currentTime;
    connection.send({ type: "PROGRESS", ended: true, position_ms: Math.round(end * 1000), at_ms: Math.round(connection.now()) });
    return;
  }
  const now = localMs();
  if (!follower.isLeader || !follower.isLoose || now - reportedAt < REPORT_EVERY_MS) return;
  if (!(Math.abs(follower.controller.error) > REPORT_BEYOND_S)) return;
  reportedAt = now;
  if (connection.send({ type: "PROGRESS", ...report(player.currentTime - follower.offset) })) saidAt = now;
}

let changeForm = null;

$("change").addEventListener("toggle", async () => {
  if (!$("change").open) return;
  changeForm ??= new SourceForm($("media"));
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
  const wish = await changeForm.read();
  if (!wish) return;
  try {
    await request("PUT", `/rooms/${code}/source`, { body: { ...wish.source, start_ms: wish.start_ms }, key });
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
    sayBriefly("order", error.message);
  }
});

// ---- The player ----------------------------------------------------------------------------------------------------

stage.addEventListener("blocked", () => {
  $("muted").hidden = !("muted" in stage.player);
  cover("Your browser wants a click before it plays.", "unblock");
});

function unblock(isMuted) {
  cover(null);
  if (isMuted) stage.player.muted = true;
  stage.follower?.rejoin();
}

$("sound").addEventListener("click", () => unblock(false));
$("muted").addEventListener("click", () => unblock(true));
$("rejoin").addEventListener("click", () => stage.follower?.rejoin());

stage.addEventListener("change", () => {
  const { follower } = stage;
  if (!follower?.isDetached) hasStrayed = false;
  appoint();
  say("sync", follower?.isLoadingAhead
    ? "Your line is slower than this video needs: it loads what comes next, and goes on when everyone is there."
    : follower?.isStruggling
    ? "This device or its line cannot keep up with the video; it is brought back to the room now and then."
    : follower?.isStarving && !follower.isHolding && !follower.hasFailed ? "Waiting for the video: your line is slower than it needs." : null);
  show();
});

/** What the browser did to a tab nobody saw is nobody's wish: it goes where the room is. */
const refresh = () => stage.follower?.refresh();
document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") refresh(); });
document.addEventListener("resume", refresh);
addEventListener("pageshow", () => {
  keptHere.write(LED, null);
  refresh();
});
document.addEventListener("freeze", () => stage.follower?.suspend());
addEventListener("pagehide", () => {
  if (isWaitedFor) keptHere.write(LED, String(state.playback.at_ms));
  stage.follower?.suspend();
});

/** What is said is said where somebody looks: in full screen there is nothing but the picture. */
document.addEventListener("fullscreenchange", () => {
  const isFull = document.fullscreenElement === $("screen");
  if (isFull) $("screen").append($("away"), $("notice"));
  else $("screen").after($("away"), $("notice"));
});

$("fullscreen").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("screen").requestFullscreen().catch((error) => sayBriefly("order", error.message));
});

function tick() {
  stage.follower?.tick();
  if (state && connection) {
    goOn();
    reportAsHost();
  }
  show();
}

// ---- What is shown -------------------------------------------------------------------------------------------------

function showTitle({ title, source }) {
  const text = title ?? describe(source);
  $("room-title").textContent = text;
  document.title = `${unturned(text)} – StreamIt`;
}

let timesLost = 0;

function showConnection(status) {
  const texts = { connecting: "connecting…", connected: "connected", lost: "reconnecting…", over: "closed" };
  $("connection").textContent = texts[status];
  $("connection").dataset.status = status;
  timesLost = status === "lost" ? timesLost + 1 : status === "connected" ? 0 : timesLost;
  if (status === "connected") say("unsent");
  if (timesLost > 2 && !state) {
    cover("The server answers, but not the room's socket. A proxy on the way may not pass WebSockets on, or the server does not know this address as its own (server.public_url). Trying again…");
  }
}

function showPresence({ viewers, host, host_away_until_ms }) {
  $("viewers").textContent = `${viewers} watching`;
  const until = host_away_until_ms && new Date(host_away_until_ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  $("host-state").textContent = host === "connected" ? "host is here" : `host is away – the room stays until ${until}`;
  $("host-state").dataset.host = host;
}

function showHold({ playback, presence }) {
  const isByItself = presence.host === "connected" ? "The host is buffering; it goes on by itself." : "The host was buffering when they left.";
  say("hold", playback.hold !== "buffering" ? null : holds ? "Your player is buffering; the room waits for it." : isByItself);
}

function showRole() {
  $("panel").hidden = false;
  $("sync").hidden = false;
  const isHost = role === "host";
  $("role").textContent = isHost ? "You control this room." : "The host controls this room.";
  $("transport").hidden = !isHost;
  $("change").hidden = !isHost;
  $("manage").hidden = !isHost;
}

function show() {
  if (!state || !connection) return;
  const { follower } = stage;
  transport.show({
    // One that waits goes on by itself, unless somebody stops it, or what it waits for has to be loaded anew.
    isPlaying: state.playback.is_playing || (state.playback.hold !== null && stage.trouble !== "failed"),
    seconds: here(),
    duration: follower?.duration ?? NaN,
    can: stage.can,
    isLive: stage.isLive,
    liveStart: stage.liveStart,
    liveEdge: stage.liveEdge,
    hasEnded: (follower?.ranOut && !follower.isDetached) ?? false,
    canPlay: follower?.canPlay ?? false,
  });
  put($("away"), "hidden", !follower?.isDetached);
  panel.show({ follower, clock: connection.clock });
}

const copying = new Map();

async function copy(button, text) {
  if (!copying.has(button)) copying.set(button, { label: button.textContent, timer: null });
  const shown = copying.get(button);
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Outside https the clipboard is closed to pages.
    prompt("Copy this link:", text);
  }
  clearTimeout(shown.timer);
  shown.timer = setTimeout(() => { button.textContent = shown.label; }, 1500);
}

const link = at(`r/${code}`);
$("copy").addEventListener("click", () => copy($("copy"), link));
$("copy-host").addEventListener("click", () => copy($("copy-host"), `${link}#key=${key}`));

arrive();

// HLS and DASH in a page: the browser's own <video>, fed by Shaka Player, which is one of the library's files. What is
// encrypted the browser unlocks itself (EME), with licences from the servers that the operator named.
import { Backoff, VideoPlayer } from "/bridge/v1.js";

/** After it ran dry, so much has to be there again before it counts as going on: less would only run dry again. */
const ENOUGH_S = 2;
/** At the edge of a live stream there may never be as much. */
const ENOUGH_LIVE_S = 0.5;

/** What failed is loaded anew after this, and then after twice as long: a room may be waiting for it. */
const RETRY_MS = 1000;
const MAX_RETRY_MS = 10_000;

/** What did not come while there is something to show is asked for again after this, beside what the library waits itself. */
const ASK_AGAIN_S = 1;
/** So much more in hand is not what a browser counts otherwise than before, but something that came. */
const CAME_S = 0.1;

/**
 * A library that has less than this for what comes next, and is not waiting for an answer, asks again within so many looks,
 * even where it only looks for what is new of a broadcast.
 */
const LEAST_AHEAD_S = 0.5;
const LOOK_MS = 1000;
const SILENT_LOOKS = 12;

/** Asked for ahead of the picture: a seek that is bent away or a line that hesitates is not seen. */
const BUFFER_S = 20;
/** What stays of that when another sound or quality is chosen, so that the picture goes on meanwhile. */
const KEPT_S = 1;

/** So much before the end of a live stream is its edge: an order is carried out a moment later, and a seek takes its time. */
const EDGE_S = 1;

/** Closer to where it is to be there is nothing to seek. */
const HERE_S = 0.02;

/**
 * A live stream has no beginning that everybody knows, but each of its pictures has a date. A position in it is the time
 * since some moment that is the same for all: the last of those that are so far apart. A room's positions end after
 * seven days, so this leaves it four at least.
 */
const EPOCH_S = 3 * 86_400;

/** @param {number} seconds a date */
const epochOf = (seconds) => Math.floor(seconds / EPOCH_S) * EPOCH_S;

// ---- What went wrong, in words -----------------------------------------------------------------------------------------

/** Numbers of the library's, of those that people are told apart. */
const CODE = {
  badStatus: 1001, unreachable: 1002, timeout: 1003, quotaExceeded: 3017,
  unknownKind: 4000, restricted: 4012, undecodable: 4032,
  unknownKeySystem: 6000, noKeySystem: 6001, noLicence: 6007, badLicence: 6008, unsaidKeySystem: 6010, noServer: 6012,
  expired: 6014, noEme: 6020,
};
const CATEGORY = { network: 1, text: 2, media: 3, manifest: 4, drm: 6 };
/** What a request was for: the last two are about keys. */
const REQUEST = { manifest: 0, segment: 1, licence: 2, key: 6 };

const SERVERS = {
  [REQUEST.manifest]: "the server of the stream",
  [REQUEST.segment]: "the server of the stream's segments",
  [REQUEST.licence]: "the licence server",
  [REQUEST.key]: "the licence server",
};

/** No second try helps in this browser. */
const IS_FINAL = new Set([CODE.undecodable, CODE.unknownKeySystem, CODE.noKeySystem, CODE.unsaidKeySystem, CODE.noEme]);

function networkWords({ code, data }, server) {
  switch (code) {
    case CODE.badStatus: {
      const status = data[1];
      const meaning = { 401: ": it wants a permission", 403: ": it refuses", 404: ": there is no such thing" }[status] ?? "";
      return `${server} answered ${status}${meaning}`;
    }
    case CODE.timeout: return `${server} did not answer in time`;
    default: return `${server} cannot be reached, or does not allow pages of this site to read from it (CORS)`;
  }
}

/** Which request it was about stands at another place for each kind. */
function serverOf({ code, data }) {
  const at = { [CODE.badStatus]: 4, [CODE.unreachable]: 2, [CODE.timeout]: 1 }[code];
  return SERVERS[data?.[at]] ?? SERVERS[REQUEST.manifest];
}

/** @returns {string} a sentence for people, without its end */
function wordsOf(error, isEncrypted) {
  const { code, category, data = [] } = error;
  if (category === CATEGORY.network) return networkWords(error, serverOf(error));
  switch (code) {
    case CODE.unknownKind: return "what is there is neither HLS nor DASH";
    case CODE.undecodable: return "this browser can decode none of the stream's formats";
    case CODE.quotaExceeded: return "this device has too little memory for the stream";
    case CODE.noKeySystem:
    case CODE.noEme:
      return isSecureContext
        ? "the video is encrypted, and this browser has no key system for it"
        : "the video is encrypted, and browsers unlock that only on pages of https";
    case CODE.unknownKeySystem: return "the video is encrypted, for no key system that is known here";
    case CODE.unsaidKeySystem: return "the video is encrypted, and its manifest does not say how it is unlocked";
    case CODE.noServer: return "the video is encrypted, and this server's operator has named no licence server for this browser's key system";
    case CODE.noLicence: return networkWords(data[0] ?? error, SERVERS[REQUEST.licence]);
    case CODE.badLicence: return "what the licence server answered is no licence that this browser takes";
    case CODE.expired: return "the licence has expired";
    case CODE.restricted:
      return isEncrypted
        ? "the licence has no key for this video, or does not allow it here"
        : "this browser, or this device, may play none of the stream's qualities";
  }
  switch (category) {
    case CATEGORY.drm: return `the video is encrypted, and could not be unlocked (${code})`;
    case CATEGORY.manifest: return `the manifest is damaged, or of a kind that is not known here (${code})`;
    case CATEGORY.media:
      return isEncrypted
        ? "the video cannot be decrypted with the key that the licence server gave, or it is damaged"
        : "the stream is damaged, or this browser cannot decode it";
  }
  return `the stream cannot be played (${code})`;
}

// ---- Tracks ------------------------------------------------------------------------------------------------------------

/** What is undetermined or said to be none has no name that helps anybody. */
const langOf = ({ language }) => (["und", "zxx", "mis", "mul"].includes(language) ? "" : language);

/** The library's numbers change when a stream is loaded anew; what a track is stays. */
const textId = ({ language, label, kind, forced }) => [language, label, kind, forced && "forced"].filter(Boolean).join(" ");
const audioId = ({ language, label, roles = [], channelsCount, codecs }) =>
  [language, label, ...roles, channelsCount, codecs].filter(Boolean).join(" ");
const videoId = ({ width, height, bandwidth, codecs }) => [width, height, bandwidth, codecs].join(" ");

function qualityLabel(track, all) {
  const { height, bandwidth } = track;
  const rate = `${Math.round(bandwidth / 1000)} kbit/s`;
  if (!height) return rate;
  return all.some((other) => other !== track && other.height === height) ? `${height}p, ${rate}` : `${height}p`;
}

// ---- The player --------------------------------------------------------------------------------------------------------

/** What an element says of where it is, and whether it goes on. */
const MOVES = new Set(["timeupdate", "pause", "seeked", "waiting"]);

class Stream extends VideoPlayer {
  #screen = document.createElement("div");
  #style = document.createElement("link");
  #options;
  /** The library's player, once it is here. */
  #shaka = null;
  #isOver = false;
  /** Where it is to be once it is loaded: at first, and after it failed. */
  #waitsAt;
  #wasSent = false;
  /** What its positions have more than the element's own time: a live stream's. */
  #ahead = 0;
  /** Whether positions of other pages are of the same time: a live stream's whose pictures have dates. */
  #isDated = false;
  /** Whose seek is under way: an order's ("order"), nobody's ("own": the library's, or back to where it was), or a hand's. */
  #seekOf = null;
  /** That something does not come, while there still is something to show: in words, and up to where there is. */
  #trouble = null;
  #backoff = new Backoff(RETRY_MS, MAX_RETRY_MS);
  #retry = null;
  /** What the library has asked for and not been answered; and for how many looks it has had nothing, nor asked. */
  #asked = new Set();
  #silentLooks = 0;
  #watch = setInterval(() => this.#watchSilence(), LOOK_MS);
  /** Whether it has failed, and is not being loaded anew yet: whatever else is said of it is of the same failure. */
  #hasFailed = false;
  #attempt = 0;
  /** What the person chose, to be chosen again when the stream is loaded anew. */
  #text = null;
  #audio = null;
  #quality = null;

  constructor(stage, options) {
    super();
    this.#options = options;
    this.#waitsAt = options.startAt || 0;
    this.#screen.className = "adaptive";
    this.#style.rel = "stylesheet";
    this.#style.href = options.assets("player.css");
    this.#screen.append(this.#style, this.video);
    stage.append(this.#screen);
    this.#tellOwnMoves();
    this.#bring();
  }

  /** A hand on the controls comes by no script; what writes to the element and is not us is the library, closing a gap. */
  #tellOwnMoves() {
    const { get, set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");
    const moved = () => { this.#seekOf ??= "own"; };
    Object.defineProperty(this.video, "currentTime", {
      configurable: true,
      get,
      set(seconds) {
        moved();
        set.call(this, seconds);
      },
    });
  }

  hear(type) {
    if (this.#isOver) return;
    // What is loading is nowhere yet, and pauses and seeks by itself.
    if (this.#waitsAt !== null && MOVES.has(type)) {
      if (type === "seeked") this.#seekOf = null;
      return;
    }
    if (type === "timeupdate") this.#seeWhatCame();
    if (type === "seeked" && !this.video.seeking) {
      const isNobodys = this.#seekOf === "own";
      this.#seekOf = null;
      if (isNobodys) return;
    }
    super.hear(type);
    if (type === "waiting" && !this.video.seeking && this.#trouble !== null) this.#fail(this.#trouble.words);
  }

  async #bring() {
    try {
      await import(this.#options.assets("shaka-player.js"));
    } catch {
      if (!this.#isOver) this.#fail("the page could not load the player's own code", { isFinal: true });
      return;
    }
    if (this.#isOver) return;
    const { shaka } = globalThis;
    shaka.polyfill.installAll();
    if (!shaka.Player.isBrowserSupported()) {
      this.#fail("this browser cannot play streams: it has no Media Source Extensions", { isFinal: true });
      return;
    }
    const player = new shaka.Player();
    player.setVideoContainer(this.#screen);
    this.#configure(player);
    player.addEventListener("error", ({ detail }) => {
      // What it can do without, or go round, it does; and what does not come is no end of what has come (`#misses`).
      const isLack = detail.category === CATEGORY.network && this.#waitsAt === null;
      if (detail.severity === shaka.util.Error.Severity.CRITICAL && !isLack) this.#broke(detail);
    });
    for (const type of ["downloadcompleted", "downloadfailed"]) {
      player.addEventListener(type, ({ request }) => this.#asked.delete(request));
    }
    for (const type of ["trackschanged", "adaptation", "variantchanged", "textchanged"]) {
      player.addEventListener(type, () => { if (this.#waitsAt === null) this.emit("trackschange"); });
    }
    // Where a film is to begin it need not be loaded from its beginning.
    player.addEventListener("manifestparsed", () => { if (!player.isLive()) player.updateStartTime(this.#waitsAt); });
    this.#shaka = player;
    await player.attach(this.video);
    if (!this.#isOver) await this.#load();
  }

  #configure(player) {
    const { licence = {}, licence_headers = {} } = this.#options.settings ?? {};
    // Addresses of this server are below whatever a proxy has put before it: the page knows where that is.
    const servers = Object.fromEntries(Object.entries(licence).map(([system, url]) => [system, addressOf(url)]));
    player.configure({
      drm: { servers },
      streaming: {
        bufferingGoal: BUFFER_S,
        failureCallback: (error) => this.#misses(error),
        // No quality is taken away because one of its segments was late: that is nobody's choice, and all may be late.
        maxDisabledTime: 0,
        // It would pause and play, or go a little further, where the room could not tell it from a person's hand.
        stallEnabled: false,
        // What cannot be decoded with one key cannot with the next try.
        allowMediaSourceRecoveries: false,
        // A film without its subtitles is one all the same.
        ignoreTextStreamFailures: true,
      },
      manifest: { hls: { ignoreTextStreamFailures: true } },
    });
    player.getNetworkingEngine().registerRequestFilter((type, request) => {
      this.#asked.add(request);
      this.#silentLooks = 0;
      if (type === REQUEST.licence) Object.assign(request.headers, licence_headers);
    });
  }

  async #load() {
    const player = this.#shaka;
    this.#hasFailed = false;
    this.#asked.clear();
    const attempt = ++this.#attempt;
    try {
      await player.load(new URL(this.#options.url, location.href).href);
      // Until there is a picture the library may still move to where it begins.
      await this.#hasPicture();
    } catch (error) {
      // A later order overtook it.
      if (!INTERRUPTED.has(error.code)) this.#broke(error);
      return;
    }
    if (this.#isOver || this.#hasFailed || attempt !== this.#attempt) return;
    const at = this.#waitsAt;
    const wasSent = this.#wasSent;
    this.#waitsAt = null;
    this.#wasSent = false;
    // One that is loaded anew would only fail again with less.
    this.isDry = attempt > 1;
    if (player.isLive()) this.#date();
    this.#chooseAgain();
    // Back to where it was is nobody's seek; to where it was sent meanwhile is.
    const isThere = Math.abs(this.currentTime - at) < HERE_S;
    if (!isThere && (wasSent || !player.isLive())) this.#goTo(at, wasSent ? "order" : "own");
    this.emit("ready");
    this.emit("trackschange");
    if (isThere && wasSent) this.emit("seeked");
  }

  async #hasPicture() {
    if (this.video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) return;
    await new Promise((resolve) => { this.video.addEventListener("loadeddata", resolve, { once: true }); });
  }

  /** What the element's time is a date's distance from. A stream whose pictures have no dates has its own time. */
  #date() {
    const began = this.#shaka.getPresentationStartTimeAsDate()?.getTime() / 1000;
    const { end } = this.#shaka.seekRange();
    this.#isDated = began > 0;
    this.#ahead = this.#isDated ? began - epochOf(began + end) : 0;
  }

  /** It cannot go on with what it has: it is loaded anew after a while. The line may be back then. */
  #broke(error) {
    if (this.#isOver) return;
    const isEncrypted = Boolean(this.#shaka.drmInfo());
    this.#fail(wordsOf(error, isEncrypted || error.category === CATEGORY.drm), { isFinal: IS_FINAL.has(error.code) });
  }

  #fail(words, { isFinal = false } = {}) {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.#waitsAt ??= this.currentTime;
    this.#wasSent ||= this.#seekOf === "order";
    this.#seekOf = null;
    this.#trouble = null;
    this.emit("error", words);
    if (isFinal) return;
    this.#retry = setTimeout(() => this.#load(), this.#backoff.next());
  }

  /**
   * Something of the stream does not come. While there is something to show it is asked for again, and nobody learns of it;
   * then, and where the library is deaf to that (it has forgotten what failed, or is busy throwing away what it has), the
   * stream is loaded anew.
   */
  #misses(error) {
    if (this.#isOver || error.category !== CATEGORY.network) return;
    if (this.#waitsAt !== null || this.stalled || this.inHand === 0) {
      this.#broke(error);
      return;
    }
    this.#trouble = { words: wordsOf(error, false), end: this.#handEnd };
    // By its own clock: while it throws away what it has it must not be asked at once, or it asks for nothing any more.
    this.#shaka.retryStreaming(ASK_AGAIN_S);
  }

  /**
   * A library that has nothing for what comes next, and asks for nothing, has lost its thread: a seek while it changes to
   * another sound was seen to end so, without a word.
   */
  #watchSilence() {
    const { buffered, currentTime, duration } = this.video;
    // What is beyond a gap is there: going over it is the library's affair, once it plays.
    const end = buffered.length === 0 ? 0 : buffered.end(buffered.length - 1);
    const isAtItsEnd = end < currentTime + LEAST_AHEAD_S && currentTime < duration - LEAST_AHEAD_S;
    const isSilent = this.#waitsAt === null && this.#asked.size === 0 && isAtItsEnd;
    this.#silentLooks = isSilent ? this.#silentLooks + 1 : 0;
    if (this.#silentLooks >= SILENT_LOOKS) this.#fail(this.#trouble?.words ?? "the stream has stopped");
  }

  get currentTime() { return this.#waitsAt ?? this.video.currentTime + this.#ahead; }
  get duration() {
    if (this.#waitsAt !== null && !(this.video.duration > 0)) return NaN;
    return this.live ? Infinity : this.video.duration + this.#ahead;
  }
  get live() { return this.#shaka?.isLive() ?? false; }
  get liveStart() { return this.#liveRange()?.start ?? NaN; }
  get liveEdge() { return edgeOf(this.#liveRange()) ?? NaN; }
  get paused() { return this.#waitsAt !== null || super.paused; }
  /** One that is loading, or failed, has nothing to show until it has been loaded. */
  get stalled() { return this.#waitsAt !== null || super.stalled; }
  /** What a browser takes for enough of a stream is less than this. */
  get hasEnough() { return this.inHand >= this.#enough; }

  async play() {
    // What it is told while it is loading it does when it has been loaded.
    if (this.#waitsAt === null) await super.play();
  }

  seek(seconds) {
    if (this.#waitsAt === null) {
      this.#goTo(seconds, "order");
    } else {
      this.#waitsAt = seconds;
      this.#wasSent = true;
    }
  }

  destroy() {
    this.#isOver = true;
    clearTimeout(this.#retry);
    clearInterval(this.#watch);
    this.video.pause();
    this.#screen.remove();
    this.#shaka?.destroy();
    this.#shaka = null;
  }

  // ---- Tracks: each person's own ---------------------------------------------------------------------------------------

  get textTracks() {
    return this.#tracks("getTextTracks").map((track) => ({ id: textId(track), label: track.label ?? "", lang: langOf(track) }));
  }
  get textTrack() { return this.#text; }
  setTextTrack(id) {
    this.#text = id;
    const track = id === null ? null : this.#tracks("getTextTracks").find((known) => textId(known) === id) ?? null;
    this.#shaka.selectTextTrack(track);
  }

  get audioTracks() {
    return this.#tracks("getAudioTracks").map((track) => ({ id: audioId(track), label: track.label ?? "", lang: langOf(track) }));
  }
  get audioTrack() {
    const active = this.#tracks("getAudioTracks").find((track) => track.active);
    return active ? audioId(active) : null;
  }
  setAudioTrack(id) {
    const track = this.#tracks("getAudioTracks").find((known) => audioId(known) === id);
    if (!track) return;
    this.#audio = id;
    this.#shaka.selectAudioTrack(track, KEPT_S);
  }

  get qualities() {
    const tracks = this.#tracks("getVideoTracks").sort((a, b) => b.height - a.height || b.bandwidth - a.bandwidth);
    return tracks.map((track) => ({ id: videoId(track), label: qualityLabel(track, tracks) }));
  }
  get quality() { return this.#quality; }
  setQuality(id) {
    const track = this.#tracks("getVideoTracks").find((known) => videoId(known) === id);
    this.#quality = track ? id : null;
    this.#shaka.configure({ abr: { enabled: !track } });
    if (track) this.#shaka.selectVideoTrack(track, /* clearBuffer= */ true, KEPT_S);
  }

  #tracks(list) { return this.#waitsAt === null && this.#shaka ? this.#shaka[list]() : []; }

  /** A stream that is loaded anew has forgotten what the person chose. */
  #chooseAgain() {
    if (this.#text !== null) this.setTextTrack(this.#text);
    if (this.#audio !== null) this.setAudioTrack(this.#audio);
    if (this.#quality !== null) this.setQuality(this.#quality);
  }

  // ---- Where it is -----------------------------------------------------------------------------------------------------

  /** What of a live stream can be shown, as positions. */
  #liveRange() {
    if (this.#waitsAt !== null || !this.live) return null;
    const { start, end } = this.#shaka.seekRange();
    return { start: start + this.#ahead, end: end + this.#ahead };
  }

  #goTo(seconds, whose) {
    this.#seekOf = whose;
    const { set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");
    // The order matters: which place is meant may change what positions count from.
    const place = this.#nearest(seconds);
    set.call(this.video, Math.max(0, place - this.#ahead));
  }

  /** The place that is meant; of a live stream, the edge if that has gone. */
  #nearest(seconds) {
    const range = this.#liveRange();
    if (!range) return seconds;
    // Who began in another epoch counts from there, and so does whoever follows them.
    const shift = this.#isDated ? Math.round((seconds - range.end) / EPOCH_S) * EPOCH_S : 0;
    if (shift !== 0 && isIn(range, seconds - shift)) {
      this.#ahead += shift;
      return seconds;
    }
    return seconds < range.start ? edgeOf(range) : Math.min(seconds, range.end);
  }

  /** Up to where it can show something. */
  get #handEnd() { return this.video.currentTime + this.inHand; }

  #seeWhatCame() {
    if (this.#trouble !== null && this.#handEnd > this.#trouble.end + CAME_S) this.#trouble = null;
    if (this.inHand > 2 * this.#enough) this.#backoff.reset();
  }

  get #enough() { return this.live ? ENOUGH_LIVE_S : ENOUGH_S; }
}

/** What a load that was given up for another says of itself. */
const INTERRUPTED = new Set([7000, 7001, 7003]);

const edgeOf = (range) => range && Math.max(range.start, range.end - EDGE_S);
const isIn = ({ start, end }, seconds) => seconds >= start && seconds <= end;

/** Where this server is, whatever a proxy has put before it: this file is at `api/v1/providers/ID/bridge.js` there. */
const SERVER = new URL("../../../../", import.meta.url);

/** A place that the operator names: an address, or one on this server (`/licence`). */
const addressOf = (place) => new URL(place.startsWith("/") ? place.slice(1) : place, SERVER).href;

export default function mount(stage, options) {
  return new Stream(stage, options);
}

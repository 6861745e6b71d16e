// The player in the page: brings the one that the room's provider has, holds it to the room, and keeps what belongs to
// this browser (how loud it is, what this device takes to start and to seek).
import { request } from "./api.js";
import { $, clockText, kept } from "./page.js";
import { cover, say } from "./notices.js";
import { chosenParams, showParams } from "./params.js";
import { Tracks } from "./tracks.js";
import { Follower, localMs, noCosts, positionAt } from "../client/v1.js";

const SOURCE_RETRY_MS = [1000, 2000, 5000, 15_000, 60_000];

/** What a device takes may have changed with the browser: then it is learned anew. */
const BROWSER = navigator.userAgent;

const costsName = (provider) => `costs.${provider}`;

function keptCosts(provider) {
  const { browser, ...costs } = kept.read(costsName(provider), {});
  return browser === BROWSER ? { ...noCosts(), ...costs } : noCosts();
}

/** Where one of the provider's files is, whatever page asks. */
function assetOf({ id, assets }, name) {
  if (!Object.hasOwn(assets, name)) throw new Error(`the library of ${id} has no file ${name}`);
  return new URL(assets[name], location.href).href;
}

/**
 * Events: `ready` (a player is up), `act`, `blocked`, `speed`, `starving`, `change` (the follower's, see there).
 */
export class Stage extends EventTarget {
  #code;
  #connection;
  #attempt = 0;
  #isInteractive = false;
  #offset = 0;
  #isMuted = false;
  #tracks = new Tracks();
  source = null;
  player = null;
  follower = null;
  manifest = null;

  /** @param {string} code the room's */
  constructor(code) {
    super();
    this.#code = code;
    addEventListener("pagehide", () => this.#keepCosts());
  }

  /** Whose room and whose clock it is. */
  use(connection, { isInteractive }) {
    this.#connection = connection;
    this.#isInteractive = isInteractive;
  }

  /** How far ahead of the room to be, in seconds. */
  set offset(seconds) {
    this.#offset = seconds;
    if (this.follower) this.follower.offset = seconds;
  }

  /** Brings the player of this source, and tries until it is there or another one is asked for. */
  async show(source) {
    this.clear();
    const attempt = ++this.#attempt;
    const isCurrent = () => attempt === this.#attempt;
    this.source = source;
    cover("Loading the player…");
    for (let tries = 0; isCurrent(); tries += 1) {
      try {
        const [room, manifest] = await Promise.all([
          request("GET", `/rooms/${encodeURIComponent(this.#code)}`, { key: this.#connection.pass }),
          request("GET", `/providers/${encodeURIComponent(source.provider)}`),
        ]);
        if (!isCurrent()) return;
        if (isForbiddenHere(room.embed_url)) {
          cover("This video comes from an http address, which a page of https may not show. Open the room by its http address, or put on something else.");
          return;
        }
        if (!room.embed_url) throw new Error(room.source_error ?? "The provider is not ready.");
        const bridge = await import(manifest.bridge_url);
        if (!isCurrent()) return;
        this.#mount(room.embed_url, manifest, bridge.default);
        return;
      } catch (error) {
        if (!isCurrent()) return;
        cover(`${sentence(error.message)} Trying again…`);
        await new Promise((resolve) => { setTimeout(resolve, SOURCE_RETRY_MS[Math.min(tries, SOURCE_RETRY_MS.length - 1)]); });
      }
    }
  }

  clear() {
    this.#attempt += 1;
    this.#keepCosts();
    this.follower?.stop();
    try {
      this.player?.destroy();
    } catch (error) {
      console.warn("the bridge could not take its player away", error);
    }
    this.source = this.player = this.follower = this.manifest = null;
    this.#tracks.use(null);
    $("stage").replaceChildren();
    for (const topic of ["end", "player", "speed", "sync", "tracks"]) say(topic);
  }

  /**
   * What this player can be told to do; anything, as long as its provider has not said. The server goes by the same
   * (`unsupported`), so whatever is missing here is not offered.
   */
  get can() {
    const { seek = true, pause = true, resume = true, autoplay = true } = this.manifest?.capabilities ?? {};
    return { seek, pause, play: resume || autoplay };
  }

  /** Whether it has no end: then a position says nothing to anybody. */
  get isLive() { return this.follower?.isLive ?? false; }

  /** The earliest place of a stream that can be played, in seconds; NaN if the player does not say. */
  get liveStart() { return this.isLive ? this.player?.liveStart ?? NaN : NaN; }

  /** The latest one. */
  get liveEdge() { return this.isLive ? this.player?.liveEdge ?? NaN : NaN; }

  /** Why the player cannot play now: "loading", "starving" or "failed"; null if it can. */
  get trouble() {
    const { follower } = this;
    if (follower?.canPlay) return null;
    if (follower?.hasFailed) return "failed";
    return follower?.isReady ? "starving" : "loading";
  }

  #mount(url, manifest, mountBridge) {
    cover(null);
    const connection = this.#connection;
    const { playback } = connection.state;
    const player = mountBridge($("stage"), {
      url,
      startAt: positionAt(playback, connection.now()),
      autoplay: playback.is_playing,
      params: chosenParams(manifest, this.source),
      player: manifest.player,
      settings: manifest.settings,
      assets: (name) => assetOf(manifest, name),
      interactive: this.#isInteractive,
    });
    const { seek = true, pause = true } = manifest.capabilities ?? {};
    const limits = { ...manifest.player, control: seek ? manifest.player.control : "none", canPause: pause };
    const follower = new Follower(player, {
      serverNow: () => connection.now(),
      localNow: localMs,
      limits,
      costs: keptCosts(manifest.id),
      isVisible: () => document.visibilityState === "visible" || document.pictureInPictureElement !== null,
    });
    follower.offset = this.#offset;
    Object.assign(this, { player, follower, manifest });
    this.#tracks.use(player, manifest.id);
    for (const type of ["act", "blocked", "speed", "starving", "change"]) {
      follower.addEventListener(type, (event) => this.dispatchEvent(new CustomEvent(type, { detail: event.detail })));
    }
    const remedy = this.#isInteractive
      ? "It is loaded anew when you pause and play; or put on something else."
      : "The room goes on, and the host can put on something else.";
    follower.addEventListener("silent", () => {
      say("player", `The player has not answered for 20 seconds. Its site may be down or blocked here. ${remedy}`);
    });
    follower.addEventListener("short", ({ detail: { seconds, duration } }) => {
      say("end", `This video ends at ${clockText(seconds)}, although it says that it is ${clockText(duration)} long: its file is not whole here.`);
    });
    player.addEventListener("error", ({ detail }) => {
      say("player", `The player says: ${detail ?? "it cannot play this"}. ${remedy}`);
    });
    player.addEventListener("play", () => say("end"));
    for (const type of ["ready", "timeupdate"]) {
      player.addEventListener(type, () => { if (!player.stalled) say("player"); });
    }
    player.addEventListener("ready", () => {
      this.#restoreVolume();
      this.dispatchEvent(new Event("ready"));
    }, { once: true });
    player.addEventListener("volumechange", () => this.#keepVolume());
    showParams(manifest, this.source, () => this.show(this.source));
    follower.apply(playback);
    this.dispatchEvent(new Event("change"));
  }

  /** The next film is as loud as the last; a page begins with sound. */
  #restoreVolume() {
    const { player } = this;
    const volume = kept.read("volume");
    if (typeof volume === "number" && "volume" in player && player.volume !== volume) player.volume = volume;
    if (this.#isMuted && "muted" in player) player.muted = true;
  }

  #keepVolume() {
    const { volume, muted } = this.player ?? {};
    if (typeof muted === "boolean") this.#isMuted = muted;
    if (typeof volume === "number") kept.write("volume", volume);
  }

  #keepCosts() {
    if (this.follower) kept.write(costsName(this.manifest.id), { ...this.follower.controller.costs, browser: BROWSER });
  }
}

/** Whether a browser would block it on this page as mixed content: it does so without a word. */
function isForbiddenHere(url) {
  if (!url || location.protocol !== "https:") return false;
  const { protocol, hostname } = new URL(url, location.href);
  return protocol === "http:" && !["localhost", "127.0.0.1", "[::1]"].includes(hostname);
}

export const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/[.…]?$/, ".")}`;

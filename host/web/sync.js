// Being where the room is: the server's clock as seen from here, and a player that is held to the room's position.

const SAMPLES = 8;

/** The store's clock, estimated from PING and PONG: of the last samples the quickest round trip is trusted. */
export class ServerClock {
  #samples = [];

  /** All in milliseconds; `sentMs` and `receivedMs` on this page's own clock. */
  sample(sentMs, serverMs, receivedMs) {
    const roundTrip = receivedMs - sentMs;
    this.#samples.push({ roundTrip, offset: serverMs - (sentMs + roundTrip / 2) });
    if (this.#samples.length > SAMPLES) this.#samples.shift();
  }

  /** Begins anew with what WELCOME says: as good as nothing, until the first PONG. */
  guess(serverMs) {
    this.#samples = [{ roundTrip: Infinity, offset: serverMs - this.local() }];
  }

  /** This page's clock: monotonic, whatever happens to the machine's. */
  local() {
    return performance.timeOrigin + performance.now();
  }

  now() {
    const best = this.#samples.reduce((a, b) => (a && a.roundTrip <= b.roundTrip ? a : b), null);
    return this.local() + (best?.offset ?? 0);
  }
}

/** Where everyone should be, in seconds. */
export function positionAt({ is_playing, position_ms, at_ms }, nowMs) {
  return (position_ms + (is_playing ? Math.max(0, nowMs - at_ms) : 0)) / 1000;
}

/** Closer than this nobody sees a difference. */
const CLOSE_ENOUGH_S = 0.04;
/** While paused a picture is compared at leisure. */
const PAUSED_TOLERANCE_S = 0.25;
/** A player that leads is only moved by an order, not by its own jitter. */
const LEADER_TOLERANCE_S = 0.5;
/** How far the speed is bent; nobody hears it. */
const MAX_BEND = 0.05;
/** A player repeats what it was told as an event; for so long that is not taken for the person's own doing. */
const ECHO_MS = 1500;

/**
 * Holds a player to the room.
 * Events: `act` (detail: play, pause or seeked: the person moved the player), `blocked` (the browser wants a click).
 */
export class Follower extends EventTarget {
  #player;
  #clock;
  #limits;
  #playback = null;
  #echoes = new Map();
  #correctedAt = -Infinity;
  #isReady = false;
  #isWaiting = false;
  #isBlocked = false;
  #isDetached = false;
  #isEnded = false;
  #claimUntil = -Infinity;

  /** Whether this player is what the room follows: then it is moved by orders only. */
  isLeader = false;

  constructor(player, clock, limits) {
    super();
    this.#player = player;
    this.#clock = clock;
    this.#limits = limits;
    player.addEventListener("ready", () => {
      this.#isReady = true;
      this.#obey();
    });
    player.addEventListener("waiting", () => { this.#isWaiting = true; });
    player.addEventListener("timeupdate", () => { this.#isWaiting = false; });
    player.addEventListener("ended", () => { this.#isEnded = true; });
    for (const type of ["play", "pause", "seeked"]) {
      player.addEventListener(type, () => this.#moved(type));
    }
  }

  get isReady() { return this.#isReady; }
  get isDetached() { return this.#isDetached; }

  /** The room's playback is now this. */
  apply(playback) {
    this.#playback = playback;
    this.#isEnded = false;
    this.#correctedAt = -Infinity;
    if (this.#isClaimed() && !this.#agrees()) return;
    this.#claimUntil = -Infinity;
    this.#obey();
  }

  /**
   * The player is where the person put it, and the room has been told so: until it agrees, what it says is the answer
   * to an older order and would only undo this one.
   */
  claim() {
    this.#claimUntil = performance.now() + ECHO_MS;
  }

  /** To be called a few times a second. */
  tick() {
    if (!this.#isReady || this.#isClaimed()) return;
    if (this.#claimUntil > 0) {
      this.#claimUntil = -Infinity;
      this.#obey();
    } else if (!this.isLeader) {
      this.#hold();
    }
  }

  #isClaimed() {
    return performance.now() < this.#claimUntil;
  }

  #agrees() {
    return this.#playback.is_playing === !this.#player.paused && Math.abs(this.drift) < LEADER_TOLERANCE_S;
  }

  /** The person went their own way; until `rejoin` the player is theirs. */
  detach() {
    this.#isDetached = true;
    this.#bend(1);
  }

  /** Back to where everyone is. From a click, so that the browser lets it play. */
  rejoin() {
    this.#isDetached = false;
    this.#isBlocked = false;
    this.#correctedAt = -Infinity;
    this.#obey();
  }

  /** How far the player is from the room, in seconds; positive: behind. */
  get drift() {
    if (!this.#playback) return 0;
    return positionAt(this.#playback, this.#clock.now()) - this.#player.currentTime;
  }

  /** Carries out what the room's state says. */
  #obey() {
    if (!this.#isReady || !this.#playback || this.#isDetached) return;
    const { is_playing } = this.#playback;
    const tolerance = this.isLeader ? LEADER_TOLERANCE_S : is_playing ? this.#seekBeyond() : PAUSED_TOLERANCE_S;
    if (!is_playing) {
      this.#pause();
      if (Math.abs(this.drift) > Math.max(tolerance, this.#pausedTolerance())) this.#seek();
      return;
    }
    if (Math.abs(this.drift) > tolerance) this.#seek();
    this.#play();
  }

  /** Keeps a playing player where it should be. */
  #hold() {
    if (!this.#playback || this.#isDetached || this.#isBlocked) return;
    if (!this.#playback.is_playing) {
      this.#pause();
      return;
    }
    this.#play();
    if (this.#player.paused || this.#isWaiting) return;
    const drift = this.drift;
    if (Math.abs(drift) > this.#seekBeyond()) {
      const now = performance.now();
      if (now - this.#correctedAt >= this.#limits.cooldown_ms) {
        this.#correctedAt = now;
        this.#seek();
      }
    } else if (Math.abs(drift) < CLOSE_ENOUGH_S) {
      this.#bend(1);
    } else {
      this.#bend(1 + Math.max(-MAX_BEND, Math.min(MAX_BEND, drift / 2)));
    }
  }

  #seekBeyond() {
    return this.#limits.drift_ms / 1000;
  }

  /** A player that has to load anew is not disturbed over a picture. */
  #pausedTolerance() {
    return this.#limits.control === "reload" ? this.#seekBeyond() : PAUSED_TOLERANCE_S;
  }

  #play() {
    if (!this.#player.paused || this.#isBlocked || this.#isPastTheEnd()) return;
    this.#expect("play");
    this.#player.play().catch((error) => {
      if (error?.name !== "NotAllowedError") return; // a later order overtook this one
      this.#isBlocked = true;
      this.dispatchEvent(new Event("blocked"));
    });
  }

  #pause() {
    if (this.#player.paused) return;
    this.#expect("pause");
    this.#bend(1);
    this.#player.pause();
  }

  #seek() {
    if (this.#limits.control === "none") return;
    this.#expect("seeked");
    const { duration } = this.#player;
    const target = positionAt(this.#playback, this.#clock.now());
    this.#player.seek(Number.isFinite(duration) ? Math.min(target, duration) : target);
  }

  #bend(rate) {
    if ("playbackRate" in this.#player && this.#player.playbackRate !== rate) this.#player.playbackRate = rate;
  }

  #isPastTheEnd() {
    const { duration } = this.#player;
    const target = positionAt(this.#playback, this.#clock.now());
    return (this.#isEnded || Number.isFinite(duration)) && target >= (Number.isFinite(duration) ? duration : Infinity);
  }

  #expect(type) {
    this.#echoes.set(type, performance.now() + ECHO_MS);
  }

  #moved(type) {
    const until = this.#echoes.get(type);
    this.#echoes.delete(type);
    if (until !== undefined && performance.now() < until) return;
    // What the room says anyway is nobody's wish.
    const wanted = this.#playback?.is_playing;
    if (!this.#isReady || (type === "play" && wanted === true && !this.#isDetached) || (type === "pause" && wanted === false)) return;
    // At its end a player pauses by itself.
    if (type === "pause" && Math.abs(this.#player.currentTime - this.#player.duration) < 0.5) return;
    if (type === "seeked" && Math.abs(this.drift) < PAUSED_TOLERANCE_S) return;
    this.dispatchEvent(new CustomEvent("act", { detail: type }));
  }
}

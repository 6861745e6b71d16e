// Holds one player to the room's timeline, and tells what the player does by itself from what the person did with it.
import { positionAt, isOver, isSamePlayback, END_S } from "./timeline.js";
import { Controller, MAX_SEEK_S, noCosts } from "./controller.js";
import { Hunger } from "./hunger.js";
import { Orders } from "./orders.js";

/** While paused everyone sees the same frame: at 25 frames a second one lasts this long. */
const PAUSED_TOLERANCE_S = 0.04;

/** An order that moves a playing player by less is mended by bending, within three seconds: a seek is seen. */
const ORDER_SEEK_S = 0.25;

/** A player that starts further from where it should is sought first; bending mends what is less. */
const START_SEEK_S = 0.12;

/** The same for one that is loaded anew at whole seconds. */
const START_RELOAD_S = 1;

/** Closer than this, where a player went is where the room is anyway: nobody's wish. */
const AGREES_S = 0.25;

/** What the person did is shown until the room agrees, or for as long as a living line may take to answer. */
const CLAIM_MS = 2000;

/**
 * A player that was asked for something and has neither shown nor said anything for so long says nothing. The slowest
 * that was seen to come began after as long.
 */
export const SILENT_MS = 20_000;

/** A player that was told to play and does not is told again after this: no seek that is in its way takes longer. */
const TELL_AGAIN_MS = 5000;

/** A player that has been as it was told for so long has nothing more to answer: longer than a message is on its way. */
const SETTLED_MS = 3000;

/** A player is paused before it says so, by as much as two of its reports are apart. */
const PAUSE_IS_SAID_MS = 250;

/** A frame that has reported nothing for so long is not known to be anywhere: its bridge counts on for no longer. */
const UNHEARD_MS = 1000;

/** What a frame reports so soon after its person came back to the room, they did before: nobody acts as fast. */
const LATE_REPORT_MS = 300;

/** A video that ends so long before it said it would is not whole. */
const CUT_SHORT_S = 2;

/** Closer to the end of a video, whoever plays comes to it by themselves: a seek there would only be seen. */
const COMES_TO_THE_END_S = 1;

/** One that comes so much later than the room to where it was sent has come in vain. */
const MISSED_MS = 1000;

/** An appointment closer than this is now: timers of a browser are no finer. */
const SOON_MS = 4;

/**
 * From the least to the most.
 * @type {RateKind[]}
 */
const RATE_KINDS = ["none", "steps", "free"];

/**
 * @typedef {import("./timeline.js").Playback} Playback
 * @typedef {import("./controller.js").Costs} Costs
 * @typedef {import("./controller.js").RateKind} RateKind
 */

/**
 * A player as bridges offer it (see `/bridge/v1.js`): a small HTMLMediaElement. What is optional may be missing.
 * @typedef {EventTarget & {
 *   currentTime: number, duration: number, paused: boolean,
 *   play(): Promise<void>, pause(): void, seek(seconds: number): void,
 *   seeking?: boolean, stalled?: boolean, live?: boolean, rate?: RateKind, playbackRate?: number, muted?: boolean
 * }} Player
 */

/**
 * How a provider's player can be moved: its manifest's `[player]` table.
 * One that cannot be paused (`canPause`) does not wait anywhere for the room.
 * @typedef {{
 *   control: "commands" | "reload" | "none", drift_ms: number, cooldown_ms: number,
 *   rate?: RateKind, live?: boolean, canPause?: boolean
 * }} Limits
 */

/**
 * Events:
 * - `act` (detail `{ kind: "play" | "pause" | "seek", seconds }`): the person moved the player, not we.
 * - `blocked`: the browser wants a click before it plays.
 * - `speed`: the person changed the player's speed; it was put back.
 * - `starving`, `fed`: the player has had nothing to show for a while; it has again.
 * - `short` (detail `{ seconds, duration }`): the video has ended before its time.
 * - `silent`: the player has said nothing since it was put up, or since it was told to play.
 * - `change`: something that a page shows is different (isDetached, isBlocked, isStruggling, isLoadingAhead, hasEnded,
 *   hasFailed).
 */
export class Follower extends EventTarget {
  #player;
  #serverNow;
  #localNow;
  #isVisible;
  #limits;
  #controller;
  #orders = new Orders();
  /** @type {Playback | null} */
  #playback = null;
  #isReady = false;
  #isDetached = false;
  #isBlocked = false;
  #hasEnded = false;
  #isAway = false;
  #mountedAt;
  /** Whether the player has reported an error, and has shown nothing since. */
  #isBroken = false;
  /** Whether it has reported one since it was put up: what it took until it was ready says nothing about its line. */
  #hasBroken = false;
  #isSilent = false;
  /** Since when the player owes an answer. */
  #owesSince;
  /** When it last said where it is; one that never does is asked. */
  #heardAt = Infinity;
  #isArriving = true;
  /** @type {ReturnType<typeof setTimeout> | null} */
  #appointment = null;
  #claimUntil = -Infinity;
  #claimsToPlay = false;
  #toldToPlayAt = -Infinity;
  #agreesSince = Infinity;
  /** What the player's speed was set to. */
  #rate = 1;
  #hunger = new Hunger();
  /** Whether the player has not played since it was put up, or sent where it is. */
  #wasSought = true;
  /** Whether a paused picture was brought into place since the last order. */
  #isPlaced = false;
  /** Whether the player is on its way to somewhere ahead of the room, to wait for it there. */
  #isLanding = false;
  /** Since when the player has been on its way to somewhere. */
  #leftAt = Infinity;
  /** Whether the player waits ahead of the room to have more in hand when the room comes by. */
  #isLoadingAhead = false;
  /** Whether a leader that came late has been sent once more for the present order. */
  #isSentAgain = false;
  #isOver = false;
  #rejoinedAt = -Infinity;
  /** The longest that the video was said to be: one that turns out to be cut short may say less at its end. */
  #longestS = 0;
  /** What was shown last, and when: at the end of a file that is cut short a player may jump to the end it should have. */
  #shown = { seconds: 0, atMs: -Infinity };
  /** @type {number | null} since when the player rests although the room plays */
  #pausedSince = null;

  /** Whether the room goes by this player's person: their player may say where it is, and is not sought for a drift. */
  isLeader = false;

  /** Whether this player is what the room waits for: it is left alone until it has something to show. */
  isHolding = false;

  /** How far ahead of the room to be, in seconds: for a loudspeaker that lags. */
  offset = 0;

  /**
   * @param {Player} player
   * @param {object} options
   * @param {() => number} options.serverNow the server's clock, in milliseconds
   * @param {() => number} options.localNow this page's clock, in milliseconds
   * @param {Limits} options.limits
   * @param {Costs} [options.costs] what this device was found to take; changed in place
   * @param {() => boolean} [options.isVisible] whether the person can see, and so can have moved, the player
   */
  constructor(player, { serverNow, localNow, limits, costs = noCosts(), isVisible = () => true }) {
    super();
    this.#player = player;
    this.#serverNow = serverNow;
    this.#localNow = localNow;
    this.#isVisible = isVisible;
    this.#limits = limits;
    this.#mountedAt = localNow();
    this.#owesSince = this.#mountedAt;
    const canBend = limits.control === "commands" && !this.isLoose;
    const ofProvider = { seekBeyondS: limits.drift_ms / 1000, cooldownMs: limits.cooldown_ms };
    this.#controller = new Controller(costs, canBend ? {} : ofProvider);
    // It may have been put up playing, and at a position: what it says about that is an answer.
    this.#orders.tell("seek", this.#mountedAt);
    player.addEventListener("ready", () => this.#ready());
    player.addEventListener("play", () => this.#moved("play"));
    player.addEventListener("pause", () => this.#moved("pause"));
    player.addEventListener("seeked", () => this.#moved("seek"));
    player.addEventListener("ended", () => this.#ended());
    player.addEventListener("waiting", () => { if (!this.#isOnItsWay()) this.#controller.stalled(localNow()); });
    player.addEventListener("ratechange", () => this.#speedChanged());
    player.addEventListener("blocked", () => this.#blocked());
    player.addEventListener("error", () => this.#broke());
    player.addEventListener("timeupdate", () => {
      this.#heardAt = localNow();
      if (!player.stalled) this.#mended();
    });
  }

  get isReady() { return this.#isReady; }
  get isDetached() { return this.#isDetached; }
  get isBlocked() { return this.#isBlocked; }
  get isStarving() { return this.#hunger.isStarving; }
  /** Whether the player has reported an error, or says nothing at all: until it shows something again. */
  get hasFailed() { return this.#isBroken || this.#isSilent; }
  /** Whether the player could play now: whoever starts a room without one runs a clock over a dead picture. */
  get canPlay() { return this.#isReady && !this.hasFailed && !this.isStarving; }
  /** Whether the player has not been where the room is since it was put up: for whoever only joins nobody waits. */
  get isArriving() { return this.#isArriving; }
  /** Whether a room that waits for this player need not any longer. */
  get canGoOn() {
    return this.#isReady && !this.isStarving && !this.#isHungry() && this.#isInPlace(this.#localNow());
  }
  get isStruggling() { return this.#controller.isStruggling; }
  /** Whether the player waits ahead of the room, because its line is slower than the video needs. */
  get isLoadingAhead() { return this.#isLoadingAhead; }
  /** Whether the player itself came to the end of what it has. */
  get ranOut() { return this.#hasEnded; }
  /** Whether the room is past the end of this video. */
  get hasEnded() { return this.#isReady && this.#isPastTheEnd(); }
  get controller() { return this.#controller; }

  /**
   * How the player's speed can be set: as it says itself, but no better than its provider says.
   * @returns {RateKind}
   */
  get rateKind() {
    const own = this.#player.rate ?? ("playbackRate" in this.#player ? "free" : "none");
    const most = this.#limits.rate ?? "free";
    return RATE_KINDS.indexOf(own) < RATE_KINDS.indexOf(most) ? own : most;
  }

  /** Whether it is a stream without an end: as the player says, or has no length, or else as its provider says. */
  get isLive() { return this.#player.live ?? (this.#limits.live === true || this.#player.duration === Infinity); }

  /** How long the video is, in seconds; NaN while that is not known, Infinity for a stream without an end. */
  get duration() { return this.isLive ? Infinity : this.#player.duration; }

  /** Whether the player cannot be held to the timeline: then the room has to go by it, if it leads. */
  get isLoose() { return this.rateKind !== "free"; }

  /** How far the player is behind the room at this moment, in seconds; NaN while there is nothing to compare. */
  get error() {
    if (!this.#playback || !this.#isReady) return NaN;
    return this.#target() - this.#player.currentTime;
  }

  /**
   * The room's playback is now this.
   * @param {Playback} playback
   */
  apply(playback) {
    const before = this.#playback;
    if (before && isSamePlayback(before, playback)) return;
    this.#playback = playback;
    this.#isPlaced = false;
    this.#isOver = false;
    this.#isSentAgain = false;
    // Whoever moves a room that was at its end begins it anew.
    if (playback.is_playing) this.#hasEnded = false;
    if (playback.hold !== "buffering") this.isHolding = false;
    const movedS = before?.is_playing && playback.is_playing ? this.#apart(before, playback) : null;
    if (before) this.#controller.ordered(this.#localNow(), movedS);
    if (this.#isClaimed() && !this.#agrees()) return;
    this.#claimUntil = -Infinity;
    // One that is on its way to about there is judged when it has come.
    if (movedS !== null && this.#isOnItsWay() && Math.abs(movedS) <= this.#orderTolerance()) return;
    this.#obey();
  }

  /**
   * The person put the player where it is, and the room has been told: until it agrees, what it says is the answer to an
   * older order and would only undo this one.
   * @param {boolean} [isPlaying] whether it is to play; without it, as before
   */
  claim(isPlaying = this.#isMeantToPlay()) {
    this.#claimUntil = this.#localNow() + CLAIM_MS;
    this.#claimsToPlay = isPlaying;
  }

  /** What the person did was refused: back to what the room says. */
  disclaim() {
    if (!this.#isClaimed()) return;
    this.#claimUntil = -Infinity;
    this.#obey();
  }

  /** The person goes their own way; until `rejoin` the player is theirs. */
  detach() {
    if (this.#isDetached) return;
    this.#isDetached = true;
    this.#cancelAppointment();
    this.#straighten();
    this.#emit("change");
  }

  /** Back to where everyone is. From a click, so that the browser lets it play. */
  rejoin() {
    this.#isDetached = false;
    this.#rejoinedAt = this.#localNow();
    // Whoever was at the end of it on their own is there no more.
    this.#hasEnded = false;
    this.#isBlocked = false;
    this.#isPlaced = false;
    // Whatever they did with its speed meanwhile.
    this.#setRate(1);
    this.#controller.settle(this.#rejoinedAt);
    this.#emit("change");
    this.#obey();
  }

  /** The clock is in doubt: nothing is done for a moment. */
  doubt() {
    this.#controller.settle(this.#localNow());
  }

  /** The page is put away (frozen, or kept for a way back): what the browser does to its player is nobody's wish. */
  suspend() {
    this.#isAway = true;
  }

  /** The page can be seen again, or the machine woke: nothing of the past says anything about now. */
  refresh() {
    const now = this.#localNow();
    // It may have been paused meanwhile, and say so only now.
    if (this.#isAway) this.#orders.tell("pause", now);
    this.#isAway = false;
    this.#controller.settle(now);
    this.#isPlaced = false;
    this.#obey();
  }

  /** To be called some ten times a second. */
  tick() {
    const now = this.#localNow();
    this.#watchSilence(now);
    this.#remember(now);
    if (!this.#isReady || !this.#playback || this.#isDetached || this.#isBlocked || this.#isAway) return;
    this.#watchHunger(now);
    if (this.#isClaimed()) return;
    if (this.#claimUntil > 0) {
      this.#claimUntil = -Infinity;
      this.#obey();
      return;
    }
    this.#watchAgreement(now);
    if (this.#playback.is_playing) this.#hold(now);
    else this.#keepPaused(now);
  }

  /** Nothing of this is used any more. */
  stop() {
    this.#cancelAppointment();
    this.#isReady = false;
    this.#playback = null;
  }

  // ---- What the room says ------------------------------------------------------------------------------------------

  #obey() {
    this.#cancelAppointment();
    if (!this.#isReady || !this.#playback || this.#isDetached) return;
    if (this.#playback.is_playing) this.#go();
    else this.#keepPaused(this.#localNow());
  }

  /** The room plays: start, at the appointed moment; or be where it is. */
  #go() {
    const now = this.#localNow();
    if (this.#isBlocked || this.#restAtTheEnd() || this.#isSoughtByHand(now)) return;
    if (!this.#player.paused) {
      if (Math.abs(this.error) > this.#orderTolerance() && this.#canSeek()) this.#jump();
      return;
    }
    if (this.#isLanding) return;
    const start = this.#startCost;
    const { at_ms } = /** @type {Playback} */ (this.#playback);
    const inMs = at_ms - this.#serverNow() - (start + this.offset) * 1000;
    if (inMs > SOON_MS) {
      this.#place();
      this.#goLater(inMs);
      return;
    }
    if (this.#orders.isOpen("play", now) && now - this.#toldToPlayAt < TELL_AGAIN_MS) return;
    const isOff = Math.abs(this.#target(start) - this.#player.currentTime) > this.#startTolerance();
    if (isOff && this.#canSeek()) this.#jump();
    else this.#play(now);
  }

  /**
   * To where the room is. A player that can be held lands ahead of it and waits there for its moment: however long a seek
   * takes, it then starts in time. One that cannot is sent to where the room will be when it gets there.
   * @param {number} [loadS] how much further ahead of the room to wait, and to load meanwhile
   */
  #jump(loadS = 0) {
    const now = this.#localNow();
    this.#straighten();
    if (!this.#mayWaitAhead()) {
      this.#seekTo(this.#target(this.#controller.costs.seek));
      this.#controller.moved("seek", now);
      if (this.#player.paused) this.#play(now);
      return;
    }
    const seconds = this.#target(this.#controller.seekAllowance + loadS);
    if (isOver(seconds, this.duration)) {
      this.#seekTo(this.#target());
      if (this.#player.paused) this.#play(now);
      return;
    }
    this.#pause(now);
    this.#isLanding = true;
    this.#loadsAhead(loadS > 0);
    this.#seekTo(seconds);
  }

  /** The player is where it was sent: it starts when the room comes by. */
  #land() {
    this.#isLanding = false;
    const now = this.#localNow();
    const tookS = (now - this.#leftAt) / 1000;
    this.#controller.landed(tookS);
    if (!this.#playback?.is_playing || this.#isDetached) return;
    // Beyond the edge of a stream it was sent to the edge: by where it is it goes, not by where it was to be.
    const inMs = (this.#player.currentTime - this.#target(this.#startCost)) * 1000;
    if (inMs > SOON_MS) this.#goLater(inMs);
    // The room has long gone by, and the line is known: from here it would have to be sent on at once.
    else if (inMs < -MISSED_MS && this.#hunger.isSlow(now) && this.#mayWaitAhead()) this.#jump(this.#controller.loadAhead(tookS));
    else this.#play(now);
  }

  /** @param {number} inMs */
  #goLater(inMs) {
    if (this.#appointment !== null) clearTimeout(this.#appointment);
    this.#appointment = setTimeout(() => {
      this.#appointment = null;
      this.#go();
    }, inMs);
  }

  /** Keeps a playing player where it should be. */
  #hold(/** @type {number} */ now) {
    if (this.#restAtTheEnd() || this.#appointment !== null) return;
    if (this.#isLanding) {
      if (!this.#player.seeking && !this.#orders.isOpen("seek", now)) this.#land();
      return;
    }
    if (this.#player.paused) {
      // It says so itself before long, if it was the person.
      this.#pausedSince ??= now;
      if (now - this.#pausedSince >= PAUSE_IS_SAID_MS) this.#go();
      return;
    }
    this.#pausedSince = null;
    if (this.#player.stalled) {
      // What it has nothing to show for on its way is what a seek takes.
      if (this.#isOnItsWay()) this.#controller.moving(now);
      else this.#controller.stalled(now);
      return;
    }
    const isUnheard = this.isLoose && now - this.#heardAt > UNHEARD_MS;
    if (this.#player.seeking || isUnheard || this.#orders.isOpen("play", now)) {
      this.#controller.moving(now);
      return;
    }
    this.#wasSought = false;
    const wasStruggling = this.isStruggling;
    const wasOnItsWay = this.#controller.isSeeking;
    const correction = this.#controller.step(now, this.error, this.rateKind);
    switch (correction?.kind) {
      case "bend":
        this.#setRate(correction.rate);
        break;
      case "rest":
        this.#setRate(1);
        break;
      case "seek":
        if (this.isLeader && this.isLoose && !(wasOnItsWay && this.#maySendAgain())) break;
        if (this.#canSeek()) this.#jump();
        break;
    }
    if (Math.abs(this.#controller.error) <= this.#orderTolerance()) this.#isArriving = false;
    if (wasStruggling !== this.isStruggling) this.#emit("change");
  }

  /**
   * The room goes by a leader that cannot be bent, not the other way round; but one that came late, because it was not
   * known what a seek takes, is sent once more rather than everyone back.
   */
  #maySendAgain() {
    const isFirst = !this.#isSentAgain && this.#limits.control === "commands";
    this.#isSentAgain = true;
    return isFirst;
  }

  #keepPaused(/** @type {number} */ now) {
    if (this.isHolding && this.#isHungry()) return;
    // Who has not quite come to the end comes to it by themselves.
    if (this.#restAtTheEnd()) return;
    this.#straighten();
    if (this.#player.paused) this.#place();
    else if (!this.#orders.isOpen("pause", now)) this.#pause(now);
    if (this.#isInPlace(now)) this.#isArriving = false;
  }

  /** Brings a paused picture into place, once per order. */
  #place() {
    if (this.#isPlaced || this.#player.seeking) return;
    const target = this.#target();
    const isLong = this.#limits.control === "reload";
    const tolerance = isLong ? this.#limits.drift_ms / 1000 : PAUSED_TOLERANCE_S;
    this.#isPlaced = true;
    if (Math.abs(target - this.#player.currentTime) <= tolerance || !this.#canSeek()) return;
    this.#seekTo(target);
  }

  /** At the end nobody is moved any more. Answers whether it is the end. */
  #restAtTheEnd() {
    if (!this.#isPastTheEnd()) return false;
    if (!this.#isOver) {
      this.#isOver = true;
      this.#straighten();
      // Whoever comes late or is far from it sees the last picture; whoever was there comes to it by themselves.
      const { duration } = this;
      const { currentTime } = this.#player;
      if (!this.#hasEnded && duration - currentTime > COMES_TO_THE_END_S) {
        this.#cancelAppointment();
        this.#pause(this.#localNow());
        if (this.#canSeek()) this.#seekTo(Math.max(0, duration - END_S));
      }
      this.#emit("change");
    }
    return true;
  }

  #isPastTheEnd() {
    if (!this.#playback) return false;
    // A file may have less than it says: where its player ended there is no more, wherever the room is.
    return isOver(this.#target(), this.duration) || (this.#hasEnded && this.#playback.is_playing);
  }

  /** Where to be in `ahead` seconds. */
  #target(ahead = 0) {
    const { is_playing } = /** @type {Playback} */ (this.#playback);
    const offset = is_playing ? this.offset : 0;
    return Math.max(0, positionAt(/** @type {Playback} */ (this.#playback), this.#serverNow() + ahead * 1000) + offset);
  }

  /** @returns {"start" | "resume"} */
  get #startKind() { return this.#wasSought ? "start" : "resume"; }
  get #startCost() { return this.#controller.startCost(this.#startKind); }

  /** An order that moves a playing player by less sends it nowhere. */
  #orderTolerance() { return this.isLoose && !this.isLeader ? this.#limits.drift_ms / 1000 : ORDER_SEEK_S; }

  /** How far the room is further on by one playback than by another that was before it, in seconds. */
  #apart(/** @type {Playback} */ before, /** @type {Playback} */ after) {
    const now = this.#serverNow();
    return positionAt(after, now) - positionAt(before, now);
  }

  #canSeek() { return this.#limits.control !== "none"; }

  /** How far a player may start from where it should without being sought: where seeks take long, what bending mends as soon. */
  #startTolerance() {
    if (this.#limits.control === "reload") return START_RELOAD_S;
    return Math.max(START_SEEK_S, this.#controller.mendedBySeekTime);
  }

  #seekTo(/** @type {number} */ seconds) {
    const { duration } = this;
    const last = Number.isFinite(duration) && duration > 0 ? Math.max(0, duration - END_S) : Infinity;
    if (seconds < this.#player.currentTime) this.#hasEnded = false;
    this.#controller.seeks += 1;
    this.#leftAt = this.#localNow();
    this.#controller.settle(this.#leftAt);
    this.#orders.tell("seek", this.#leftAt);
    this.#wasSought = true;
    this.#player.seek(Math.min(seconds, last));
  }

  #pause(/** @type {number} */ now) {
    if (this.#player.paused) return;
    this.#orders.tell("pause", now);
    this.#player.pause();
  }

  #play(/** @type {number} */ now) {
    // Playing on from its end, a player begins anew.
    if (this.#hasEnded) return;
    this.#loadsAhead(false);
    if (this.#player.paused && !this.#player.seeking) {
      this.#controller.moved(this.#startKind, now, this.#target(this.#startCost) - this.#player.currentTime);
    }
    this.#toldToPlayAt = now;
    this.#orders.tell("play", now);
    this.#player.play().catch((error) => {
      this.#orders.settle("play");
      // Anything else: a later order overtook this one.
      if (error?.name === "NotAllowedError") this.#blocked();
    });
  }

  #blocked() {
    if (this.#isBlocked) return;
    this.#isBlocked = true;
    this.#cancelAppointment();
    this.#emit("blocked");
    this.#emit("change");
  }

  #setRate(/** @type {number} */ rate) {
    this.#rate = rate;
    if ("playbackRate" in this.#player && this.#player.playbackRate !== rate) this.#player.playbackRate = rate;
    if (rate === 1) this.#controller.straightened();
  }

  #straighten() {
    if (this.#rate === 1) return;
    this.#controller.writes += 1;
    this.#setRate(1);
  }

  #cancelAppointment() {
    if (this.#appointment !== null) clearTimeout(this.#appointment);
    this.#appointment = null;
    this.#isLanding = false;
    this.#loadsAhead(false);
  }

  #loadsAhead(/** @type {boolean} */ is) {
    if (is === this.#isLoadingAhead) return;
    this.#isLoadingAhead = is;
    this.#emit("change");
  }

  // ---- What the player says ----------------------------------------------------------------------------------------

  #ready() {
    this.#mended();
    if (this.#isReady) return;
    this.#isReady = true;
    // One that is not on its way anywhere has nothing to answer.
    if (this.#player.seeking === false) this.#orders.settle("seek");
    // A file that is slow to begin is slow to seek; a frame loads its site first, which says nothing about seeks.
    if (!this.isLoose && !this.#hasBroken) this.#controller.becameReady((this.#localNow() - this.#mountedAt) / 1000);
    this.#emit("change");
    this.#obey();
  }

  #broke() {
    this.#isBroken = true;
    this.#hasBroken = true;
    // However long it takes from here, that is not what a seek or a start takes.
    this.#cancelAppointment();
    this.#controller.stalled(this.#localNow());
    this.#emit("change");
  }

  #mended() {
    if (!this.hasFailed) return;
    this.#isBroken = false;
    this.#isSilent = false;
    this.#emit("change");
  }

  #ended() {
    this.#hasEnded = true;
    const { seconds, atMs } = this.#shown;
    const duration = this.#longestS;
    const last = Math.min(this.#player.currentTime, seconds + (this.#localNow() - atMs) / 1000);
    if (!this.isLoose && duration - last > CUT_SHORT_S) {
      this.dispatchEvent(new CustomEvent("short", { detail: { seconds: last, duration } }));
    }
    this.#emit("change");
  }

  /** What the video is said to be, and how far it has come. */
  #remember(/** @type {number} */ now) {
    const { duration } = this;
    if (Number.isFinite(duration)) this.#longestS = Math.max(this.#longestS, duration);
    this.#shown = { seconds: this.#player.currentTime, atMs: now };
  }

  /** @param {"play" | "pause" | "seek"} kind */
  #moved(kind) {
    const now = this.#localNow();
    if (kind === "seek") this.#remember(now);
    if (kind === "seek" && this.#player.paused) this.#wasSought = true;
    // Whoever goes back from the end, with the player's own bar, too, is there no more.
    if (kind === "seek" && !isOver(this.#player.currentTime + END_S, this.duration)) this.#hasEnded = false;
    if (this.#orders.isAnswer(kind, now)) {
      if (kind === "seek" && this.#isLanding && !this.#player.seeking) this.#land();
      return;
    }
    if (!this.#isReady || !this.#playback || this.#isAway || !this.#isVisible()) return;
    if (now - this.#rejoinedAt < LATE_REPORT_MS) return;
    const { currentTime, stalled } = this.#player;
    if (!this.#isDetached) {
      // What the room says anyway, or is being told, is nobody's wish.
      if (kind === "play" && this.#isMeantToPlay()) return;
      // A room that only waits is meant to play: whoever pauses then does not want it to go on by itself.
      if (kind === "pause" && !this.#isMeantToPlay() && !this.isHolding) return;
      if (kind === "seek" && !this.#isClaimed() && Math.abs(this.error) < AGREES_S) return;
    }
    // At its end a player pauses by itself, and a frame that has nothing to show may.
    const mayByItself = stalled && (this.isLoose || this.hasFailed || !this.isHolding);
    if (kind === "pause" && (isOver(currentTime + END_S, this.duration) || mayByItself)) return;
    this.dispatchEvent(new CustomEvent("act", { detail: { kind, seconds: currentTime } }));
  }

  #speedChanged() {
    const { playbackRate } = this.#player;
    // One that is taken down says so, too.
    if (!this.#playback) return;
    if (playbackRate === undefined || Math.abs(playbackRate - this.#rate) < 1e-3 || this.#isDetached) return;
    // A room has no speed of its own.
    this.#setRate(1);
    this.#emit("speed");
  }

  /** What the player should be doing: as the room says, or as it is being told. */
  #isMeantToPlay() { return this.#isClaimed() ? this.#claimsToPlay : this.#playback?.is_playing ?? false; }

  #isClaimed() { return this.#localNow() < this.#claimUntil; }

  #agrees() {
    const { is_playing } = /** @type {Playback} */ (this.#playback);
    return is_playing === !this.#player.paused && Math.abs(this.error) < AGREES_S * 2;
  }

  #isHungry() {
    const { seeking, stalled } = this.#player;
    return this.hasFailed || stalled === true || (seeking === true && this.#limits.control === "commands");
  }

  /** Whether the person's own hand sent it somewhere: what they want is known when it has come, and is not undone before. */
  #isSoughtByHand(/** @type {number} */ now) {
    const isByHand = this.#player.seeking === true && !this.#isLanding && !this.#orders.isOpen("seek", now);
    return isByHand && now - this.#leftAt < MAX_SEEK_S * 1000;
  }

  /** Whether it is going somewhere, by an order or a person's hand, and has not shown a picture there. */
  #isOnItsWay() { return this.#player.seeking === true || this.#isLanding || this.#controller.isSeeking; }

  /** @param {number} now */
  #watchHunger(now) {
    this.#leftAt = this.#isOnItsWay() ? Math.min(this.#leftAt, now) : Infinity;
    // Where a paused player was sent it has to come, too.
    const isWanted = this.#playback?.is_playing || this.isHolding || this.#player.seeking === true;
    const news = this.#hunger.look(now, {
      isHungry: isWanted && this.#isHungry(),
      // On its way it has nothing to show, and is not starving: not as long as a seek may take, unless it failed. Nor is
      // one that waits for its moment.
      isExpected: !this.hasFailed && (this.#appointment !== null || this.#isOnItsWay() && now - this.#leftAt < MAX_SEEK_S * 1000),
      isEnough: this.#isInPlace(now),
      isWaitedFor: this.isHolding,
      hasFailed: this.hasFailed,
    });
    if (!news) return;
    if (news === "starving" && this.#hunger.isSlow(now)) this.#ranDryAgain(now);
    this.#emit(news);
    this.#emit("change");
  }

  /** The line is slower than the video needs: brought to where the room is, it would only run dry again. */
  #ranDryAgain(/** @type {number} */ now) {
    // Who leads is waited for.
    if (this.isLeader && !this.#isArriving) return;
    if (!this.#mayWaitAhead()) this.#controller.leaveBehind(now);
    else if (!this.#isOnItsWay()) this.#jump(this.#controller.loadAhead());
  }

  /** Whether it can be sent ahead of the room and wait there. */
  #mayWaitAhead() { return !this.isLoose && this.#limits.canPause !== false && this.#canSeek(); }

  /** Whether a paused player shows what the room does. */
  #isInPlace(/** @type {number} */ now) {
    return this.#isOver || this.#isPlaced && this.#player.paused && !this.#player.seeking && !this.#orders.isOpen("seek", now);
  }

  /** @param {number} now */
  #watchSilence(now) {
    if (!this.#owesAnswer()) this.#owesSince = now;
    if (this.#isSilent || now - this.#owesSince < SILENT_MS) return;
    this.#isSilent = true;
    this.#emit("silent");
    this.#emit("change");
  }

  /** Whether the player was asked for something, and neither shows a picture nor says that it buffers. */
  #owesAnswer() {
    const { paused, seeking, stalled } = this.#player;
    // A file that starves has been said to: it may take as long as it takes.
    if (stalled || (this.isStarving && !this.isLoose) || this.#appointment !== null) return false;
    if (!this.#isReady) return true;
    const isLeftAlone = this.#isDetached || this.#isBlocked || this.#isAway || this.#isOver;
    return !isLeftAlone && this.#playback?.is_playing === true && (paused || seeking === true);
  }

  /** @param {number} now */
  #watchAgreement(now) {
    const { paused, seeking, stalled } = this.#player;
    // One that has nothing to show may still be on its way, whatever it says.
    const agrees = this.#playback?.is_playing === !paused && !seeking && !stalled;
    this.#agreesSince = agrees ? Math.min(this.#agreesSince, now) : Infinity;
    if (now - this.#agreesSince > SETTLED_MS) this.#orders.clear();
  }

  #emit(/** @type {string} */ type) {
    this.dispatchEvent(new Event(type));
  }
}

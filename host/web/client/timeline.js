// The room's timeline: where everyone should be. Pure: the moment is an argument.

/**
 * What a room plays, as STATE says it: `position_ms` is true at `at_ms` on the server's clock.
 * @typedef {object} Playback
 * @property {boolean} is_playing
 * @property {number} position_ms
 * @property {number} at_ms may lie ahead: then the room starts at that moment
 * @property {"buffering" | null} [hold] why a paused room is paused, if it is not by anybody's wish
 * @property {boolean} [is_initial] nobody has given an order since the server came to know the room
 */

/**
 * Where everyone should be, in seconds.
 * @param {Playback} playback
 * @param {number} serverMs a moment on the server's clock
 */
export function positionAt({ is_playing, position_ms, at_ms }, serverMs) {
  return (position_ms + (is_playing ? Math.max(0, serverMs - at_ms) : 0)) / 1000;
}

/**
 * Whether two playbacks put everyone in the same place at every moment.
 * @param {Playback} a
 * @param {Playback} b
 */
export function isSamePlayback(a, b) {
  const hold = (/** @type {Playback} */ playback) => playback.hold ?? null;
  return a.is_playing === b.is_playing && a.position_ms === b.position_ms && a.at_ms === b.at_ms && hold(a) === hold(b);
}

/** The last frame of a video is not sought: a player that is told to be there ends at once, or starts anew. */
export const END_S = 0.25;

/**
 * Whether the video is over at `seconds`. One whose length is not known never is.
 * @param {number} seconds
 * @param {number} duration NaN or Infinity when there is none
 */
export function isOver(seconds, duration) {
  return Number.isFinite(duration) && duration > 0 && seconds >= duration - END_S;
}

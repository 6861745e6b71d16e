const { isOver, isSamePlayback, positionAt } = await import("/client/v1.js");

const playing = { is_playing: true, position_ms: 10_000, at_ms: 1000 };

test("everyone is where the anchor says, and goes on with the clock", () => {
  equal(positionAt(playing, 1000), 10);
  equal(positionAt(playing, 3500), 12.5);
});

test("before the appointment nobody moves", () => equal(positionAt(playing, 0), 10));

test("paused rests", () => equal(positionAt({ ...playing, is_playing: false }, 99_000), 10));

test("a video without a length is never over", () => {
  equal([NaN, Infinity, 0].map((duration) => isOver(1e9, duration)), [false, false, false]);
  equal([isOver(119, 120), isOver(119.8, 120), isOver(500, 120)], [false, true, true]);
});

test("playbacks are told apart by all that moves anybody", () => {
  equal(isSamePlayback(playing, { ...playing, hold: null }), true);
  equal(isSamePlayback(playing, { ...playing, hold: "buffering" }), false);
  equal(isSamePlayback(playing, { ...playing, at_ms: 1001 }), false);
});

const { Seen } = await import("/assets/seen.js");

const rests = { isPlaying: false, hasEnded: false };
const plays = { isPlaying: true, hasEnded: false };
const ended = { isPlaying: false, hasEnded: true };

test("a press means what its button said before somebody else's order", () => {
  const seen = new Seen();
  seen.show(plays, 10_000, false);
  equal([seen.at(10_025), seen.isOvertaken(10_025)], [rests, true], "both press Play");
  equal([seen.at(10_299), seen.at(10_300), seen.isOvertaken(10_300)], [rests, plays, false]);
});

test("what is shown again and again is not new", () => {
  const seen = new Seen();
  seen.show(plays, 10_000, false);
  seen.show(plays, 10_250, false);
  equal(seen.at(10_300), plays);
});

test("one's own order is known at once", () => {
  const seen = new Seen();
  seen.show(plays, 10_000, true);
  equal(seen.at(10_001), plays, "pressed twice it is a pause");
});

test("a second press is the other", () => {
  const seen = new Seen();
  seen.show(plays, 10_000, false);
  seen.pressed();
  equal(seen.at(10_001), plays);
});

test("of several changes the last thing that could be seen counts", () => {
  const seen = new Seen();
  seen.show(plays, 10_000, false);
  seen.show(rests, 10_100, false);
  seen.show(plays, 10_200, false);
  equal(seen.at(10_250), rests, "nothing else was there long enough");
});

test("a film that ends under the hand is not begun again", () => {
  const seen = new Seen();
  seen.show(plays, 10_000, true);
  seen.show(ended, 20_000, false);
  equal([seen.at(20_100), seen.at(20_400)], [plays, ended]);
});

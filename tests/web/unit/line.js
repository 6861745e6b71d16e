const { Line } = await import("/client/v1.js");

test("silence is asked about after one and a half intervals", () => {
  const line = new Line();
  line.opened(0, 2);
  equal(line.look(2900), "fine");
  equal(line.look(3100), "ask");
});

test("no silence is longer than five seconds, however rarely the server speaks", () => {
  for (const pingSecs of [25, undefined]) {
    const line = new Line();
    line.opened(0, pingSecs);
    equal(line.look(4900), "fine");
    equal(line.look(5100), "ask");
  }
});

test("a question without an answer is a dead line, and an answer a living one", () => {
  const line = new Line();
  line.opened(0, 10);
  line.asked(16_000);
  equal(line.look(17_900), "fine");
  equal(line.look(18_100), "fine", "overdue, at a first look");
  equal(line.look(18_350), "dead");
  line.heard(18_400);
  equal(line.look(18_500), "fine");
});

test("a page that was held up itself does not blame the line", () => {
  const line = new Line();
  line.opened(0, 10);
  line.asked(1000);
  // The page was busy for a minute; the answer lies in the queue behind this look.
  equal(line.look(61_000), "fine");
  line.heard(61_001);
  equal(line.look(61_250), "fine");
});

test("asking again does not give a dead line more time", () => {
  const line = new Line();
  line.opened(0, 10);
  line.asked(1000);
  line.asked(2900);
  equal(line.look(3100), "fine");
  equal(line.look(3350), "dead");
});

test("tries are further and further apart, and begin anew after a welcome", () => {
  const line = new Line();
  const waits = [1, 2, 3, 4, 5, 6].map(() => line.retryMs(0.5));
  equal(waits, [300, 1000, 2000, 5000, 10_000, 10_000]);
  equal([line.retryMs(0), line.retryMs(1)], [5000, 15_000], "with jitter");
  line.opened(0, 25);
  equal(line.retryMs(0.5), 300);
});

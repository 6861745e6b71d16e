const { Orders } = await import("/client/v1.js");

test("what was told is answered once", () => {
  const orders = new Orders();
  orders.tell("play", 0);
  equal(orders.isAnswer("play", 10), true);
  equal(orders.isAnswer("play", 20), false, "the second is the person's");
});

test("an answer is ours however late it comes", () => {
  const orders = new Orders();
  orders.tell("seek", 0);
  equal(orders.isAnswer("seek", 15_000), true);
});

test("a player that never answers does not swallow the person's wishes for ever", () => {
  const orders = new Orders();
  orders.tell("pause", 0);
  equal(orders.isOpen("pause", 59_000), true);
  equal(orders.isOpen("pause", 61_000), false);
  equal(orders.isAnswer("pause", 61_000), false);
});

test("an order that was overtaken is settled with the one after it", () => {
  const orders = new Orders();
  orders.tell("play", 0);
  orders.tell("pause", 10);
  equal(orders.isAnswer("pause", 20), true);
  equal(orders.isAnswer("play", 30), false);
});

test("answers to both, in their order, are both ours", () => {
  const orders = new Orders();
  orders.tell("play", 0);
  orders.tell("pause", 10);
  equal([orders.isAnswer("play", 20), orders.isAnswer("pause", 30), orders.isAnswer("pause", 40)], [true, true, false]);
});

test("a seek says nothing about playing", () => {
  const orders = new Orders();
  orders.tell("play", 0);
  orders.tell("seek", 0);
  equal(orders.isAnswer("seek", 10), true);
  equal(orders.isOpen("play", 10), true);
});

test("of two seeks one answer is enough", () => {
  const orders = new Orders();
  orders.tell("seek", 0);
  orders.tell("seek", 10);
  equal(orders.isAnswer("seek", 20), true);
  equal(orders.isAnswer("seek", 30), false);
});

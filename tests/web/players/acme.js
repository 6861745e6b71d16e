// The player that the example plugin's bridge is written for. There is none, so its messages are made up.

Object.assign(player, { duration: 600, base: Number(query.get("start") ?? 0) });

const EVENTS = new Set(["timeupdate", "play", "pause", "ended", "seeked"]);

player.changed = (event) => {
  if (EVENTS.has(event)) tell({ event, seconds: player.shownTime, duration: player.duration });
};

player.fail = () => {};
player.shapes = (value) => [
  { event: "timeupdate", seconds: value, duration: value }, { event: value, seconds: value }, { event: "nonsense", seconds: value },
];

addEventListener("message", ({ data }) => obey(() => {
  player.told.push(data);
  if (switches.ignores.includes(data?.command)) return;
  if (data?.command === "play" && !switches.wantsClick) player.play();
  if (data?.command === "pause") player.pause();
  if (data?.command === "seek") player.seek(data.seconds);
}));

if (query.get("autoplay") === "1") setTimeout(() => player.play(), 50);

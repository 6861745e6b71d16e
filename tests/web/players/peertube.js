// A stand-in for PeerTube's embed player: a jschannel in the scope "peertube". What it has to say it keeps until the other
// end has answered that it is there. It says where it is twice a second, at once where it was sent, and nothing of its waits.

const SCOPE = "peertube::";
const start = (query.get("start") ?? "0s").match(/^(\d+)s$/);

Object.assign(player, { duration: 600, base: Number(start?.[1] ?? 0) });

/** What waits for the other end. */
let kept = [];
let state = "unstarted";
let isUp = false;

const say = (method, params) => {
  const text = JSON.stringify({ method: SCOPE + method, params });
  if (kept) kept.push(text);
  else tell(text);
};
const become = (next) => {
  state = next;
  say("playbackStatusChange", state);
};

player.changed = (what) => {
  if (what === "play") become("playing");
  if (what === "pause") become("paused");
  if (what === "ended") {
    become("paused");
    become("ended");
  }
};

setInterval(() => {
  if (!isUp) return;
  say("playbackStatusUpdate", { position: player.shownTime, volume: 1, duration: player.duration, playbackState: state });
}, 500);

player.fail = () => {};
player.shapes = (value) => [
  { method: `${SCOPE}playbackStatusUpdate`, params: value },
  { method: `${SCOPE}playbackStatusUpdate`, params: { position: value, duration: value, playbackState: "playing" } },
  { method: `${SCOPE}playbackStatusUpdate`, params: { position: 1, duration: 600, playbackState: value } },
  { method: `${SCOPE}playbackStatusChange`, params: value },
  { method: `${SCOPE}nonsense`, params: value }, { method: value, params: value }, { id: 1, result: value },
].map((message) => JSON.stringify(message));

const METHODS = {
  play: () => { if (!switches.wantsClick) player.play(); },
  pause: () => player.pause(),
  seek: (seconds) => player.seek(seconds),
};

addEventListener("message", ({ data }) => {
  const { id, method, params } = JSON.parse(data);
  if (!method.startsWith(SCOPE)) return;
  const name = method.slice(SCOPE.length);
  if (name === "__ready" && params.type === "publish-reply") {
    const texts = kept ?? [];
    kept = null;
    for (const text of texts) tell(text);
    return;
  }
  player.told.push([name, params]);
  obey(() => {
    if (!isUp || switches.ignores.includes(name)) return;
    METHODS[name]?.(params);
    // An answer comes at once, whatever the video does.
    tell(JSON.stringify({ id }));
  });
});

untilReady.then(() => {
  if (query.get("api") !== "1") return;
  tell(JSON.stringify({ method: `${SCOPE}__ready`, params: { type: "publish-request", publish: [] } }));
  isUp = true;
  say("ready", true);
  if (query.get("autoplay") === "1" && !switches.wantsClick) setTimeout(() => player.play(), 50);
});

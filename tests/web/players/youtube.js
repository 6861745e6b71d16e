// A stand-in for YouTube's embed player: JSON strings both ways after a handshake; fields come when they change; it never
// says that somebody sought. Seeking a video that has not begun begins it, as its documentation says.

Object.assign(player, { duration: 212, base: Number(query.get("start") ?? 0) });

const VIDEO = { video_id: location.pathname.split("/").pop(), title: "A film", author: "Somebody", isLive: false };
const ADVERT = { video_id: "AdAdAdAdAdA", title: "Buy this", author: "A shop", isLive: false };
const ADVERT_S = 15;

let listener = null;
let state = -1;
const wanted = new Set();

const say = (event, info) => {
  if (listener) tell(JSON.stringify({ event, info, id: listener.id, channel: "widget" }), listener.origin);
};

const nowS = () => Date.now() / 1000;
const position = () => {
  const { advert } = player;
  const ageS = switches.stampAgeMs / 1000;
  const shown = Math.max(0, player.shownTime - (player.isMoving ? ageS * player.rate : 0));
  const currentTime = advert?.form === "other" ? (performance.now() - advert.fromMs) / 1000 : shown;
  return {
    currentTime,
    currentTimeLastUpdated_: nowS() - ageS,
    progressState: { current: currentTime, duration: player.duration, loaded: currentTime + 20, seekableStart: 0, seekableEnd: player.duration },
  };
};

function become(next) {
  if (next === state) return;
  state = next;
  if (wanted.has("onStateChange")) say("onStateChange", state);
  say("infoDelivery", { playerState: state, ...position() });
}

const shownState = () => {
  if (player.hasEnded) return 0;
  if (player.paused) return player.hasPlayed ? 2 : state;
  return player.obstacles.size > 0 ? 3 : 1;
};

player.changed = (what) => {
  const form = player.advert?.form;
  switch (what) {
    case "advert":
      // "unstarted": its states say it. "other": its video and length say it. "stuck": nothing says it.
      if (form === "unstarted") {
        become(-1);
        become(3);
        become(1);
      }
      if (form === "other") {
        become(-1);
        say("infoDelivery", { videoData: ADVERT, duration: ADVERT_S, ...position() });
        become(1);
      }
      break;
    case "resumed":
      if (state !== 1) become(3);
      say("infoDelivery", { videoData: VIDEO, duration: player.duration, ...position() });
      become(shownState());
      break;
    case "timeupdate":
      if (form !== "stuck") say("infoDelivery", position());
      break;
    case "rate":
      say("infoDelivery", { playbackRate: player.rate });
      if (wanted.has("onPlaybackRateChange")) say("onPlaybackRateChange", player.rate);
      break;
    case "duration":
      say("infoDelivery", { duration: player.duration, ...position() });
      break;
    default:
      if (!player.advert) become(shownState());
      if (what === "seeked") say("infoDelivery", position());
  }
};

player.fail = (code) => say("onError", code);

player.shapes = (value) => [
  // -1 is a state.
  "infoDelivery", "initialDelivery", value === -1 ? "nonsense" : "onStateChange", "onError", "onReady", "onVolumeChange", "nonsense",
].map((event) => JSON.stringify({ event, info: value, id: listener?.id, channel: "widget" })).concat(
  ["currentTime", "currentTimeLastUpdated_", "duration", value === -1 ? "nonsense" : "playerState", "playbackRate", "muted", "volume", "videoData"].map(
    // Numbers that JSON does not have are written as strings of digits would be: 1e999.
    (field) => `{"event":"infoDelivery","info":{"${field}":${value === Infinity ? "1e999" : JSON.stringify(value) ?? "null"}}}`,
  ),
  [{ event: "infoDelivery", info: { currentTime: value } }, { event: value, info: value }, { info: value }],
);

const COMMANDS = {
  addEventListener: (name) => { wanted.add(name); },
  playVideo: () => {
    if (switches.wantsClick) {
      if (wanted.has("onAutoplayBlocked")) say("onAutoplayBlocked", null);
      return;
    }
    player.play();
  },
  pauseVideo: () => player.pause(),
  seekTo: (seconds) => {
    const isBegun = player.hasPlayed;
    player.seek(seconds);
    if (!isBegun) COMMANDS.playVideo();
  },
  setPlaybackRate: (rate) => { if ([0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2].includes(rate)) player.setRate(rate); },
  mute: () => say("infoDelivery", { muted: true, volume: 100 }),
  unMute: () => say("infoDelivery", { muted: false, volume: 100 }),
  setVolume: (volume) => say("infoDelivery", { muted: false, volume }),
};

addEventListener("message", async ({ data, origin }) => {
  if (typeof data !== "string") return;
  await untilReady;
  const { event, func, args, id, channel } = JSON.parse(data);
  if (channel !== "widget" || origin !== query.get("origin") || (listener && listener.id !== id)) return;
  if (event === "listening" && !listener) {
    listener = { id, origin };
    say("initialDelivery", {
      apiInterface: Object.keys(COMMANDS), duration: player.duration, playerState: -1, playbackRate: 1,
      availablePlaybackRates: [0.25, 0.5, 1, 2], muted: false, volume: 100, videoData: VIDEO, currentTime: 0,
    });
    say("onReady", null);
    if (query.get("autoplay") === "1") COMMANDS.playVideo();
    else become(5);
  }
  if (event !== "command") return;
  player.told.push([func, ...args]);
  // An advert is not commanded.
  obey(() => {
    const isPassive = player.advert && ["playVideo", "pauseVideo", "seekTo"].includes(func);
    if (!switches.ignores.includes(func) && !isPassive) COMMANDS[func]?.(...args);
  });
});

// A bridge as authors wrote them before there was `aim`, `seeking` and `stalled`: what was asked of it then it still has to
// keep. Its player is the one of the author's template (`players/acme.js`).
import { FramePlayer, withParams } from "/bridge/v1.js";

class Acme extends FramePlayer {
  constructor(stage, options) {
    super(stage, options);
    const { url, params, startAt, autoplay } = options;
    this.load(withParams(url, { ...params, start: Math.floor(startAt || 0), autoplay: autoplay ? 1 : 0 }), () => this.emit("ready"));
  }

  async play() {
    this.post({ command: "play" });
  }

  pause() {
    this.post({ command: "pause" });
  }

  seek(seconds) {
    this.report(seconds);
    this.post({ command: "seek", seconds });
  }

  receive({ event, seconds, duration }) {
    this.report(seconds);
    this.reportDuration(duration);
    if (event === "play") this.reportPaused(false);
    if (event === "pause" || event === "ended") this.reportPaused(true);
    if (event === "seeked" || event === "timeupdate" || event === "ended") this.emit(event);
  }
}

export default function mount(stage, options) {
  return new Acme(stage, options);
}

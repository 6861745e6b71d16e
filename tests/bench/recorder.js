// Runs before a page's own scripts: notes where its player is, and everything that is done to it. Moments are epoch
// milliseconds on the clock that the page goes by.
(() => {
  const now = () => performance.timeOrigin + performance.now();
  const notes = { samples: [], seeks: [], rates: [], sent: [], clicks: [] };
  window.notes = notes;

  /** `pass` says whether the player is to hear of it. */
  function onWrite(property, noted, pass) {
    const { get, set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, property);
    Object.defineProperty(HTMLMediaElement.prototype, property, {
      configurable: true,
      enumerable: true,
      get,
      set(value) {
        noted.push([now(), value]);
        if (pass()) set.call(this, value);
      },
    });
  }
  onWrite("currentTime", notes.seeks, () => true);
  onWrite("playbackRate", notes.rates, () => !window.ignoresRate);

  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (data) {
    const { type, because } = JSON.parse(data);
    if (type !== "PING") notes.sent.push([now(), because ? `${type} (${because})` : type]);
    return send.call(this, data);
  };

  addEventListener("click", ({ target }) => notes.clicks.push([now(), target.id]), true);

  setInterval(() => {
    const video = document.querySelector("#stage video");
    if (!video) return;
    const { currentTime, playbackRate, paused, seeking } = video;
    notes.samples.push([now(), currentTime, playbackRate, paused, seeking, document.hidden, Date.now()]);
  }, 50);
})();

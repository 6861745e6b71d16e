// Saying what to watch: by the address that people have in their hands, which the server is asked about while they type; or
// by hand, a click away.
import { request } from "./api.js";
import { FileChooser } from "./file-chooser.js";
import { MediaForm } from "./media-form.js";
import { clockText, describe, put, unturned } from "./page.js";

/** Nobody wants to hear what is wrong with half an address: it is asked about after a pause. */
const PAUSE_MS = 400;

const HINT = "As it stands in your browser, with the time it starts at, if it has one.";

let forms = 0;

export class SourceForm {
  #root;
  #byHand;
  #files;
  #timer = null;
  /** Grows with each question: the answer to an older one is late. */
  #turn = 0;
  /** The text that was asked about last, and what came of it. */
  #asked = null;
  #matches = [];

  constructor(root) {
    this.#root = root;
    forms += 1;
    const id = (name) => `${name}-of-${forms}`;
    root.classList.add("source-form");
    root.innerHTML = `
      <div class="field" data-pane="link">
        <label for="${id("link")}">Link</label>
        <input id="${id("link")}" name="link" inputmode="url" autocomplete="off" autocapitalize="none" spellcheck="false"
          placeholder="Paste the address of a video" aria-describedby="${id("said")}">
        <p class="said" id="${id("said")}" role="status"></p>
        <fieldset class="choices" hidden>
          <legend>Play it with</legend>
        </fieldset>
        <div data-pane="files"></div>
      </div>
      <div id="${id("hand")}" data-pane="hand" hidden></div>
      <button class="quiet-button" type="button" name="by_hand" aria-expanded="false" aria-controls="${id("hand")}"></button>`;
    this.#byHand = new MediaForm(root.querySelector('[data-pane="hand"]'));
    this.#files = new FileChooser(this.#pane("files"));
    this.#files.addEventListener("chosen", ({ detail }) => {
      this.#link.value = detail;
      this.#forget();
      this.#link.focus();
      this.#ask();
    });
    this.#link.addEventListener("input", ({ inputType }) => {
      this.#forget();
      const isWhole = inputType === "insertFromPaste" || inputType === "insertFromDrop";
      this.#timer = setTimeout(() => this.#ask(), isWhole ? 0 : PAUSE_MS);
    });
    this.#toggle.addEventListener("click", () => this.#turnTo(!this.#isByHand));
    this.#say(HINT);
    this.#label();
  }

  get isEmpty() { return this.#byHand.isEmpty; }

  /** Shows the providers that are ready. */
  offer(providers) {
    this.#byHand.offer(providers);
    this.#files.offer();
    if (this.isEmpty) this.#turnTo(true, { isAsked: false });
  }

  /** Begins anew, beside what is playing now. */
  show(source) {
    this.#link.value = "";
    this.#forget();
    this.#byHand.show(source);
  }

  /** What is to be played, as `{ source, start_ms }`; or nothing, and the form says what is missing. */
  async read() {
    if (this.#isByHand) {
      const source = this.#byHand.read();
      return source && { source };
    }
    if (this.#link.value.trim() === "") {
      this.#say("Paste the address of what you want to watch, or choose by hand.", "wrong");
      this.#link.focus();
      return null;
    }
    await this.#ask();
    const match = this.#chosen;
    return match && { source: identity(match.source), start_ms: match.start_ms };
  }

  /** Puts each error beside its field, and answers those that have none here. */
  showErrors(errors = []) {
    return this.#isByHand ? this.#byHand.showErrors(errors) : errors;
  }

  /** Asks the server what the text means, unless it has said so. */
  async #ask() {
    clearTimeout(this.#timer);
    const text = this.#link.value.trim();
    if (text === "") {
      this.#say(HINT);
      return;
    }
    if (this.#asked?.text !== text) this.#asked = { text, answer: this.#understand(text) };
    await this.#asked.answer;
  }

  async #understand(text) {
    this.#turn += 1;
    const turn = this.#turn;
    let matches = [];
    let wrong = null;
    try {
      ({ matches } = await request("POST", "/links", { body: { link: text } }));
    } catch (error) {
      wrong = error;
    }
    if (turn !== this.#turn) return;
    this.#matches = matches;
    // What the server could not say now it may in a moment.
    if (wrong && !wrong.isFinal) this.#asked = null;
    if (wrong) this.#say(sentence(wrong), "wrong");
    else if (matches.length === 1) this.#say(summary(matches[0]), "understood");
    else this.#say(`${matches.length} providers play this; the first is chosen.`, "understood");
    this.#choose();
  }

  /** What was understood was another text. */
  #forget() {
    clearTimeout(this.#timer);
    this.#turn += 1;
    this.#asked = null;
    this.#matches = [];
    this.#choose();
    this.#say(HINT);
  }

  #choose() {
    const several = this.#matches.length > 1 ? this.#matches : [];
    this.#choices.hidden = several.length === 0;
    const choices = several.map((match, n) => {
      const label = document.createElement("label");
      label.className = "check";
      const radio = document.createElement("input");
      Object.assign(radio, { type: "radio", name: `match-${this.#link.id}`, value: String(n), checked: n === 0 });
      label.append(radio, summary(match));
      return label;
    });
    this.#choices.replaceChildren(this.#choices.firstElementChild, ...choices);
  }

  get #chosen() {
    const radio = this.#choices.querySelector("input:checked");
    return this.#matches[radio ? Number(radio.value) : 0] ?? null;
  }

  #turnTo(isByHand, { isAsked = true } = {}) {
    this.#pane("link").hidden = isByHand;
    this.#pane("hand").hidden = !isByHand;
    this.#label();
    if (!isAsked) return;
    if (isByHand && this.#chosen) this.#byHand.show(this.#chosen.source);
    this.#root.querySelector(isByHand ? "select" : "input").focus();
  }

  #label() {
    this.#toggle.textContent = this.#isByHand ? "Paste a link instead" : "Choose by hand instead";
    this.#toggle.setAttribute("aria-expanded", String(this.#isByHand));
  }

  #say(text, kind = "hint") {
    const said = this.#root.querySelector(".said");
    // What is said again is not heard again.
    put(said, "textContent", text);
    said.dataset.kind = kind;
    if (kind === "wrong") this.#link.setAttribute("aria-invalid", "true");
    else this.#link.removeAttribute("aria-invalid");
  }

  get #isByHand() { return this.#pane("link").hidden; }
  get #link() { return this.#root.querySelector('[name="link"]'); }
  get #toggle() { return this.#root.querySelector('[name="by_hand"]'); }
  get #choices() { return this.#root.querySelector(".choices"); }
  #pane(name) { return this.#root.querySelector(`[data-pane="${name}"]`); }
}

/** A source without what its provider can do. */
const identity = ({ provider, media_type, external_id, season, episode }) => ({ provider, media_type, external_id, season, episode });

/** A longer id is shown by its two ends. */
const SHOWN_CHARS = 80;

/** A match in one line: whose, what, from where. */
function summary({ name, source, start_ms, is_guess }) {
  const what = [...unturned(describe(source))];
  const half = SHOWN_CHARS / 2;
  const shown = what.length > SHOWN_CHARS ? [...what.slice(0, half), "…", ...what.slice(-half)] : what;
  const parts = [name, shown.join("")];
  if (start_ms > 0) parts.push(`from ${clockText(start_ms / 1000)}`);
  return parts.join(" · ") + (is_guess ? " – a guess: the address does not say which episode" : "");
}

/** What the server says is wrong, as a sentence. */
function sentence({ message, errors }) {
  const text = errors.find(({ field }) => field === "link")?.message ?? message;
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
}

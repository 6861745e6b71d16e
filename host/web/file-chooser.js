// The server's own files, folder by folder. Choosing one is pasting its address.
import { request } from "./api.js";
import { unturned } from "./page.js";

const PAGE = 100;

let choosers = 0;

/** Events: `chosen` (detail: the file's address). */
export class FileChooser extends EventTarget {
  #root;
  #folder = "";
  #cursor = null;
  /** Grows with each question: the answer to an older one is late. */
  #turn = 0;

  constructor(root) {
    super();
    this.#root = root;
    choosers += 1;
    const id = `files-${choosers}`;
    root.classList.add("file-chooser");
    root.hidden = true;
    root.innerHTML = `
      <button class="quiet-button" type="button" name="files" aria-expanded="false" aria-controls="${id}">Choose from this server’s files</button>
      <div class="files" id="${id}" role="group" aria-label="Files on this server" hidden>
        <div class="files-bar">
          <button type="button" name="up">Up</button>
          <span class="files-where" role="status"></span>
        </div>
        <ul></ul>
        <button type="button" name="more">Show more</button>
      </div>`;
    this.#at("files").addEventListener("click", () => this.#turnTo(this.#panel.hidden));
    this.#at("up").addEventListener("click", () => this.#open(this.#folder.split("/").slice(0, -1).join("/"), this.#folder));
    this.#at("more").addEventListener("click", () => this.#more());
    this.#panel.addEventListener("keydown", (event) => this.#steer(event));
  }

  /** Shows that there is something to choose from, if there is. */
  async offer() {
    try {
      const { entries } = await request("GET", "/media?limit=1");
      this.#root.hidden = entries.length === 0;
    } catch {
      this.#root.hidden = true;
    }
  }

  #turnTo(isOpen) {
    this.#panel.hidden = !isOpen;
    this.#at("files").setAttribute("aria-expanded", String(isOpen));
    if (isOpen) this.#open(this.#folder);
  }

  /** Shows a folder from its beginning; the focus is on the folder that one comes from, or on the first that is there. */
  async #open(folder, from = null) {
    const isCurrent = this.#newTurn();
    let page;
    try {
      page = await this.#ask(folder);
    } catch (error) {
      if (isCurrent()) this.#say(error.message);
      return;
    }
    if (!isCurrent()) return;
    this.#folder = folder;
    this.#list.replaceChildren();
    this.#add(page);
    this.#at("up").hidden = folder === "";
    const name = folder === "" ? "All files" : unturned(folder);
    this.#say(this.#list.children.length === 0 ? `${name}: nothing to play here` : name);
    const entries = this.#buttons;
    const place = entries.find((button) => button.dataset.path === from) ?? entries[0] ?? this.#at("up");
    place.focus();
  }

  async #more() {
    const isCurrent = this.#newTurn();
    const shown = this.#buttons.length;
    try {
      const page = await this.#ask(this.#folder, this.#cursor);
      if (!isCurrent()) return;
      this.#add(page);
      (this.#buttons[shown] ?? this.#buttons.at(-1))?.focus();
    } catch (error) {
      if (isCurrent()) this.#say(error.message);
    }
  }

  #ask(folder, cursor = null) {
    const question = new URLSearchParams({ folder, limit: String(PAGE) });
    if (cursor !== null) question.set("cursor", cursor);
    return request("GET", `/media?${question}`);
  }

  #add({ entries, next_cursor }) {
    this.#cursor = next_cursor;
    this.#at("more").hidden = next_cursor === null;
    // What belongs to a video comes with it.
    this.#list.append(...entries.filter(({ kind }) => kind !== "subtitles").map((entry) => this.#item(entry)));
  }

  #item({ name, kind, path, size, link }) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    Object.assign(button.dataset, { kind, path });
    const text = document.createElement("bdi");
    text.textContent = kind === "folder" ? `${name}/` : name;
    button.append(text);
    if (kind !== "folder") {
      const about = document.createElement("span");
      about.textContent = sizeText(size);
      button.append(about);
    }
    button.addEventListener("click", () => {
      if (kind === "folder") {
        this.#open(path);
        return;
      }
      this.#turnTo(false);
      this.dispatchEvent(new CustomEvent("chosen", { detail: link }));
    });
    item.append(button);
    return item;
  }

  /** Up and down as in any list; out of it with Escape. */
  #steer(event) {
    if (event.key === "Escape") {
      event.stopPropagation();
      this.#turnTo(false);
      this.#at("files").focus();
      return;
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const at = this.#buttons.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    this.#buttons[at + step]?.focus();
  }

  #newTurn() {
    this.#turn += 1;
    const turn = this.#turn;
    return () => turn === this.#turn;
  }

  #say(text) { this.#root.querySelector(".files-where").textContent = text; }

  get #panel() { return this.#root.querySelector(".files"); }
  get #list() { return this.#root.querySelector("ul"); }
  get #buttons() { return [...this.#list.querySelectorAll("button")]; }
  #at(name) { return this.#root.querySelector(`[name="${name}"]`); }
}

function sizeText(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [size, unit] = [bytes, 0];
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${size < 10 && unit > 0 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

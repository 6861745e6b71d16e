// Choosing what to watch: provider, movie or episode, id. Labels, examples and patterns are the provider's.

const TYPES = { movie: "Movie or single video", tv: "Episode of a series" };

let forms = 0;

export class MediaForm {
  #root;
  #providers = [];

  constructor(root) {
    this.#root = root;
    forms += 1;
    const id = (name) => `${name}-${forms}`;
    root.classList.add("media-form");
    root.innerHTML = `
      <div class="field">
        <label for="${id("provider")}">Where from</label>
        <select id="${id("provider")}" name="provider"></select>
        <p class="error" data-error="provider"></p>
      </div>
      <div class="field" data-part="media_type">
        <label for="${id("type")}">What</label>
        <select id="${id("type")}" name="media_type"></select>
        <p class="error" data-error="media_type"></p>
      </div>
      <div class="field">
        <label for="${id("id")}" data-part="label">Id</label>
        <div class="with-button">
          <input id="${id("id")}" name="external_id" autocomplete="off" spellcheck="false" aria-describedby="${id("id-error")}">
          <button type="button" name="example">Use the example</button>
        </div>
        <p class="error" id="${id("id-error")}" data-error="external_id"></p>
      </div>
      <div class="numbers" data-part="numbers">
        <div class="field">
          <label for="${id("season")}">Season</label>
          <input id="${id("season")}" name="season" type="number" min="0" inputmode="numeric">
          <p class="error" data-error="season"></p>
        </div>
        <div class="field">
          <label for="${id("episode")}">Episode</label>
          <input id="${id("episode")}" name="episode" type="number" min="0" inputmode="numeric">
          <p class="error" data-error="episode"></p>
        </div>
      </div>`;
    this.#at("provider").addEventListener("change", () => this.#chosen());
    this.#at("media_type").addEventListener("change", () => this.#typeChosen());
    this.#at("external_id").addEventListener("blur", () => this.#checkPattern());
    this.#at("external_id").addEventListener("input", () => this.#error("external_id", ""));
    this.#at("example").addEventListener("click", () => {
      this.#at("external_id").value = this.#provider.external_id.example;
      this.#error("external_id", "");
    });
  }

  get isEmpty() { return this.#providers.length === 0; }

  /** Shows the providers that are ready. */
  offer(providers) {
    this.#providers = providers.filter(({ state }) => state === "ready");
    this.#at("provider").replaceChildren(...this.#providers.map(({ id, name }) => new Option(name, id)));
    if (this.isEmpty) {
      this.#error("provider", "No provider is ready on this server. Its operator enables them in the configuration.");
      return;
    }
    this.#chosen();
  }

  /** Fills in what is playing now. */
  show({ provider, media_type, external_id, season, episode }) {
    if (!this.#providers.some(({ id }) => id === provider)) return;
    this.#at("provider").value = provider;
    this.#chosen();
    this.#at("media_type").value = media_type;
    this.#typeChosen();
    this.#at("external_id").value = external_id;
    this.#at("season").value = season ?? "";
    this.#at("episode").value = episode ?? "";
  }

  /** The identity as typed, or nothing if a look shows that it cannot be right. */
  read() {
    for (const { dataset } of this.#root.querySelectorAll("[data-error]")) this.#error(dataset.error, "");
    const media_type = this.#at("media_type").value;
    const source = {
      provider: this.#at("provider").value,
      media_type,
      external_id: this.#at("external_id").value.trim(),
    };
    // Whether an id is one only its provider knows, and says so better than a pattern: that is a hint.
    this.#checkPattern();
    let complete = source.external_id !== "";
    if (media_type === "tv") {
      for (const name of ["season", "episode"]) {
        const text = this.#at(name).value.trim();
        if (/^[0-9]+$/.test(text)) {
          source[name] = Number(text);
        } else {
          this.#error(name, "A whole number is needed.");
          complete = false;
        }
      }
    }
    return complete ? source : null;
  }

  /** Puts each error beside its field, and answers those that have none here. */
  showErrors(errors = []) {
    return errors.filter(({ field, message }) => !this.#error(field, message));
  }

  get #provider() {
    return this.#providers.find(({ id }) => id === this.#at("provider").value);
  }

  #chosen() {
    const { media_types, external_id } = this.#provider;
    this.#at("media_type").replaceChildren(...media_types.map((type) => new Option(TYPES[type] ?? type, type)));
    this.#part("media_type").hidden = media_types.length === 1;
    this.#part("label").textContent = external_id.label;
    this.#at("external_id").placeholder = external_id.example;
    this.#at("external_id").value = "";
    this.#error("external_id", "");
    this.#typeChosen();
  }

  #typeChosen() {
    this.#part("numbers").hidden = this.#at("media_type").value !== "tv";
  }

  #checkPattern() {
    const value = this.#at("external_id").value.trim();
    const expected = this.#provider.external_id;
    let fits = value !== "";
    try {
      fits &&= new RegExp(expected.pattern).test(value);
    } catch {
      // A pattern this browser does not understand: the server decides.
    }
    this.#error("external_id", fits ? "" : `${expected.label}: like ${expected.example}`);
  }

  #error(field, message) {
    const place = this.#root.querySelector(`[data-error="${CSS.escape(field)}"]`);
    if (!place) return false;
    // The id's line always says something: if it came and went, the button below would move from under a click.
    const hint = field === "external_id" && this.#provider ? `Like ${this.#provider.external_id.example}` : "";
    place.textContent = message || hint;
    place.classList.toggle("hint", !message);
    const input = this.#root.querySelector(`[name="${CSS.escape(field)}"]`);
    if (message) input?.setAttribute("aria-invalid", "true");
    else input?.removeAttribute("aria-invalid");
    return true;
  }

  #at(name) { return this.#root.querySelector(`[name="${name}"]`); }
  #part(name) { return this.#root.querySelector(`[data-part="${name}"]`); }
}

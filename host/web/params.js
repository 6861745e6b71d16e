// What a person chose of the player's parameters: kept in this browser, appended to the URL in this page, never sent.
import { $, kept } from "./page.js";

const name = ({ id }) => `params.${id}`;

function offered({ render_params }, { media_type }) {
  return render_params.filter(({ managed, media_types }) => {
    return !managed && (media_types.length === 0 || media_types.includes(media_type));
  });
}

export function chosenParams(manifest, source) {
  const stored = kept.read(name(manifest), {});
  // What was chosen once may be no choice any more.
  const isOne = ({ kind, choices, name }) => kind !== "choice" || choices.includes(stored[name]);
  return Object.fromEntries(offered(manifest, source).filter(isOne).map((param) => [param.name, stored[param.name]]));
}

/** Shows a field for each; `changed` is called when one was chosen. */
export function showParams(manifest, source, changed) {
  const params = offered(manifest, source);
  $("options").hidden = params.length === 0;
  $("params").replaceChildren(...params.map((param) => field(manifest, param, changed)));
}

function field(manifest, param, changed) {
  const stored = kept.read(name(manifest), {})[param.name];
  const label = document.createElement("label");
  label.textContent = param.about;
  const input = inputFor(param);
  input.name = param.name;
  input.value = stored ?? "";
  input.addEventListener("change", () => {
    if (!input.checkValidity()) return;
    const chosen = { ...kept.read(name(manifest), {}), [param.name]: input.value };
    if (input.value === "") delete chosen[param.name];
    kept.write(name(manifest), chosen);
    changed();
  });
  label.append(input);
  return label;
}

function inputFor({ kind, choices = [] }) {
  if (kind === "boolean" || kind === "choice") {
    const select = document.createElement("select");
    const options = kind === "boolean" ? [["yes", "true"], ["no", "false"]] : choices.map((choice) => [choice, choice]);
    select.append(...[["as the player likes", ""], ...options].map(([text, value]) => new Option(text, value)));
    return select;
  }
  const input = document.createElement("input");
  input.type = kind === "integer" ? "number" : "text";
  if (kind === "hex_color") {
    input.pattern = "[0-9a-fA-F]{6}";
    input.placeholder = "7c5cff";
  }
  return input;
}

// What a complaint can be read off: how far this player is from the room, and what was done about it.
import { $, kept } from "./page.js";

const ms = (seconds) => (Number.isFinite(seconds) ? `${Math.round(seconds * 1000)} ms` : "–");

export class SyncPanel {
  /** @param {(seconds: number) => void} changed called with how far ahead of the room to be */
  constructor(changed) {
    const slider = $("offset");
    slider.value = String(kept.read("offset", 0));
    const apply = () => {
      $("offset-value").textContent = `${slider.value} ms`;
      changed(Number(slider.value) / 1000);
    };
    slider.addEventListener("input", () => {
      kept.write("offset", Number(slider.value));
      apply();
    });
    apply();
  }

  /** Only while somebody looks. */
  show({ follower, clock }) {
    if (!$("sync").open) return;
    const { controller } = follower ?? {};
    const rows = [
      ["Off by", follower ? ms(follower.isDetached ? NaN : controller.error) : "–"],
      ["Seeks, bends, speeds set", controller ? `${controller.seeks}, ${controller.bends}, ${controller.writes}` : "–"],
      ["This device takes", controller ? `${ms(controller.startCost("start"))} to start, ${ms(controller.costs.seek)} to seek` : "–"],
      ["Speed", follower ? speedText(follower) : "–"],
      ["Server's clock", clock?.isSure ? `known to ${clock.errorMs.toFixed(1)} ms` : "being measured"],
    ];
    $("sync-rows").replaceChildren(...rows.flatMap(([term, text]) => {
      const dt = document.createElement("dt");
      dt.textContent = term;
      const dd = document.createElement("dd");
      dd.textContent = text;
      return [dt, dd];
    }));
  }
}

function speedText({ rateKind, controller }) {
  if (rateKind !== "free") return "this player has no fine speeds: it is sought";
  if (controller.costs.isRateless) return "bending it did not help here: it is sought";
  return controller.isBending ? "bent at the moment" : "normal";
}

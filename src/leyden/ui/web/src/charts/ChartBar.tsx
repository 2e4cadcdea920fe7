// What holds for all charts of a page: their x, smoothing, logarithmic axes, zoom.

import type { ComponentChildren } from "preact";
import { change } from "../lib/address";
import { duration, number } from "../lib/format";
import type { XKind } from "./lines";
import { setLogs, type Settings, zoomTo } from "./settings";

const KINDS: XKind[] = ["step", "time", "epoch"];

export function ChartBar({ settings, epochs, children }: { settings: Settings; epochs: boolean; children?: ComponentChildren }) {
  const { x, smooth, xLog, yLog, zoom } = settings;
  const said = x === "time" ? duration : number;
  return (
    <div class="toolbar">
      {children}
      <label class="muted">
        x{" "}
        <select value={x} aria-label="x axis" onChange={(event) => change({ x: event.currentTarget.value, zoom: null })}>
          {KINDS.map((kind) => (
            <option key={kind} value={kind} disabled={kind === "epoch" && !epochs}>{kind}</option>
          ))}
        </select>
      </label>
      <label class="muted smoothing" title="How much of what was before is in each point; the raw values stay faintly behind">
        smooth
        <input type="range" min="0" max="0.99" step="0.01" value={smooth} aria-label="Smoothing" onInput={(event) => change({ smooth: Number(event.currentTarget.value) || null }, "replace")} />
        <span class="num">{smooth.toFixed(2)}</span>
      </label>
      <button class={xLog ? "on" : ""} aria-pressed={xLog} onClick={() => setLogs(!xLog, yLog)}>log x</button>
      <button class={yLog ? "on" : ""} aria-pressed={yLog} onClick={() => setLogs(xLog, !yLog)}>log y</button>
      {zoom && (
        <button class="on" title="Show all again (double click in a chart)" onClick={() => zoomTo(null)}>
          {said(zoom[0])} to {said(zoom[1])} ×
        </button>
      )}
    </div>
  );
}

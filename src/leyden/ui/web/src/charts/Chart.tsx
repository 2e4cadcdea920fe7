// One chart: its lines, a legend with the values under the pointer, zoom by dragging.

import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { duration, number } from "../lib/format";
import { useTheme } from "../lib/theme";
import { useWidth } from "../lib/width";
import type { Line } from "./lines";
import { columns, type Look, options, structure } from "./plot";

interface Props {
  lines: readonly Line[];
  hidden: ReadonlySet<string>;
  onHide: (id: string) => void;
  look: Look;
  height: number;
  sync: string;
  range: [number, number] | null;
  onZoom: (range: [number, number] | null) => void;
  hold?: (plot: uPlot | null) => void; // for who wants a picture of it
}

export function Chart({ lines, hidden, onHide, look, height, sync, range, onZoom, hold }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const legend = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const width = useWidth(box);
  const theme = useTheme();
  const shown = lines.filter((line) => !hidden.has(line.id));
  const now = useRef({ range, onZoom, shown, look });
  now.current = { range, onZoom, shown, look };

  useLayoutEffect(() => {
    if (!box.current || !width) return undefined;
    const made = new uPlot(
      options(shown, look, {
        width, height, sync,
        range: () => now.current.range,
        onZoom: (to) => now.current.onZoom(to),
        onCursor: (one) => tell(one, legend.current, now.current.shown, now.current.look),
      }),
      columns(shown, look),
      box.current,
    );
    plot.current = made;
    hold?.(made);
    return () => {
      plot.current = null;
      hold?.(null);
      made.destroy();
    };
  }, [structure(shown, look), width, height, theme, sync]);

  useEffect(() => {
    plot.current?.setData(columns(shown, look));
  }, [lines, [...hidden].join(), look.smooth, range?.[0], range?.[1]]);

  return (
    <>
      <div class="plot" ref={box} style={{ height: `${height}px` }} />
      <div class="legend" ref={legend}>
        {lines.map((line) => (
          <button key={line.key} data-key={line.key} class={`plain${hidden.has(line.id) ? " off" : ""}`} aria-pressed={!hidden.has(line.id)} title={line.label} onClick={() => onHide(line.id)}>
            <i class={line.dash.length ? "dashed" : ""} style={{ color: line.colour }} />
            <span>{line.label}</span>
            <b class="num" />
          </button>
        ))}
        <output class="num faint" />
      </div>
    </>
  );
}

/** Values under the pointer, written straight into the page: the pointer moves often, and moves in all charts at once. */
function tell(plot: uPlot, legend: HTMLDivElement | null, lines: readonly Line[], look: Look): void {
  if (!legend) return;
  const at = plot.cursor.idx;
  const x = at == null ? undefined : plot.data[0][at];
  const said = legend.querySelector("output");
  if (said) said.textContent = x === undefined ? "" : `${look.x} ${look.x === "time" ? duration(x) : number(x)}`;
  let column = 1;
  for (const line of lines) {
    const value = at == null ? null : near(plot.data[column] as (number | null | undefined)[], at);
    const place = legend.querySelector(`[data-key="${CSS.escape(line.key)}"] b`);
    if (place) place.textContent = value == null ? "" : look.unit(value);
    column += line.low ? 3 : look.smooth > 0 ? 2 : 1;
  }
}

/** A line without a point at this very x shows its last one before. */
function near(values: readonly (number | null | undefined)[] | undefined, at: number): number | null {
  for (let index = at; values && index >= Math.max(0, at - 200); index--) {
    const value = values[index];
    if (value !== undefined) return value;
  }
  return null;
}

// Two columns against each other, a point a run.

import { useRef, useState } from "preact/hooks";
import { ramp } from "../charts/colours";
import { go } from "../lib/address";
import { number } from "../lib/format";
import { useWidth } from "../lib/width";
import { type Dimension, type Point, share, ticks } from "./parameters";

const HIGH = 300;
const LEFT = 64;
const BOTTOM = 36;
const EDGE = 12;
const LABEL_PX = 60; // between the last label and the one before

export function ScatterPlot({ runs, x, y, colour }: { runs: readonly Point[]; x: Dimension; y: Dimension; colour: Dimension }) {
  const box = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState(-1);
  const width = useWidth(box);
  const px = (part: number): number => LEFT + part * (width - LEFT - EDGE);
  const py = (part: number): number => EDGE + (1 - part) * (HIGH - BOTTOM - EDGE);
  const said = (one: Dimension, value: number): string => (one.words ? (one.words[value] ?? "") : number(value));
  const shown = runs[at];
  return (
    <div ref={box}>
      <svg class="figure" height={HIGH} role="img" aria-label={`${y.label} over ${x.label}`}>
        {ticks(x).filter((value) => value === x.high || px(1) - px(share(x, value)) > LABEL_PX).map((value) => (
          <g key={value}>
            <line class="grid" x1={px(share(x, value))} x2={px(share(x, value))} y1={py(0)} y2={py(1)} />
            <text x={px(share(x, value))} y={HIGH - BOTTOM + 15} text-anchor={share(x, value) > 0.95 ? "end" : "middle"}>{said(x, value)}</text>
          </g>
        ))}
        {ticks(y).map((value) => (
          <g key={value}>
            <line class="grid" x1={px(0)} x2={px(1)} y1={py(share(y, value))} y2={py(share(y, value))} />
            <text x={LEFT - 6} y={py(share(y, value)) + 4} text-anchor="end">{said(y, value)}</text>
          </g>
        ))}
        <text class="name" x={width - EDGE} y={HIGH - 4} text-anchor="end">{x.label}</text>
        {runs.map((run, index) => {
          const [sx, sy] = [share(x, x.values[index]!), share(y, y.values[index]!)];
          if (!Number.isFinite(sx) || !Number.isFinite(sy)) return null;
          return (
            <circle
              key={run.id} class={index === at ? "at" : ""} cx={px(sx)} cy={py(sy)} r={4} fill={ramp(share(colour, colour.values[index]!))}
              onMouseEnter={() => setAt(index)} onMouseLeave={() => setAt(-1)} onClick={() => go(`/runs/${run.id}`)}
            />
          );
        })}
      </svg>
      <p class="muted nothing">
        {shown ? `${shown.name} ${shown.id.slice(-4)}: ${x.label} ${said(x, x.values[at]!)}, ${y.label} ${said(y, y.values[at]!)}` : `${y.label} over ${x.label}`}
      </p>
    </div>
  );
}

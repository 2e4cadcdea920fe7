// Each run a line across its parameters to what came out; drag along an axis to keep only some.

import { useRef, useState } from "preact/hooks";
import { ramp } from "../charts/colours";
import { go } from "../lib/address";
import { number } from "../lib/format";
import { useWidth } from "../lib/width";
import type { Brushes } from "./brushes";
import { type Dimension, type Point, share, ticks, valueAt } from "./parameters";

const HIGH = 330;
const TOP = 34;
const BOTTOM = 14;
const SIDE = 70;
const NEAR_END = 0.02; // the end itself is meant
const LEAST_PX = 90; // between two axes

interface Props {
  runs: readonly Point[];
  axes: readonly Dimension[];
  metric: Dimension;
  word?: string;
  brushes: Brushes;
  onBrush: (name: string, range: [number, number] | null) => void;
}

export function ParallelPlot({ runs, axes, metric, word = "runs", brushes, onBrush }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState(-1);
  const width = Math.max(useWidth(box), SIDE * 2 + LEAST_PX * (axes.length - 1));
  const x = (index: number): number => SIDE + (index * (width - 2 * SIDE)) / Math.max(1, axes.length - 1);
  const y = (part: number): number => TOP + (1 - part) * (HIGH - TOP - BOTTOM);
  const lines = runs.flatMap((run, index) => {
    const shares = axes.map((axis) => share(axis, axis.values[index]!));
    return shares.every(Number.isFinite) ? [{ run, index, shares }] : [];
  });
  const kept = lines.filter(({ shares }) => axes.every((axis, i) => within(shares[i]!, brushes[axis.name])));
  const shown = runs[at];
  return (
    <div class="scroll-x" ref={box}>
      <svg class="figure" style={{ width: `${width}px` }} height={HIGH} role="img" aria-label="parallel coordinates">
        {kept.map(({ run, index, shares }) => (
          <path
            key={run.id}
            class={`run${index === at ? " at" : ""}`}
            stroke={ramp(share(metric, metric.values[index]!))}
            d={shares.map((part, i) => `${i ? "L" : "M"}${x(i).toFixed(1)},${y(part).toFixed(1)}`).join("")}
            onMouseEnter={() => setAt(index)}
            onMouseLeave={() => setAt(-1)}
            onClick={() => go(`/runs/${run.id}`)}
          />
        ))}
        {axes.map((axis, index) => (
          <Axis key={axis.name} axis={axis} x={x(index)} y={y} brush={brushes[axis.name] ?? null} onBrush={(range) => onBrush(axis.name, range)} />
        ))}
      </svg>
      <p class="muted nothing">
        {shown ? `${shown.name} ${shown.id.slice(-4)}: ${metric.label} ${number(metric.values[at])}` : `${kept.length} of ${runs.length} ${word}. Drag along an axis to keep some; click it to keep all.`}
      </p>
    </div>
  );
}

function Axis({ axis, x, y, brush, onBrush }: {
  axis: Dimension;
  x: number;
  y: (part: number) => number;
  brush: [number, number] | null;
  onBrush: (range: [number, number] | null) => void;
}) {
  const from = useRef<number | null>(null);
  const part = (event: PointerEvent): number => {
    const top = (event.currentTarget as SVGElement).ownerSVGElement!.getBoundingClientRect().top;
    const at = 1 - (event.clientY - top - TOP) / (HIGH - TOP - BOTTOM);
    return at < NEAR_END ? 0 : at > 1 - NEAR_END ? 1 : at;
  };
  const drag = (event: PointerEvent): void => {
    if (from.current === null) return;
    const to = part(event);
    if (Math.abs(to - from.current) > 0.01) onBrush([Math.min(from.current, to), Math.max(from.current, to)]);
  };
  return (
    <g>
      <line class="axis" x1={x} x2={x} y1={y(0)} y2={y(1)} />
      <text class="name" x={x} y={16} text-anchor="middle">{axis.label.length > 18 ? `…${axis.label.slice(-17)}` : axis.label}</text>
      {ticks(axis).map((value) => (
        <text key={value} x={x + 5} y={y(share(axis, value)) + 4}>{axis.words ? axis.words[value] : number(value)}</text>
      ))}
      {brush && (
        <rect class="brush" x={x - 7} width={14} y={y(brush[1])} height={y(brush[0]) - y(brush[1])}>
          <title>{`${number(valueAt(axis, brush[0]))} to ${number(valueAt(axis, brush[1]))}`}</title>
        </rect>
      )}
      <rect
        x={x - 10} width={20} y={y(1)} height={y(0) - y(1)} fill="transparent" cursor="ns-resize"
        onPointerDown={(event) => {
          from.current = part(event);
          (event.currentTarget as SVGElement).setPointerCapture(event.pointerId);
        }}
        onPointerMove={drag}
        onPointerUp={(event) => {
          if (from.current !== null && Math.abs(part(event) - from.current) <= 0.01) onBrush(null);
          from.current = null;
        }}
      />
    </g>
  );
}

export function within(part: number, brush: [number, number] | undefined): boolean {
  return !brush || (part >= brush[0] - 1e-9 && part <= brush[1] + 1e-9);
}

// The rungs of one bracket: a column each, a dot a trial at its value there, coloured by what became of it.

import { useMemo, useRef, useState } from "preact/hooks";
import { type Dimension, share, ticks } from "../compare/parameters";
import { go } from "../lib/address";
import { number } from "../lib/format";
import { useWidth } from "../lib/width";
import { type Column, beside } from "./rungs";
import { said, type Sweep, type Trial } from "./types";

const HIGH = 336;
const [TOP, BOTTOM, LEFT, EDGE] = [56, 26, 64, 12];
const LEAST_PX = 84; // of a column: what stands above it must fit
const [SPARSE, DENSE] = [60, 300]; // trials of a column

export function RungPlot({ sweep, columns, y, metric }: { sweep: Sweep; columns: readonly Column[]; y: Dimension; metric: string }) {
  const box = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState<{ trial: Trial; column: number } | null>(null);
  const width = Math.max(useWidth(box), LEFT + EDGE + LEAST_PX * columns.length);
  const wide = (width - LEFT - EDGE) / columns.length;
  const middle = (index: number): number => LEFT + wide * (index + 0.5);
  const py = (value: number): number => TOP + (1 - share(y, value)) * (HIGH - TOP - BOTTOM);
  const most = Math.max(...columns.map((one) => one.dots.length));
  const radius = most > DENSE ? 2.5 : most > SPARSE ? 3.5 : 4.5;
  const placed = useMemo(() => columns.map(({ dots }) => beside(dots.map((dot) => py(dot.value)), radius, wide - 20)), [columns, y, wide]);
  const path = at && columns.flatMap(({ dots }, column) => {
    const index = dots.findIndex((dot) => dot.trial.number === at.trial.number);
    return index < 0 ? [] : [`${middle(column) + placed[column]![index]!},${py(dots[index]!.value)}`];
  });
  const here = at && columns[at.column]?.dots.find((dot) => dot.trial.number === at.trial.number);
  return (
    <>
      <div class="scroll-x" ref={box}>
        <svg class="figure rungs" style={{ width: `${width}px` }} height={HIGH} role="img" aria-label={`rungs: ${metric} of each trial`}>
          {ticks(y).map((value) => (
            <g key={value}>
              <line class="grid" x1={LEFT} x2={width - EDGE} y1={py(value)} y2={py(value)} />
              <text x={LEFT - 6} y={py(value) + 4} text-anchor="end">{number(value)}</text>
            </g>
          ))}
          {columns.map((one, index) => <Heading key={one.rung.resource} column={one} sweep={sweep} x={middle(index)} left={LEFT + wide * index} />)}
          {path && path.length > 1 && <path class="way" d={`M${path.join("L")}`} />}
          {columns.map(({ dots, rung }, column) => dots.map((dot, index) => (
            <circle
              key={`${rung.resource} ${dot.trial.number}`} class={`dot ${dot.standing.replace(" ", "-")}${at?.trial.number === dot.trial.number ? " at" : ""}`}
              data-trial={dot.trial.number} cx={middle(column) + placed[column]![index]!} cy={py(dot.value)} r={radius}
              onMouseEnter={() => setAt({ trial: dot.trial, column })} onMouseLeave={() => setAt(null)}
              onClick={() => dot.trial.job_id && go(`/runs/${dot.trial.job_id}`)}
            />
          )))}
        </svg>
      </div>
      <p class="muted nothing spoken">
        {at && here
          ? `Trial ${at.trial.number}: ${metric} ${number(here.value)} at ${sweep.resource} ${columns[at.column]!.rung.resource}, ${here.standing}. ${said(at.trial)}`
          : "Point at a trial to see its way and its parameters; a click opens its run."}
      </p>
    </>
  );
}

function Heading({ column, sweep, x, left }: { column: Column; sweep: Sweep; x: number; left: number }) {
  const { rung, coming } = column;
  return (
    <g>
      {left > LEFT && <line class="grid" x1={left} x2={left} y1={TOP - 46} y2={HIGH - BOTTOM} />}
      <text class="name" x={x} y={14} text-anchor="middle">{rung.reached.toLocaleString("en")} reached</text>
      <text x={x} y={29} text-anchor="middle">{rung.gone_on > 0 && `${rung.gone_on.toLocaleString("en")} gone on`}</text>
      <text x={x} y={43} text-anchor="middle">{coming > 0 && `${coming} coming`}</text>
      <text class="name" x={x} y={HIGH - 8} text-anchor="middle">{sweep.resource} {rung.resource.toLocaleString("en")}</text>
    </g>
  );
}

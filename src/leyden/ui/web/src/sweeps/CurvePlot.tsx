// How did each trial learn? A line a trial through its values at the rungs, the best one in front.

import { useMemo, useRef, useState } from "preact/hooks";
import { type Dimension, share, ticks } from "../compare/parameters";
import { go } from "../lib/address";
import { number } from "../lib/format";
import { useWidth } from "../lib/width";
import { said, type Sweep, type Trial } from "./types";

const HIGH = 320;
const CROWD = 200; // lines: fainter, so that one can be told from another
const [TOP, BOTTOM, LEFT, EDGE] = [12, 36, 64, 20];

export function CurvePlot({ sweep, trials, x, y, metric }: { sweep: Sweep; trials: readonly Trial[]; x: Dimension; y: Dimension; metric: string }) {
  const box = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState<number | null>(null);
  const width = useWidth(box);
  const px = (value: number): number => LEFT + share(x, value) * (width - LEFT - EDGE);
  const py = (value: number): number => TOP + (1 - share(y, value)) * (HIGH - TOP - BOTTOM);
  const way = (one: Trial): string => `M${one.curve.map(([resource, value]) => `${px(resource).toFixed(1)},${py(value).toFixed(1)}`).join("L")}`;
  const best = sweep.best?.number ?? null;
  const ordered = useMemo(() => [...trials].sort((a, b) => Number(a.number === best) - Number(b.number === best)), [trials, best]); // the best above all
  const pointed = trials.find((one) => one.number === at);
  const shown = pointed ?? trials.find((one) => one.number === best);
  return (
    <>
      <div ref={box}>
        <svg class={`figure curves${trials.length > CROWD ? " crowd" : ""}`} height={HIGH} role="img" aria-label={`${metric} over ${sweep.resource}s, a line a trial`}>
          {ticks(y).map((value) => (
            <g key={value}>
              <line class="grid" x1={LEFT} x2={width - EDGE} y1={py(value)} y2={py(value)} />
              <text x={LEFT - 6} y={py(value) + 4} text-anchor="end">{number(value)}</text>
            </g>
          ))}
          {x.values.map((value) => (
            <g key={value}>
              <line class="grid" x1={px(value)} x2={px(value)} y1={TOP} y2={HIGH - BOTTOM} />
              <text x={px(value)} y={HIGH - BOTTOM + 15} text-anchor="middle">{number(value)}</text>
            </g>
          ))}
          <text class="name" x={width - EDGE} y={HIGH - 4} text-anchor="end">{sweep.resource}</text>
          {ordered.map((one) => (
            <g
              key={one.number} class={`curve ${one.state}${one.number === best ? " best" : ""}`} data-trial={one.number}
              onMouseEnter={() => setAt(one.number)} onMouseLeave={() => setAt(null)} onClick={() => one.job_id && go(`/runs/${one.job_id}`)}
            >
              <path class="reach" d={way(one)} />
              <path d={way(one)} />
              <circle cx={px(one.curve.at(-1)![0])} cy={py(one.curve.at(-1)![1])} r={one.number === best ? 4 : 2.5} />
            </g>
          ))}
          {pointed && <g class="curve at"><path d={way(pointed)} /><circle cx={px(pointed.curve.at(-1)![0])} cy={py(pointed.curve.at(-1)![1])} r={4} /></g>}
        </svg>
      </div>
      <p class="muted nothing spoken">
        {shown ? `${at === null ? "The best, trial" : "Trial"} ${shown.number}: ${metric} ${number(shown.value)}, ${shown.state}. ${said(shown)}` : "Point at a line to see which trial it is; a click opens its run."}
      </p>
    </>
  );
}

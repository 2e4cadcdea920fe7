// A chart as a PNG: as it is seen, on the page's colour, with its title and what the lines are.

import type uPlot from "uplot";
import { saveBlob } from "../lib/save";
import { themed } from "./colours";
import type { Line } from "./lines";

const ROW = 18;
const EDGE = 8;
const MARK = 14;
const APART = 14;

export function savePicture(plot: uPlot, title: string, lines: readonly Line[]): void {
  const source = plot.ctx.canvas;
  const scale = source.width / source.clientWidth || 1;
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  if (!context) return;
  const small = "11px system-ui, sans-serif";
  context.font = small;
  const wide = source.width / scale;
  const places = legend(lines.map((line) => MARK + context.measureText(line.label).width), wide);
  canvas.width = source.width;
  canvas.height = source.height + (1.5 + ((places.at(-1)?.row ?? -1) + 1)) * ROW * scale;
  context.scale(scale, scale); // setting its size has reset all else
  context.fillStyle = themed("--page");
  context.fillRect(0, 0, wide, canvas.height / scale);
  context.font = "600 13px system-ui, sans-serif";
  context.fillStyle = themed("--text");
  context.fillText(title, EDGE, ROW, wide - 2 * EDGE);
  context.drawImage(source, 0, ROW * 1.3, wide, source.height / scale);
  context.font = small;
  lines.forEach((line, index) => {
    const { left, row } = places[index]!;
    const base = ROW * (1.9 + row) + source.height / scale;
    context.fillStyle = line.colour;
    context.fillRect(left, base - 5, 10, 3);
    context.fillStyle = themed("--muted");
    context.fillText(line.label, left + MARK, base, wide - left - MARK);
  });
  canvas.toBlob((blob) => blob && saveBlob(`${title}.png`, blob));
}

/** Where each of them stands, in as many rows as it takes. */
function legend(widths: readonly number[], wide: number): { left: number; row: number }[] {
  let [left, row] = [EDGE, 0];
  return widths.map((width) => {
    if (left > EDGE && left + width > wide - EDGE) [left, row] = [EDGE, row + 1];
    const place = { left, row };
    left += width + APART;
    return place;
  });
}

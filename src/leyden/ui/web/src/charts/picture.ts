// A chart as a PNG: as it is seen, on the page's colour, with its title and what the lines are.

import type uPlot from "uplot";
import { saveBlob } from "../lib/save";
import { themed } from "./colours";
import type { Line } from "./lines";

export function savePicture(plot: uPlot, title: string, lines: readonly Line[]): void {
  const source = plot.ctx.canvas;
  const scale = source.width / source.clientWidth || 1;
  const line = 18 * scale;
  const canvas = document.createElement("canvas");
  canvas.width = source.width;
  canvas.height = source.height + line * 2.4;
  const context = canvas.getContext("2d");
  if (!context) return;
  context.fillStyle = themed("--page");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.font = `600 ${13 * scale}px system-ui, sans-serif`;
  context.fillStyle = themed("--text");
  context.fillText(title, 8 * scale, line);
  context.drawImage(source, 0, line * 1.3);
  context.font = `${11 * scale}px system-ui, sans-serif`;
  let left = 8 * scale;
  for (const one of lines) {
    context.fillStyle = one.colour;
    context.fillRect(left, canvas.height - line * 0.75, 10 * scale, 3 * scale);
    context.fillStyle = themed("--muted");
    context.fillText(one.label, left + 14 * scale, canvas.height - line * 0.5);
    left += 28 * scale + context.measureText(one.label).width;
    if (left > canvas.width) break;
  }
  canvas.toBlob((blob) => blob && saveBlob(`${title}.png`, blob));
}

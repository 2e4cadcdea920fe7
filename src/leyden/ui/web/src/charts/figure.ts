// A drawn figure (SVG) as a PNG: as it is seen, on the page's colour, with its title.

import { saveBlob } from "../lib/save";
import { themed } from "./colours";

const TITLE_PX = 26;
const EDGE_PX = 8;
const LOOKS = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-linejoin", "stroke-dasharray", "paint-order", "opacity", "font-family", "font-size", "font-weight"];

/** Its looks come from the page's style sheets, which a picture of its own knows nothing of: they are written into it. */
export function saveFigure(figure: SVGSVGElement, title: string): void {
  const { width, height } = figure.getBoundingClientRect();
  const copy = figure.cloneNode(true) as SVGSVGElement;
  const drawn = figure.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((one, index) => {
    const looks = getComputedStyle(drawn[index]!);
    for (const name of LOOKS) one.setAttribute(name, looks.getPropertyValue(name));
  });
  copy.removeAttribute("style"); // which a picture may not have, as little as the page
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", String(width));
  copy.setAttribute("height", String(height));
  const href = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" }));
  const picture = new Image();
  picture.onload = () => {
    URL.revokeObjectURL(href);
    paint(picture, width, height, title);
  };
  picture.src = href;
}

function paint(picture: HTMLImageElement, width: number, height: number, title: string): void {
  const scale = Math.max(2, devicePixelRatio);
  const canvas = document.createElement("canvas");
  canvas.width = width * scale;
  canvas.height = (height + TITLE_PX) * scale;
  const context = canvas.getContext("2d");
  if (!context) return;
  context.scale(scale, scale);
  context.fillStyle = themed("--sheet");
  context.fillRect(0, 0, width, height + TITLE_PX);
  context.font = "600 13px system-ui, sans-serif";
  context.fillStyle = themed("--text");
  context.fillText(title, EDGE_PX, TITLE_PX - EDGE_PX, width - 2 * EDGE_PX);
  context.drawImage(picture, 0, TITLE_PX, width, height);
  canvas.toBlob((blob) => blob && saveBlob(`${title}.png`, blob));
}

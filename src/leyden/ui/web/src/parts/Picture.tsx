// Saves the figure of the panel that it stands in as a picture.

import { saveFigure } from "../charts/figure";

export function Picture({ title }: { title: string }) {
  const save = (event: MouseEvent): void => {
    const figure = (event.currentTarget as Element).closest("section")?.querySelector<SVGSVGElement>("svg.figure");
    if (figure) saveFigure(figure, title);
  };
  return <button class="plain" title="Save as a picture" onClick={save}>PNG</button>;
}

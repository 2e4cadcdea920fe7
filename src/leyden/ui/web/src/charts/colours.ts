// Which colour has a line? Ten that can be told apart on light and on dark, also by most who see few colours.

const COLOURS = ["#3b78d8", "#dd7f2f", "#2fa36b", "#c94f7c", "#8b6fd0", "#a8903a", "#2b9fb0", "#b5533c", "#6f7f94", "#7aa33d"];

export function colour(index: number): string {
  return COLOURS[index % COLOURS.length]!;
}

/** Of a further rank: the colour of the first, fainter with each. */
export function rankColour(index: number, rank: number): string {
  return rank > 0 ? faded(colour(index), Math.max(0.25, 0.7 - 0.1 * rank)) : colour(index);
}

/** The same colour, so much of it. */
export function faded(hex: string, share: number): string {
  return hex.slice(0, 7) + Math.round(share * 255).toString(16).padStart(2, "0");
}

/** A colour of the theme, for a canvas. */
export function themed(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** From blue over grey to orange, for a value between 0 and 1. */
export function ramp(share: number): string {
  const stops = [[43, 110, 214], [150, 160, 178], [226, 120, 36]] as const;
  const at = Math.min(1.9999, Math.max(0, share * 2));
  const [from, to] = [stops[Math.floor(at)]!, stops[Math.floor(at) + 1]!];
  const part = at - Math.floor(at);
  const mixed = from.map((value, index) => Math.round(value + (to[index]! - value) * part));
  return `rgb(${mixed.join(",")})`;
}

// What does a line of output look like? Colours that programs print; everything else of a terminal is left out.

export interface Span {
  text: string;
  class: string;
}

const ESCAPE = /\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])/g;
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/g;
const LONGEST = 10_000;

/** The text alone. */
export function plain(line: string): string {
  return (line.includes("\x1b") ? line.replace(ESCAPE, "") : line).replace(CONTROL, "");
}

/** The text in pieces of one colour each. */
export function spans(line: string): Span[] {
  const shown = line.length > LONGEST ? `${line.slice(0, LONGEST)} … (${line.length - LONGEST} more characters)` : line;
  if (!shown.includes("\x1b")) return [{ text: shown.replace(CONTROL, ""), class: "" }];
  const found: Span[] = [];
  let style = { colour: "", bold: false, dim: false };
  let at = 0;
  const push = (end: number): void => {
    const text = shown.slice(at, end).replace(CONTROL, "");
    if (text) found.push({ text, class: [style.colour, style.bold && "bold", style.dim && "dim"].filter(Boolean).join(" ") });
  };
  for (const match of shown.matchAll(ESCAPE)) {
    push(match.index);
    at = match.index + match[0].length;
    if (match[0].endsWith("m")) style = styled(style, match[0].slice(2, -1));
  }
  push(shown.length);
  return found;
}

function styled(before: { colour: string; bold: boolean; dim: boolean }, codes: string) {
  const style = { ...before };
  for (const code of codes.split(";").map(Number)) {
    if (code === 0) Object.assign(style, { colour: "", bold: false, dim: false });
    else if (code === 1) style.bold = true;
    else if (code === 2) style.dim = true;
    else if (code === 22) Object.assign(style, { bold: false, dim: false });
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) style.colour = `ansi${code % 10}`;
    else if (code === 39) style.colour = "";
  }
  return style;
}

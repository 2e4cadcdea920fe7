// Which metrics stand in one chart, and which charts come first?

export interface Grouped {
  title: string;
  names: string[];
}

/** What is the same but for the part of the data it is of stands in one chart: loss, train_loss, val/loss. */
export function grouped(names: readonly string[], together: boolean): Grouped[] {
  const found = new Map<string, string[]>();
  for (const name of names) {
    const title = together ? stem(name) : name;
    found.set(title, [...(found.get(title) ?? []), name]);
  }
  const charts = [...found].map(([title, all]) => ({ title: all.length === 1 ? all[0]! : title, names: all.sort((a, b) => part(a) - part(b) || a.localeCompare(b)) }));
  const rank = (title: string): number => (/loss|nll|perplexity/i.test(title) ? 0 : /acc|f1|auc|iou|bleu|reward|score/i.test(title) ? 1 : /^(epoch|time|lr|progress)/i.test(title) ? 3 : 2);
  return charts.sort((a, b) => rank(a.title) - rank(b.title) || weight(a.title) - weight(b.title) || a.title.localeCompare(b.title));
}

/** What is looked at most comes first: validation, then training; a test is one point. */
function weight(title: string): number {
  return [1, 0, 2][part(title)]!;
}

/** Training first, so that it has the same colour everywhere. */
function part(name: string): number {
  return /(^|[/_.])train/i.test(name) ? 0 : /(^|[/_.])val/i.test(name) ? 1 : /(^|[/_.])test/i.test(name) ? 2 : 0;
}

function stem(name: string): string {
  const system = /^system\/(?:r(?:ank)?\d+|gpu\d+)\/(.+)$/.exec(name);
  if (system) return `system/${system[1]}`;
  return name.replace(/(^|[/_.])(train|training|val|valid|validation|test)[/_.]/i, "$1").replace(/_(step|epoch)$/, "");
}

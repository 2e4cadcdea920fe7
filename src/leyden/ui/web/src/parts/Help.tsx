// Which keys are there, and how is a filter written?

const KEYS = [
  ["/", "filter"],
  ["j  k", "next, previous run"],
  ["x", "select it"],
  ["Enter", "open it"],
  ["c", "compare the selected"],
  ["Esc", "leave a field, close, select none"],
  ["?", "this page"],
] as const;

const FILTERS = [
  ["status=running", "runs in that state"],
  ["val_loss<0.3 lr>=1e-3", "both: last value of a metric, configuration"],
  ["user=ada or user=bob", "either"],
  ["name~resnet", "the name holds it"],
  ["tag=baseline", "with that tag"],
  ["not state=failed", "the others"],
  ['(a=1 or b=2) "val loss"<3', "groups; quotes around names with spaces"],
] as const;

const TABLE = [
  ["Shift click on a column", "sort by it too"],
  ["drag a column's edge", "its width; double click resets it"],
] as const;

const CHARTS = [
  ["drag", "zoom in; detail is loaded"],
  ["double click", "zoom out"],
  ["click a name in a legend", "hide or show a line, in all charts"],
  ["+", "draw another metric in it too"],
] as const;

export function Help({ onClose }: { onClose: () => void }) {
  return (
    <div class="veil" onClick={onClose}>
      <section class="sheet" role="dialog" aria-modal="true" aria-label="Help" tabIndex={-1} ref={(sheet) => sheet?.focus()} onClick={(event) => event.stopPropagation()}>
        <Part title="Keys" rows={KEYS} keys />
        <Part title="Filters" rows={FILTERS} />
        <Part title="Table" rows={TABLE} />
        <Part title="Charts" rows={CHARTS} />
        <button onClick={onClose}>Close</button>
      </section>
    </div>
  );
}

function Part({ title, rows, keys }: { title: string; rows: readonly (readonly [string, string])[]; keys?: boolean }) {
  return (
    <>
      <h2>{title}</h2>
      <dl>
        {rows.map(([what, does]) => (
          <div key={what}>
            <dt>{keys ? what.split("  ").map((one) => <kbd key={one}>{one}</kbd>) : <code>{what}</code>}</dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

// A difference between texts, as `git diff` writes it, coloured by line.

const MOST = 4000;

export function Patch({ text }: { text: string }) {
  const lines = text.replace(/\n$/, "").split("\n");
  return (
    <pre class="patch">
      {lines.slice(0, MOST).map((line, index) => (
        <span key={index} class={kind(line)}>{`${line}\n`}</span>
      ))}
      {lines.length > MOST && <span class="muted">… and {lines.length - MOST} more lines</span>}
    </pre>
  );
}

function kind(line: string): string {
  if (line.startsWith("diff ") || line.startsWith("+++") || line.startsWith("---") || line.startsWith("index ")) return "file";
  if (line.startsWith("@@")) return "place";
  return line.startsWith("+") ? "add" : line.startsWith("-") ? "del" : "";
}

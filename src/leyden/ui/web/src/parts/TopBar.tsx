// The bar above every page: where one can go, whether what is shown is live, light or dark.

import type { Liveness } from "../lib/live";
import { toggleTheme, useTheme } from "../lib/theme";
import icon from "../icon.svg";
import { Link } from "./Link";

const VIEWS = [
  ["runs", "Runs"],
  ["sweeps", "Sweeps"],
  ["cluster", "Cluster"],
  ["queue", "Queue"],
] as const;

const SAID: Record<Liveness, string> = {
  live: "Live: changes show by themselves",
  connecting: "Connecting …",
  lost: "The server does not answer; trying again",
};

export function TopBar({ path, live, onHelp }: { path: string; live: Liveness; onHelp: () => void }) {
  const theme = useTheme();
  const said = path.split("/")[1] || "runs";
  const here = said === "compare" ? "runs" : said;
  return (
    <header class="topbar">
      <Link href="/runs" class="brand">
        <img src={icon} alt="" width={18} height={18} />
        <span>Leyden</span>
      </Link>
      <nav>
        {VIEWS.map(([name, label]) => (
          <Link key={name} href={`/${name}`} class={here === name ? "here" : ""} aria-current={here === name ? "page" : undefined}>
            {label}
          </Link>
        ))}
      </nav>
      <span class="grow" />
      <span class={`liveness ${live}`} role="status" title={SAID[live]}>
        <i /> <span>{live === "live" ? "live" : live === "lost" ? "reconnecting" : ""}</span>
      </span>
      <button class="plain" title={`Switch to ${theme === "dark" ? "light" : "dark"}`} aria-label="Light or dark" onClick={toggleTheme}>
        {theme === "dark" ? "☀" : "☾"}
      </button>
      <button class="plain" title="Keys and filters (?)" aria-label="Help" onClick={onHelp}>
        ?
      </button>
    </header>
  );
}

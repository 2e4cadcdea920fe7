// Light or dark? As the system says, until somebody says otherwise.

import { useEffect, useState } from "preact/hooks";

export type Theme = "light" | "dark";

const KEY = "leyden-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();

function stored(): Theme | null {
  const said = localStorage.getItem(KEY);
  return said === "light" || said === "dark" ? said : null;
}

export function theme(): Theme {
  return stored() ?? (dark.matches ? "dark" : "light");
}

export function applyTheme(): void {
  document.documentElement.dataset["theme"] = theme();
  listeners.forEach((listener) => listener());
}

export function toggleTheme(): void {
  const other = theme() === "dark" ? "light" : "dark";
  if (other === (dark.matches ? "dark" : "light")) localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, other);
  applyTheme();
}

dark.addEventListener("change", applyTheme);

/** The theme, and again when it changes: a canvas has to be drawn anew. */
export function useTheme(): Theme {
  const [value, setValue] = useState(theme());
  useEffect(() => {
    const listener = (): void => setValue(theme());
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
  return value;
}

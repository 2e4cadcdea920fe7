// When does something that was opened over the page close? With Escape, or a click beside it.

import { useEffect } from "preact/hooks";

export function useAway(box: { current: Element | null }, open: boolean, close: () => void): void {
  useEffect(() => {
    if (!open) return undefined;
    const leave = (event: Event): void => {
      if (event instanceof KeyboardEvent ? event.key === "Escape" : !box.current?.contains(event.target as Node)) close();
    };
    addEventListener("pointerdown", leave);
    addEventListener("keydown", leave);
    return () => {
      removeEventListener("pointerdown", leave);
      removeEventListener("keydown", leave);
    };
  }, [open]);
}

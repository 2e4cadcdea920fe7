// The page that `leyden ui` opens: it gives the token for a cookie, and forgets it.

import { useEffect, useState } from "preact/hooks";
import { ask, type Fault, USER } from "../lib/api";
import { asFault } from "../lib/data";
import { Wrong } from "./messages";

export function LoginPage() {
  const [fault, setFault] = useState<Fault | null>(null);
  const [said] = useState(() => new URLSearchParams(location.hash.slice(1)));
  const token = said.get("token") ?? "";
  const enter = (given: string): void => {
    const to = new URLSearchParams(location.search).get("to") ?? "/runs";
    const headers = { Authorization: `Bearer ${given}`, "X-Leyden": "1" };
    ask("/api/session", { method: "POST", headers }).then(
      () => {
        localStorage.setItem(USER, said.get("user") ?? "");
        location.replace(/^\/(?!\/)/.test(to) ? to : "/runs");
      },
      (error: unknown) => setFault(asFault(error)),
    );
  };
  useEffect(() => {
    history.replaceState(null, "", location.pathname + location.search); // the token is in no history
    if (token) enter(token);
  }, []);
  if (token && !fault) return <div class="login quiet">Opening the dashboard …</div>;
  return (
    <div class="login">
      <h1>Leyden</h1>
      <p>
        Run <code>leyden ui</code> on the machine where the server runs: it opens this page and lets you in.
      </p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          enter(String(new FormData(event.currentTarget).get("token") ?? "").trim());
        }}
      >
        <input name="token" type="password" placeholder="or paste the server's token" autocomplete="off" />
        <button>Open</button>
      </form>
      {fault && <Wrong fault={fault} />}
    </div>
  );
}

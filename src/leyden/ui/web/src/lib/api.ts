// How is the server asked, and what becomes of an answer that says no?

/** Why something could not be done: what was asked, what was found, what to do. */
export class Fault extends Error {
  constructor(
    readonly asked: string,
    readonly found: string,
    readonly advice: string,
    readonly status = 0,
  ) {
    super(`${asked}; ${found}. ${advice}`);
  }
}

/** Where a browser keeps whose `leyden ui` opened it: a name, not a proof. */
export const USER = "leyden-user";

export type Query = Record<string, string | number | boolean | readonly string[] | null | undefined>;

/** A path with its query; lists become repeated names, what is null or undefined is left out. */
export function url(path: string, query: Query = {}): string {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (Array.isArray(value)) value.forEach((one: string) => words.append(name, one));
    else if (value !== null && value !== undefined && value !== "") words.set(name, String(value));
  }
  const text = words.toString();
  return text ? `${path}?${text}` : path;
}

/** JSON from the server. Raises Fault. */
export async function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  const answer = await ask(url(path, query), signal ? { signal } : {});
  return (await answer.json()) as T;
}

/** A change; the header says that it is no other site's. Raises Fault. */
export async function send<T>(method: string, path: string, body?: unknown): Promise<T | null> {
  const headers: Record<string, string> = { "X-Leyden": "1" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await ask(path, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  const text = await answer.text();
  return text ? (JSON.parse(text) as T) : null;
}

/** Any answer that is good. Raises Fault. */
export async function ask(path: string, options: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Fault("the server was asked", "it does not answer", "Is it running? See `leyden server status`.");
  }
  if (answer.ok) return answer;
  throw await faultOf(answer);
}

async function faultOf(answer: Response): Promise<Fault> {
  try {
    const said = (await answer.json()) as { asked?: string; found?: string; do?: string };
    if (said.asked) return new Fault(said.asked, said.found ?? "", said.do ?? "", answer.status);
  } catch {
    // no JSON: a proxy's page, or nothing
  }
  return new Fault("the server was asked", `it answered ${answer.status}`, "See server.log in LEYDEN_HOME.", answer.status);
}

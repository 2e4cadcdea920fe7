// What does the API answer? leyden/core/views.py and leyden/server/tracking say the same in Python.

/** JSON has neither NaN nor infinities: they travel as words. */
export type Num = number | "nan" | "inf" | "-inf";
export type Value = Num | string | boolean | null;

export interface Run {
  id: string;
  job_id: string | null;
  name: string;
  user: string;
  project: string;
  state: string;
  reason: string;
  created_at: number;
  started_at: number | null;
  ended_at: number | null;
  tags: string[];
  note: string;
  archived: boolean;
  devices: string[];
  progress: number | null;
  eta_s: number | null;
  values: Record<string, Value>;
}

/** Of words there is only a count. */
export interface Spread {
  count: number;
  min: Num | null;
  mean: Num | null;
  max: Num | null;
}

export interface Group {
  key: Record<string, Value>;
  count: number;
  values: Record<string, Spread>;
}

export interface RunsPage {
  total: number;
  version: number;
  rows: Run[];
  groups: Group[];
}

export interface Counted {
  name: string;
  runs: number;
}

export interface Names {
  metrics: Counted[];
  config: Counted[];
  attributes: string[];
}

export interface Metric {
  name: string;
  count: number;
  last_step: number;
  last: Num;
  least: Num;
  greatest: Num;
  ranks: number[]; // -1: the worker
}

export interface MediaName {
  kind: "image" | "table" | "histogram" | "text";
  name: string;
  steps: number[];
}

export interface Media {
  kind: MediaName["kind"];
  name: string;
  step: number;
  at: number;
  file: string;
  caption: string;
}

export type Config = { [name: string]: Config | Config[] | Value };

export interface RunDetail {
  run: Run;
  config: Config;
  summary: Config;
  metrics: Metric[];
  media: MediaName[];
  dropped_names: number;
  path: string;
}

export interface Series {
  run: string;
  name: string;
  rank: number;
  x: string;
  count: number;
  level: number; // 0: values; else min, mean and max of `per` points each
  per: number;
  steps: number[];
  times: number[];
  values: Num[];
  min: Num[];
  max: Num[];
  mean: Num[];
  nan: number;
  ordered: boolean;
  newest?: number; // time of the last point that came since
  fill?: number; // so many of them are in the last group
}

export interface Points {
  rank: number;
  steps: number[];
  times: number[];
  values: Num[];
}

/** What /api/live says of a run. */
export interface Fresh {
  points?: Record<string, Points>;
  ranks?: (Points & { name: string })[];
  reset?: boolean;
}

/** What it says of the table. */
export interface Changed {
  changed: string[];
  version: number;
  all?: boolean;
}

export interface Job {
  id: string;
  name: string;
  user: string;
  state: string;
  reason: string;
  priority: number;
  attempt: number;
  node: string;
  devices: string[];
  created_at: number;
  started_at: number | null;
  ended_at: number | null;
  exit_code: number | null;
  run_dir: string;
}

export interface Attempt {
  number: number;
  uid: string;
  node: string;
  devices: string[];
  pid: number | null;
  started_at: number | null;
  ended_at: number | null;
  exit_code: number | null;
  outcome: string;
}

export interface JobEvent {
  at: number;
  before: string;
  after: string;
  who: string;
  why: string;
}

export interface JobDetail {
  job: Job;
  spec: Config;
  code: string;
  attempts: Attempt[];
  events: JobEvent[];
  commit: { commit: string; branch: string; remote: string; changed: string[]; patch: boolean } | null;
  cost: number | null;
}

export interface FileChange {
  path: string;
  what: string;
  note: string;
  added: number;
  removed: number;
  text: string;
}

export interface Difference {
  before: string;
  after: string;
  facts: { section: string; name: string; before: string | null; after: string | null }[];
  files: FileChange[];
}

export interface Artifact {
  path: string;
  attempt: number;
  size_bytes: number;
  modified_at: number;
  sha256: string;
}

export interface Artifacts {
  artifacts: Artifact[];
  refused: { path: string; why: string }[];
  goes_at: number | null;
  gone: boolean;
}

export interface Checkpoint {
  name: string;
  epoch: number;
  step: number;
  created_at: number;
  size_bytes: number;
  metrics: Record<string, number>;
  pinned: boolean;
  names: string[];
  files: { path: string; size_bytes: number }[];
  damaged: boolean;
}

export interface GpuTop {
  index: number;
  name: string;
  memory_bytes: number;
  job: string;
  job_name: string;
  user: string;
  use_percent: number | null;
  used_bytes: number | null;
  power_w: number | null;
  idle_s: number | null;
}

export interface JobTop {
  id: string;
  name: string;
  user: string;
  devices: string[];
  started_at: number | null;
  cpu_percent: number | null;
  memory_bytes: number | null;
}

export interface Top {
  at: number;
  node: string;
  cpus: number;
  cpus_held: number;
  memory_bytes: number;
  gpus: GpuTop[];
  jobs: JobTop[];
  waiting: Job[];
  waiting_count: number;
}

export interface Waiting {
  job: Job;
  code: string;
  text: string;
  needs: Record<string, number>;
  position: number | null;
  starts_after: number | null;
  starts_before: number | null;
}

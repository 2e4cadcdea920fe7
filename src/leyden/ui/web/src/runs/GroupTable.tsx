// Runs by what they have in common: how many, and from where to where their values go.

import { number } from "../lib/format";
import type { Group, Spread, Value } from "../lib/types";
import { Link } from "../parts/Link";
import { label } from "./columns";

export function GroupTable({ groups, columns, href }: {
  groups: readonly Group[];
  columns: readonly string[];
  href: (key: Record<string, Value>) => string;
}) {
  const keys = Object.keys(groups[0]?.key ?? {});
  return (
    <div class="scroll-x groups">
      <table class="plain">
        <thead>
          <tr>
            {keys.map((name) => <th key={name}>{label(name)}</th>)}
            <th class="right">Runs</th>
            {columns.map((name) => <th key={name} class="right" title={`${name}: mean, least to greatest`}>{label(name)}</th>)}
          </tr>
        </thead>
        <tbody>
          {groups.map((group) => (
            <tr key={JSON.stringify(group.key)}>
              {keys.map((name) => <td key={name} class="key" title={said(group.key[name])}><Link href={href(group.key)}>{said(group.key[name])}</Link></td>)}
              <td class="right num">{group.count.toLocaleString("en")}</td>
              {columns.map((name) => <td key={name} class="right num"><Values of={group.values[name]} /></td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Values({ of }: { of: Spread | undefined }) {
  if (!of || of.mean === null) return null;
  if (of.min === of.max) return <>{number(of.mean)}</>;
  return <>{number(of.mean)} <span class="faint">{number(of.min)} to {number(of.max)}</span></>;
}

function said(value: Value | undefined): string {
  return value === null || value === undefined || value === "" ? "(none)" : number(value);
}

// Runs by what they have in common: how many, and from where to where their values go.

import { number } from "../lib/format";
import type { Group, Value } from "../lib/types";

export function GroupTable({ groups, columns, onOpen }: {
  groups: readonly Group[];
  columns: readonly string[];
  onOpen: (key: Record<string, Value>) => void;
}) {
  const keys = Object.keys(groups[0]?.key ?? {});
  return (
    <div class="scroll-x groups">
      <table class="plain">
        <thead>
          <tr>
            {keys.map((name) => <th key={name}>{name}</th>)}
            <th class="right">Runs</th>
            {columns.map((name) => <th key={name} class="right">{name} <span class="faint">least · mean · greatest</span></th>)}
          </tr>
        </thead>
        <tbody>
          {groups.map((group) => (
            <tr key={JSON.stringify(group.key)} class="open" onClick={() => onOpen(group.key)}>
              {keys.map((name) => <td key={name}><a>{said(group.key[name])}</a></td>)}
              <td class="right num">{group.count.toLocaleString("en")}</td>
              {columns.map((name) => {
                const value = group.values[name];
                return (
                  <td key={name} class="right num">
                    {value && value.mean !== null && <><span class="faint">{number(value.min)} · </span>{number(value.mean)}<span class="faint"> · {number(value.max)}</span></>}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function said(value: Value | undefined): string {
  return value === null || value === undefined || value === "" ? "(none)" : number(value);
}

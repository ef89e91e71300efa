/** Adopted as a constructed sheet: no Content-Security-Policy stands in its way. */
export const STYLE = `
:host {
  --back: #ffffffee; --ink: #16202e; --dim: #66758a; --line: #16202e1c;
  --peers: #12a150; --origin: #8b9cb3; --cache: #5b8def; --warn: #c2790a;
  all: initial; position: fixed; right: 16px; bottom: 16px; z-index: 2147483647;
  font: 13px/1.45 system-ui, sans-serif; color: var(--ink);
}
@media (prefers-color-scheme: dark) {
  :host {
    --back: #111826f0; --ink: #e8eef7; --dim: #93a2b8; --line: #e8eef724;
    --peers: #35d07f; --origin: #64748b; --cache: #7aa5ff; --warn: #f0b04a;
  }
}
@media print { :host { display: none } }
* { box-sizing: border-box }
section {
  width: 304px; max-width: calc(100vw - 32px);
  background: var(--back); border: 1px solid var(--line); border-radius: 14px;
  box-shadow: 0 10px 34px #0000002e; backdrop-filter: blur(8px); overflow: hidden;
}
header {
  display: flex; align-items: center; gap: 8px; width: 100%; padding: 11px 14px;
  border: 0; background: none; color: inherit; font: inherit; cursor: pointer; text-align: left;
}
header:focus-visible { outline: 2px solid var(--cache); outline-offset: -3px; border-radius: 14px }
header b { font-weight: 650; letter-spacing: .01em }
header i { width: 8px; height: 8px; border-radius: 50%; background: var(--origin); flex: none }
section[data-state=peers] header i { background: var(--peers) }
section[data-state=direct] header i { background: var(--warn) }
header span { margin-left: auto; font-variant-numeric: tabular-nums; font-weight: 650 }
section[data-state=peers] header span { color: var(--peers) }
main { padding: 0 14px 14px; display: grid; gap: 10px }
section[data-folded] main { display: none }
p { margin: 0; color: var(--dim) }
canvas { display: block; width: 100%; border-radius: 6px }
.graph { height: 56px; background: var(--line) }
.map { height: 16px }
dl { margin: 0; display: grid; grid-template-columns: 1fr auto; gap: 3px 12px }
dt { color: var(--dim); display: flex; align-items: center; gap: 7px }
dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums }
.key::before { content: ""; width: 8px; height: 8px; border-radius: 2px; background: var(--c) }
.peers { --c: var(--peers) } .origin { --c: var(--origin) } .cache { --c: var(--cache) }
h2 {
  margin: 2px 0 4px; font: inherit; color: var(--dim);
  white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
}
`;

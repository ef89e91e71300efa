import { readdirSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { expect, it } from "vitest";
// @ts-expect-error -- plain JavaScript, read by the build as it is
import * as build from "../mangled.mjs";
import { buildReport } from "../src/report";

const { MANGLED } = build as { MANGLED: RegExp };
const root = join(import.meta.dirname, "..");

/** What the browser's objects look like to us, beside TypeScript's own library. */
const BROWSERS = [
  ...["Playback", "Connection", "Network", "Scope", "Clients", "Client"],
  ...["ExtendableEvent", "InstallEvent", "FetchEvent", "ExtendableMessageEvent"],
];

it("the build shortens no name that the server knows", () => {
  // Media events are the names of handlers in playtimes.ts.
  const names = ["play", "waiting", "playing", "timeupdate", "pause", "seeking"];
  const content = {
    ...{ url: "", key: "", size: 1, segments: 1, held: 1, peers: 1, fromPeers: 1, fromOrigin: 1 },
    ...{ fromCache: 1, uploaded: 1, rejected: 1, stalls: 1, causes: {} },
  };
  const engine = { id: "", transport: "none" as const, peers: [], contents: [content] };
  const times = { startupMs: 1, stallMs: 1, watchedS: 1 };
  const report = buildReport({ engine, times: () => times, direct: {} }, "view", 1, 0, false);
  names.push(...Object.keys(report), ...Object.keys(content), ...Object.keys(times));
  names.push(...Object.keys(report.contents[0] ?? {}));
  expect(names.filter((name) => MANGLED.test(name))).toEqual([]);
});

it("the build shortens no name that the browser knows", () => {
  const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => join(root, "src", name));
  const { options } = ts.parseJsonConfigFileContent(
    ts.readConfigFile(join(root, "tsconfig.json"), (name) => ts.sys.readFile(name)).config,
    ts.sys,
    root,
  );
  const program = ts.createProgram(files, options);
  const checker = program.getTypeChecker();
  const wrong: string[] = [];
  const described = new Set<string>();

  const isOurs = (symbol: ts.Symbol | undefined): boolean =>
    (symbol?.declarations ?? []).every((d) => files.includes(d.getSourceFile().fileName));
  const at = (node: ts.Node, name: string): string => {
    const file = node.getSourceFile();
    const { line } = file.getLineAndCharacterOfPosition(node.getStart());
    return `${file.fileName.slice(root.length)}:${String(line + 1)} ${name}`;
  };
  function visit(node: ts.Node): void {
    if (ts.isPropertyAccessExpression(node) && MANGLED.test(node.name.text)) {
      if (!isOurs(checker.getSymbolAtLocation(node.name))) wrong.push(at(node, node.name.text));
    } else if (ts.isObjectBindingPattern(node)) {
      const type = checker.getTypeAtLocation(node.parent);
      for (const { name, propertyName } of node.elements) {
        const key = (propertyName ?? name).getText();
        if (MANGLED.test(key) && !isOurs(type.getProperty(key))) wrong.push(at(node, key));
      }
    } else if (ts.isInterfaceDeclaration(node) && BROWSERS.includes(node.name.text)) {
      described.add(node.name.text);
      for (const { name } of node.members)
        if (name && MANGLED.test(name.getText())) wrong.push(at(node, name.getText()));
    }
    ts.forEachChild(node, visit);
  }
  for (const file of program.getSourceFiles()) if (files.includes(file.fileName)) visit(file);
  expect([...described].sort()).toEqual([...BROWSERS].sort());
  expect(wrong).toEqual([]);
});

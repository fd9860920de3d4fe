import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const ROOT = new URL("../../frontend/", import.meta.url);
const NAMES = readdirSync(ROOT, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => `${entry.parentPath ?? entry.path}/${entry.name}`);
const FILES = new Map(NAMES.map((name) => [name, readFileSync(name, "utf-8")]));
const scripts = [...FILES].filter(([name]) => name.endsWith(".js"));
const html = [...FILES].find(([name]) => name.endsWith("index.html"))[1];

test("only types the server knows", () => {
  for (const name of FILES.keys()) assert.match(name, /\.(html|js|css|svg)$|airlock\.d\.ts$/);
});

test("all that a browser of the page fetches is small, as it stands in the repository", () => {
  const loaded = [...FILES].filter(([name]) => !name.endsWith(".d.ts"));
  const size = loaded.reduce((sum, [, text]) => sum + Buffer.byteLength(text), 0);
  assert.ok(size < 80_000, `${size} bytes`);
});

test("nothing is inline: no script text, style, or event handler", () => {
  assert.doesNotMatch(html, /<style|\sstyle=|\son\w+=|=\s*["']javascript:/i);
  for (const [, attributes, body] of html.matchAll(/<script([^>]*)>([^]*?)<\/script>/g)) {
    assert.match(attributes, /\ssrc="/);
    assert.equal(body, "");
  }
});

test("no script makes markup, code, or styles out of text", () => {
  const forbidden =
    /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\s*["'](?:style|on)|srcdoc|createContextualFragment/;
  for (const [name, text] of scripts) assert.doesNotMatch(text, forbidden, name);
});

test("nothing comes from or goes to another place", () => {
  for (const [name, text] of FILES) {
    const elsewhere = text.replaceAll("http://www.w3.org/2000/svg", "").match(/https?:\/\/(?!\$\{location)[\w]/);
    assert.equal(elsewhere, null, name);
  }
});

test("nothing is stored or written to the console", () => {
  for (const [name, text] of scripts) {
    assert.doesNotMatch(text, /localStorage|sessionStorage|indexedDB|document\.cookie|console\./, name);
  }
});

test("the page has exactly the one placeholder the server fills in", () => {
  assert.deepEqual([...html.matchAll(/{{\w+}}/g)].map(String), ["{{provider}}"]);
});

test("every element a script asks for is there, once", () => {
  const ids = [...html.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const [, text] of scripts) {
    for (const [, name, quoted] of text.matchAll(/\bpage(?:\.(\w+)|\["([^"]+)"\])/g)) assert.ok(ids.includes(name ?? quoted), name ?? quoted);
  }
});

// node agents_node.mjs JOB: one conversation by the Agents SDK's build for Node; the outcome is one line of JSON.

import { readFileSync } from "node:fs";
import * as sdk from "@openai/agents-realtime";
import { hold } from "./agents.mjs";

const job = JSON.parse(readFileSync(process.argv[2], "utf8"));
try {
  console.log(JSON.stringify(await hold(sdk, job)));
} catch (error) {
  console.log(JSON.stringify({ refused: { code: error?.error?.code ?? null, message: String(error?.message ?? error) } }));
}
process.exit(0);

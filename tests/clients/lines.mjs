// An application of Node is a process: each line of its input is a job, each line of its output what came of it.

import { createInterface } from "node:readline";

export async function holdEach(hold) {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await hold(JSON.parse(line)))}\n`);
  }
}

// node agents_node.mjs: conversations by the Agents SDK's build for Node.

import * as sdk from "@openai/agents-realtime";
import { hold } from "./agents.mjs";
import { holdEach } from "./lines.mjs";

await holdEach((job) => hold(sdk, job));

// node openai_node.mjs JOB: one conversation by openai-node; the outcome is printed as one line of JSON.

import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { Conversation } from "./conversation.mjs";

const job = JSON.parse(readFileSync(process.argv[2], "utf8"));
const client = new OpenAI({ apiKey: job.token, baseURL: job.base_url });
const Transport = { ws: OpenAIRealtimeWS, websocket: OpenAIRealtimeWebSocket }[job.transport];
const realtime = new Transport({ model: job.model }, client);

// What an application sees of a refusal: the listener's error, then the close.
const closed = new Promise((resolve) => {
  const listen = realtime.socket.on?.bind(realtime.socket) ?? realtime.socket.addEventListener.bind(realtime.socket);
  listen("close", (event) => resolve(event.code ?? event));
});

try {
  console.log(JSON.stringify(await new Conversation(realtime, job).hold()));
  realtime.close();
} catch (error) {
  realtime.on("error", () => {});
  const told = { refused: { code: error.code ?? error.error?.code ?? null, message: error.message, close: await closed } };
  console.log(JSON.stringify(told));
}

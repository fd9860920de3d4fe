// node openai_node.mjs ws|websocket: conversations by openai-node, over one of its transports.

import OpenAI from "openai";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { Conversation } from "./conversation.mjs";
import { holdEach } from "./lines.mjs";

const native = process.argv[2] === "websocket";
const Transport = native ? OpenAIRealtimeWebSocket : OpenAIRealtimeWS;

await holdEach(async (job) => {
  const realtime = new Transport({ model: job.model }, new OpenAI({ apiKey: job.token, baseURL: job.base_url }));
  const closed = new Promise((resolve) => {
    realtime.socket.addEventListener("close", ({ code, reason }) => resolve([code, reason]));
  });
  try {
    return await new Conversation(realtime, job).hold();
  } catch (error) {
    const code = error.error?.code ?? null;
    // Of an upgrade that failed Node's own WebSocket never says why, and says that differently from version to version.
    const message = code || native ? null : error.message;
    return { refused: { by: "error", code, message, close: code ? await closed : null } };
  } finally {
    realtime.close();
  }
});

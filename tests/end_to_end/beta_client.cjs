/**
 * OpenAI's Node client by one of its beta helpers, moved from outside: each line of input is an event to send, each line
 * of output something that its helper told. Arguments: the helper ("ws", "websocket" or "azure"), the address, the model.
 * The token comes in the environment. CommonJS, whose packages may also lie where NODE_PATH says.
 */
const { createInterface } = require("node:readline");
const { AzureOpenAI, OpenAI } = require("openai");
const { OpenAIRealtimeWS } = require("openai/beta/realtime/ws");
const { OpenAIRealtimeWebSocket } = require("openai/beta/realtime/websocket");
const { WebSocket } = require("ws");

// Node has a WebSocket of its own only from 22 on; this one knows the same constructor and events.
globalThis.WebSocket = WebSocket;

const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

async function open(helper, address, model) {
  const apiKey = process.env.SESSION_TOKEN;
  if (helper === "azure") {
    const client = new AzureOpenAI({ apiKey, endpoint: address, apiVersion: "2025-04-01-preview", deployment: model });
    return OpenAIRealtimeWS.azure(client);
  }
  const client = new OpenAI({ apiKey, baseURL: address, dangerouslyAllowBrowser: true });
  return helper === "ws"
    ? new OpenAIRealtimeWS({ model }, client)
    : new OpenAIRealtimeWebSocket({ model }, client);
}

async function main() {
  const connection = await open(...process.argv.slice(2));
  const { socket } = connection;
  connection.on("event", tell);
  connection.on("error", (error) => tell({ type: "failed", code: error.error?.code ?? null, message: error.message }));
  socket.addEventListener("close", ({ code, reason }) => {
    tell({ type: "closed", code, reason });
    process.exit();
  });
  socket.addEventListener("open", () => {
    const lines = createInterface({ input: process.stdin });
    lines.on("line", (line) => connection.send(JSON.parse(line)));
    lines.on("close", () => connection.close());
  });
}

main();

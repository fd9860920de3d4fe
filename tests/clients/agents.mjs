// Four conversations as an application of OpenAI's Agents SDK holds them, in Node and, from the same file, in a browser.
// `sdk` is the package's exports; jobs and outcomes are those of job.py.

const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const base64 = (pieces) =>
  btoa(pieces.map((piece) => Array.from(new Uint8Array(piece), (byte) => String.fromCharCode(byte)).join("")).join(""));

export async function hold(sdk, job) {
  const outcome = { said: "", called: null, endings: [], truncated_ms: null };
  const heard = [];
  const weather = sdk.tool({
    name: "get_weather",
    description: "Tells the weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: true },
    strict: false,
    execute: async (given) => {
      outcome.called = ["get_weather", given];
      return "sunny";
    },
  });
  const agent = new sdk.RealtimeAgent({ name: "guide", instructions: "The agent's own instructions.", tools: [weather] });
  const transport = new sdk.OpenAIRealtimeWebSocket({ url: job.url });
  const session = new sdk.RealtimeSession(agent, { transport, model: job.model });
  const failed = new Promise((_, reject) => session.on("error", ({ error }) => reject(error)));
  failed.catch(() => {});
  const disconnected = new Promise((resolve) => {
    transport.on("connection_change", (status) => status === "disconnected" && resolve());
  });
  session.on("audio", ({ data }) => heard.push(data));
  transport.on("*", (event) => {
    if (event.type === "response.output_audio_transcript.done") outcome.said = event.transcript;
    if (event.type === "response.done") {
      outcome.endings.push([event.response.status, event.response.status_details?.reason ?? null]);
    }
    if (event.type === "conversation.item.truncated") outcome.truncated_ms = event.audio_end_ms;
  });

  const until = (listen) => Promise.race([failed, new Promise(listen)]);
  const answered = (number) =>
    until((resolve) => {
      transport.on("*", (event) => {
        if (event.type === "response.done" && event.response.status === "completed" && --number === 0) resolve();
      });
    });
  const speak = () => {
    for (const audio of job.speech) session.sendAudio(bytes(audio).buffer);
  };
  const conversations = {
    wait: () => failed,
    text: async () => {
      session.sendMessage("Good day");
      await answered(1);
    },
    voice: async () => {
      speak();
      await answered(1);
    },
    function: async () => {
      session.sendMessage('call get_weather {"city": "Oslo"}');
      await answered(2);
    },
    interruption: async () => {
      session.sendMessage("count to ninety");
      await until((resolve) => session.once("audio", resolve));
      const interrupted = until((resolve) => session.once("audio_interrupted", resolve));
      const truncated = until((resolve) => {
        transport.on("*", (event) => event.type === "conversation.item.truncated" && resolve());
      });
      speak();
      await Promise.all([interrupted, truncated, answered(1)]);
    },
  };

  let by = "connect() rejects";
  try {
    await session.connect({ apiKey: job.token });
    by = "error";
    await conversations[job.conversation]();
    const history = session.history.map((item) => [item.type, item.role ?? item.name]);
    return { ...outcome, heard: base64(heard), history };
  } catch (error) {
    await disconnected;
    // Either the service's event, or the WebSocket's own, which has a message in Node only.
    const code = error.error?.code ?? null;
    return { refused: { by, code, message: code ? null : (error.message ?? null) } };
  } finally {
    session.close();
  }
}

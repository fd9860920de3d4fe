// Four conversations as an application of OpenAI's Agents SDK holds them, in Node and, from the same file, in a browser.
// `sdk` is the package's exports; `job` is what clients.py wrote.

export async function hold(sdk, job) {
  const outcome = { said: "", heard_bytes: 0, called: null, status: null, truncated_ms: null };
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
  const agent = new sdk.RealtimeAgent({ name: "guide", instructions: "Say what I say.", tools: [weather] });
  const transport = new sdk.OpenAIRealtimeWebSocket({ url: job.url });
  const session = new sdk.RealtimeSession(agent, { transport, model: job.model });
  const failure = new Promise((_, reject) => session.on("error", ({ error }) => reject(error)));
  failure.catch(() => {});
  const next = (type) =>
    Promise.race([failure, new Promise((resolve) => session.transport.on(type, resolve))]);
  session.on("audio", ({ data }) => { outcome.heard_bytes += data.byteLength; });
  session.transport.on("*", (event) => {
    if (event.type === "response.output_audio_transcript.done") outcome.said = event.transcript;
    if (event.type === "response.done") outcome.status = [event.response.status, event.response.status_details?.reason];
    if (event.type === "conversation.item.truncated") outcome.truncated_ms = event.audio_end_ms;
  });
  const answers = (number) =>
    Promise.race([
      failure,
      new Promise((resolve) => {
        let left = number;
        session.transport.on("*", (event) => {
          if (event.type === "response.done" && event.response.status === "completed" && --left === 0) resolve();
        });
      }),
    ]);
  const speak = () => {
    for (const audio of job.speech) {
      session.sendAudio(Uint8Array.from(atob(audio), (character) => character.charCodeAt(0)).buffer);
    }
  };

  await session.connect({ apiKey: job.token });
  const conversations = {
    async text() {
      const answered = answers(1);
      session.sendMessage("Good day");
      await answered;
    },
    async voice() {
      const answered = answers(1);
      speak();
      await answered;
    },
    async function() {
      const answered = answers(2);
      session.sendMessage('call get_weather {"city": "Oslo"}');
      await answered;
    },
    async interruption() {
      const heard = next("audio");
      session.sendMessage("count to ninety");
      await heard;
      const answered = answers(1);
      const truncated = next("conversation.item.truncated");
      const interrupted = new Promise((resolve) => session.on("audio_interrupted", resolve));
      speak();
      await Promise.all([interrupted, answered]);
      await truncated;
    },
  };
  await conversations[job.conversation]();
  outcome.history = session.history.map((item) => [item.type, item.role ?? item.name, item.status]);
  session.close();
  return outcome;
}

// Four conversations as an application of OpenAI's own JavaScript client holds them, over whichever of its transports.
// `realtime` is an OpenAIRealtimeWS or OpenAIRealtimeWebSocket; jobs and outcomes are those of job.py.

const base64 = (pieces) => Buffer.concat(pieces).toString("base64");

export class Conversation {
  constructor(realtime, job) {
    this.realtime = realtime;
    this.job = job;
    this.heard = [];
    this.outcome = { said: "", called: null, endings: [], truncated_ms: null };
    // Without a listener an error would end the process.
    this.failed = new Promise((_, reject) => realtime.on("error", reject));
    this.failed.catch(() => {});
    realtime.on("response.output_audio.delta", (event) => this.heard.push(Buffer.from(event.delta, "base64")));
    realtime.on("response.output_audio_transcript.done", (event) => {
      this.outcome.said = event.transcript;
    });
    realtime.on("response.done", ({ response }) => {
      this.outcome.endings.push([response.status, response.status_details?.reason ?? null]);
    });
  }

  async hold() {
    await this.next("session.created");
    await this[this.job.conversation]();
    return { ...this.outcome, heard: base64(this.heard) };
  }

  next(type) {
    return Promise.race([this.failed, new Promise((resolve) => this.realtime.on(type, resolve))]);
  }

  wait() {
    return this.failed;
  }

  async text() {
    this.type("Good day");
    await this.answer();
  }

  async voice() {
    const done = this.next("response.done");
    this.speak();
    await done;
  }

  async function() {
    this.type('call get_weather {"city": "Oslo"}');
    const calling = this.next("response.function_call_arguments.done");
    await this.answer();
    const { name, arguments: given, call_id } = await calling;
    this.outcome.called = [name, JSON.parse(given)];
    this.realtime.send({
      type: "conversation.item.create",
      item: { type: "function_call_output", call_id, output: "sunny" },
    });
    await this.answer();
  }

  async interruption() {
    this.type("count to ninety");
    const first = this.next("response.output_audio.delta");
    this.realtime.send({ type: "response.create" });
    const { item_id } = await first;
    const cancelled = this.next("response.done");
    this.speak();
    await cancelled;
    const truncated = this.next("conversation.item.truncated");
    const answered = this.next("response.done");
    this.realtime.send({ type: "conversation.item.truncate", item_id, content_index: 0, audio_end_ms: 10 });
    this.outcome.truncated_ms = (await truncated).audio_end_ms;
    await answered;
  }

  type(text) {
    this.realtime.send({
      type: "conversation.item.create",
      item: { type: "message", role: "user", content: [{ type: "input_text", text }] },
    });
  }

  speak() {
    for (const audio of this.job.speech) this.realtime.send({ type: "input_audio_buffer.append", audio });
  }

  async answer() {
    const done = this.next("response.done");
    this.realtime.send({ type: "response.create" });
    await done;
  }
}

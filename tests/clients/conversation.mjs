// Four conversations as an application of OpenAI's own JavaScript client holds them, over whichever of its transports.
// `realtime` is an OpenAIRealtimeWS or OpenAIRealtimeWebSocket; `job` is what clients.py wrote.

export class Conversation {
  constructor(realtime, job) {
    this.realtime = realtime;
    this.job = job;
    this.outcome = { said: "", heard_bytes: 0, called: null, status: null, truncated_ms: null };
    realtime.on("response.output_audio.delta", (event) => {
      this.outcome.heard_bytes += Buffer.from(event.delta, "base64").length;
    });
    for (const type of ["response.output_text.done", "response.output_audio_transcript.done"]) {
      realtime.on(type, (event) => { this.outcome.said = event.text ?? event.transcript; });
    }
  }

  async hold() {
    await this.next("session.created");
    await this[this.job.conversation]();
    return this.outcome;
  }

  next(type) {
    return new Promise((resolve, reject) => {
      this.realtime.on(type, resolve);
      this.realtime.on("error", reject);
    });
  }

  async text() {
    this.type("Good day");
    await this.answer();
  }

  async voice() {
    this.speak();
    await this.answer({ asked: true });
  }

  async function() {
    this.type('call get_weather {"city": "Oslo"}');
    const called = this.next("response.function_call_arguments.done");
    await this.answer();
    const { name, arguments: given, call_id } = await called;
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
    const over = this.done();
    this.speak();
    this.outcome.status = [(await over).status, (await over).status_details.reason];
    const truncated = this.next("conversation.item.truncated");
    const answered = this.done();
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

  async done() {
    return (await this.next("response.done")).response;
  }

  async answer({ asked = false } = {}) {
    const done = this.done();
    if (!asked) this.realtime.send({ type: "response.create" });
    this.outcome.status = [(await done).status];
  }
}

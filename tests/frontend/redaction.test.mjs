import assert from "node:assert/strict";
import { test } from "node:test";

import { redacted } from "../../frontend/redaction.js";

const AUDIO = Buffer.alloc(1920, 7).toString("base64");

test("audio is told by its size, whichever way it goes", () => {
  for (const event of [
    { type: "input_audio_buffer.append", audio: AUDIO },
    { type: "response.output_audio.delta", item_id: "i", delta: AUDIO },
    { type: "conversation.item.create", item: { content: [{ type: "input_audio", audio: AUDIO }] } },
  ]) {
    assert.ok(!redacted(event).includes(AUDIO.slice(0, 20)));
    assert.match(redacted(event), /\(1920 bytes of audio\)/);
  }
});

test("secrets are hidden by their name and by their shape", () => {
  const token = "ek_0123456789abcdef";
  const event = { type: "x", client_secret: { value: "abc" }, authorization: "Bearer abc", api_key: "abc", text: `use ${token} or sk-abcdefghijk` };
  const shown = redacted({ ...event, nested: [{ header: "Bearer eyJhbGciOi.eyJzdWIi.c2ln" }] });
  for (const secret of [token, "abc", "sk-", "eyJ"]) assert.ok(!shown.includes(secret), shown);
});

test("words stay, pictures and long texts do not", () => {
  assert.match(redacted({ type: "response.output_audio_transcript.delta", delta: "Good day" }), /Good day/);
  assert.doesNotMatch(redacted({ type: "x", image_url: `data:image/png;base64,${AUDIO}` }), /BwcH/);
  assert.ok(redacted({ type: "x", text: "long ".repeat(1000) }).length < 400);
});

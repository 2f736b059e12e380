// OpenAI's other API, /v1/responses, through its SDK for Node.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import OpenAI from 'openai';

const { SERVICE_URL, IMPATIENT_URL } = process.env;
const input = 'Why is the sky blue?';
const clientOf = (url) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'any', maxRetries: 0 });
const client = clientOf(SERVICE_URL);
const hasty = clientOf(IMPATIENT_URL);

const deltasOf = (events) => events
  .filter((event) => event.type === 'response.output_text.delta')
  .map((event) => event.delta).join('');

test('a response has the text of its stream', async () => {
  const whole = await client.responses.create({ model: 'fanout', input });
  const events = await Array.fromAsync(
    await client.responses.create({ model: 'fanout', input, stream: true }),
  );
  assert.equal(whole.status, 'completed');
  assert.equal(deltasOf(events), whole.output_text);
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
});

test('the stream helper tells the final response', async () => {
  const stream = client.responses.stream({ model: 'fanout', input });
  let heard = '';
  stream.on('response.output_text.delta', (event) => { heard += event.delta; });
  assert.equal((await stream.finalResponse()).output_text, heard);
});

test('a response in the background is polled', async () => {
  let response = await hasty.responses.create({ model: 'steady', input, background: true });
  for (const deadline = Date.now() + 30_000; response.status === 'in_progress';) {
    assert.ok(Date.now() < deadline, 'it never ended');
    await sleep(50);
    response = await hasty.responses.retrieve(response.id);
  }
  assert.equal(response.status, 'completed');
  assert.equal(response.output_text.split(/\s+/).length, 80);
});

test('a stream in the background goes on where it was left', async () => {
  const events = [];
  const stream = await hasty.responses.create({
    model: 'steady', input, background: true, stream: true,
  });
  for await (const event of stream) {
    events.push(event);
    if (events.length === 20) break;
  }
  const { id } = events[0].response;
  const left = events.at(-1).sequence_number;
  const rest = await hasty.responses.retrieve(id, { stream: true, starting_after: left });
  for await (const event of rest) events.push(event);
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  assert.equal(events.at(-1).type, 'response.completed');
});

test('a response goes on where the one before ended', async () => {
  const first = await client.responses.create({ model: 'agent/plain', input: 'About tides.' });
  const second = await client.responses.create({
    model: 'agent/plain', input: 'And the moon?', previous_response_id: first.id,
  });
  assert.match(second.output_text, /tides/i);
});

test('a response is cancelled', async () => {
  const begun = await client.responses.create({
    model: 'agent/endless', input, background: true,
  });
  assert.equal((await client.responses.cancel(begun.id)).status, 'cancelled');
});

test('a function is called and its output answered', async () => {
  const asked = {
    model: 'agent/caller',
    tools: [{
      type: 'function', name: 'get_weather', strict: false,
      parameters: { type: 'object', properties: { city: { type: 'string' } } },
    }],
  };
  const first = await client.responses.create({ ...asked, input });
  const [call] = first.output;
  assert.deepEqual(JSON.parse(call.arguments), { city: input });
  const output = { type: 'function_call_output', call_id: call.call_id, output: 'Sunny.' };
  const second = await client.responses.create({
    ...asked, input: [{ role: 'user', content: input }, ...first.output, output],
  });
  assert.match(second.output_text, /Sunny\./);
});

test('errors have the kind of their status', async () => {
  const kinds = [
    [{ model: 'gpt-unknown' }, OpenAI.NotFoundError],
    [{ tools: [{ type: 'web_search' }] }, OpenAI.BadRequestError],
    [{ model: 'agent/broken' }, OpenAI.InternalServerError],
  ];
  for (const [fields, kind] of kinds) {
    for (const stream of [false, true]) {
      const asking = client.responses.create({ model: 'fanout', input, stream, ...fields });
      await assert.rejects(asking, (error) => error instanceof kind);
    }
  }
});

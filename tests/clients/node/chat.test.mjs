// OpenAI's SDK for Node, as its users have it, with only `baseURL` changed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import OpenAI from 'openai';

const { SERVICE_URL, IMPATIENT_URL, MODELS_URL } = process.env;
const PATIENCE_MS = 30_000;
const messages = [{ role: 'user', content: 'Why is the sky blue?' }];
const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    parameters: { type: 'object', properties: { city: { type: 'string' } } },
  },
};

const clientOf = (url) =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey: 'any', maxRetries: 0, timeout: PATIENCE_MS });
const client = clientOf(SERVICE_URL);
const hasty = clientOf(IMPATIENT_URL);

async function streamed(fields = {}, from = client) {
  const asked = { model: 'fanout', messages, stream: true, ...fields };
  return Array.fromAsync(await from.chat.completions.create(asked));
}

const textOf = (chunks) => chunks.map((c) => c.choices[0]?.delta.content ?? '').join('');

async function openCalls() {
  return (await (await fetch(`${MODELS_URL}/stats`)).json()).open_streams;
}

async function until(condition) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, 'it never came to that');
    await sleep(20);
  }
}

async function errorOf(promise, kind) {
  const error = await promise.then(() => assert.fail('it was answered'), (error) => error);
  assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
  return error;
}

test('a completion is the answer of the run, with the usage of all agents', async () => {
  const asked = client.chat.completions.create({ model: 'fanout', messages });
  const { data, response } = await asked.withResponse();
  const id = response.headers.get('x-run-id');
  const run = await (await fetch(`${SERVICE_URL}/api/runs/${id}`)).json();
  assert.equal(data.choices[0].message.content, run.answer);
  assert.equal(data.choices[0].finish_reason, 'stop');
  assert.equal(data.usage.completion_tokens, 70);
});

test('a stream has the role first, the reason last, and the same text', async () => {
  const chunks = await streamed();
  const whole = await client.chat.completions.create({ model: 'fanout', messages });
  assert.equal(textOf(chunks), whole.choices[0].message.content);
  assert.equal(chunks[0].choices[0].delta.role, 'assistant');
  assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
  assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
});

test('usage comes last when it is asked for', async () => {
  const chunks = await streamed({ stream_options: { include_usage: true } });
  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.completion_tokens, 70);
  assert.ok(chunks.every((c) => c.usage === null));
});

test('the stream helper tells the content and the final completion', async () => {
  const helper = client.chat.completions.stream({ model: 'fanout', messages });
  let heard = '';
  helper.on('content', (delta) => { heard += delta; });
  const final = await helper.finalChatCompletion();
  assert.equal(heard, final.choices[0].message.content);
});

test('models are listed and retrieved', async () => {
  const names = (await Array.fromAsync(client.models.list())).map((model) => model.id);
  assert.ok(names.includes('fanout') && names.includes('agent/plain'));
  assert.equal((await client.models.retrieve('agent/plain')).id, 'agent/plain');
});

test('a tool is called, and its result answered', async () => {
  const asked = { model: 'agent/caller', tools: [weather] };
  const first = await client.chat.completions.create({ ...asked, messages });
  assert.equal(first.choices[0].finish_reason, 'tool_calls');
  const { message } = first.choices[0];
  const [call] = message.tool_calls;
  assert.deepEqual(JSON.parse(call.function.arguments), { city: 'Why is the sky blue?' });
  const result = { role: 'tool', tool_call_id: call.id, content: 'Sunny, as ever.' };
  const second = await client.chat.completions.create({
    ...asked, messages: [...messages, message, result],
  });
  assert.match(second.choices[0].message.content, /Sunny, as ever\./);
});

test('the tool runner calls a function and goes on', async () => {
  let asked;
  const runner = client.chat.completions.runTools({
    model: 'agent/caller', messages, stream: true,
    tools: [{
      ...weather,
      function: {
        ...weather.function,
        parse: JSON.parse,
        function: (told) => { asked = told; return 'Rain from noon.'; },
      },
    }],
  });
  assert.match(await runner.finalContent(), /Rain from noon\./);
  assert.deepEqual(asked, { city: 'Why is the sky blue?' });
});

test('an answer can fit a schema', async () => {
  const schema = {
    type: 'object', properties: { n: { type: 'integer' }, text: { type: 'string' } },
  };
  const completion = await client.chat.completions.parse({
    model: 'agent/plain', messages,
    response_format: { type: 'json_schema', json_schema: { name: 'answer', schema } },
  });
  assert.equal(JSON.parse(completion.choices[0].message.content).n, 7);
});

test('errors before the first byte have the kind of their status', async () => {
  for (const stream of [false, true]) {
    const ask = (fields) =>
      client.chat.completions.create({ model: 'fanout', messages, stream, ...fields });
    const unknown = await errorOf(ask({ model: 'gpt-unknown' }), OpenAI.NotFoundError);
    assert.equal(unknown.code, 'model_not_found');
    const refused = await errorOf(ask({ logprobs: true }), OpenAI.BadRequestError);
    assert.equal(refused.param, 'logprobs');
    assert.ok(refused.requestID);
    const failed = await errorOf(ask({ model: 'agent/broken' }), OpenAI.InternalServerError);
    assert.equal(failed.status, 502);
    const late = await errorOf(ask({ model: 'agent/late' }), OpenAI.InternalServerError);
    assert.equal(late.status, 504);
  }
});

test('an error midway is thrown behind what came', async () => {
  const chunks = [];
  const read = async () => {
    for await (const chunk of await client.chat.completions.create({
      model: 'breaking', messages, stream: true,
    })) chunks.push(chunk);
  };
  const error = await errorOf(read(), OpenAI.APIError);
  assert.ok(error.code && error.message);
  assert.equal(textOf(chunks).trim().split(/\s+/).length, 60);
  assert.ok(chunks.every((c) => !c.choices[0].finish_reason));
});

test('a retry finds a model that has recovered', async () => {
  const statuses = [];
  const noting = async (...args) => {
    const response = await fetch(...args);
    statuses.push(response.status);
    return response;
  };
  const patient = new OpenAI({
    baseURL: `${SERVICE_URL}/v1`, apiKey: 'any', maxRetries: 2, fetch: noting,
  });
  const question = [{ role: 'user', content: 'Why, in Node?' }];
  await patient.chat.completions.create({ model: 'agent/busy-once', messages: question });
  assert.deepEqual(statuses, [429, 200]);
});

test('an aborted stream ends the calls after the grace', async () => {
  await until(async () => (await openCalls()) === 0);
  const stream = await hasty.chat.completions.create({
    model: 'endless', messages, stream: true,
  });
  for await (const _ of stream) {
    assert.ok(await openCalls() > 0);
    break;
  }
  await until(async () => (await openCalls()) === 0);
});

test("a client's own timeout is a timeout", async () => {
  const ask = (stream) =>
    hasty.chat.completions.create({ model: 'agent/hung', messages, stream }, { timeout: 500 });
  await errorOf(ask(false), OpenAI.APIConnectionTimeoutError);
  await errorOf(ask(true), OpenAI.APIConnectionTimeoutError);
});

test('pings in a long silence are not seen', async () => {
  const chunks = await streamed({ model: 'agent/silent' }, hasty);
  assert.equal(textOf(chunks).trim().split(/\s+/).length, 3);
});

test('a picture is passed on', async () => {
  const content = [
    { type: 'text', text: 'What is this?' },
    { type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0KGgo=' } },
  ];
  const answer = await client.chat.completions.create({
    model: 'agent/plain', messages: [{ role: 'user', content }],
  });
  assert.match(answer.choices[0].message.content, /Pictures shown: 1\./);
});

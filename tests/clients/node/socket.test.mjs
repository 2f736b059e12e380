// Node's own WebSocket on /chat.

import assert from 'node:assert/strict';
import { test } from 'node:test';

const address = `${process.env.SERVICE_URL.replace('http', 'ws')}/chat`;
const chat = (fields = {}) =>
  JSON.stringify({ messages: [{ role: 'user', content: 'Why is the sky blue?' }], ...fields });

// Sends all requests at once; returns the ends of all answers, with the tokens before each.
function answersTo(requests, onToken = () => {}) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(address);
    const answers = [];
    let tokens = [];
    socket.onopen = () => requests.forEach((request) => socket.send(request));
    socket.onmessage = ({ data }) => {
      const { token, ...end } = JSON.parse(data);
      if (token !== undefined) {
        tokens.push(token);
        onToken(socket, answers.length, tokens.length);
        return;
      }
      answers.push({ tokens, ...end });
      tokens = [];
      if (answers.length === requests.length) socket.close(1000);
    };
    socket.onerror = () => reject(new Error('the socket failed'));
    socket.onclose = ({ code }) => resolve({ answers, code });
  });
}

test('requests on a socket are answered one after the other', async () => {
  const { answers, code } = await answersTo([chat(), chat({ ensemble: 'solo' }), chat()]);
  assert.deepEqual(answers.map((answer) => answer.done), ['true', 'true', 'true']);
  assert.deepEqual(answers[0].tokens.join(''), answers[2].tokens.join(''));
  assert.equal(code, 1000);
});

test('an answer is cancelled, and the next one whole', async () => {
  const cancel = (socket, answer, token) => {
    if (answer === 0 && token === 5) socket.send(JSON.stringify({ type: 'cancel' }));
  };
  const { answers } = await answersTo([chat({ ensemble: 'endless' }), chat()], cancel);
  assert.ok(answers[0].error && !answers[0].done);
  assert.equal(answers[1].done, 'true');
});

test('a wrong request is told, and the socket stays', async () => {
  const { answers } = await answersTo(['{"messages": []}', 'oops', chat()]);
  assert.ok(answers[0].error && answers[1].error);
  assert.equal(answers[2].done, 'true');
});

"""JavaScript functions that a browser runs against the service."""

from __future__ import annotations

# Opens a stream and tells all that came once the browser gave it up for good.
EVENT_SOURCE = """
url => new Promise(resolve => {
  const source = new EventSource(url), seen = window.seen = [];
  let opened = 0;
  source.onopen = () => { opened += 1; };
  source.onmessage = event => seen.push({id: event.lastEventId, ...JSON.parse(event.data)});
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) resolve({seen, opened});
  };
})
"""

# Posts, and tells when each block of the answer came, in blocks read so far.
FETCH = """
async ([url, body, headers]) => {
  const response = await fetch(url, {
    method: 'POST', body: JSON.stringify(body),
    headers: {'Content-Type': 'application/json', ...headers},
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const blocks = [];
  for (let next = await reader.read(); !next.done; next = await reader.read())
    blocks.push(next.value);
  return {
    status: response.status, blocks, text: blocks.join(''),
    type: response.headers.get('Content-Type'), run: response.headers.get('X-Run-Id'),
  };
}
"""

# Asks, reads one block, and goes away.
FETCH_AND_LEAVE = """
async ([url, body]) => {
  const leaving = new AbortController();
  const response = await fetch(url, {
    method: 'POST', body: JSON.stringify(body), signal: leaving.signal,
    headers: {'Content-Type': 'application/json'},
  });
  await response.body.getReader().read();
  leaving.abort();
  return response.headers.get('X-Run-Id');
}
"""

# Opens a socket, sends all of `sent`, cancels the first after so many tokens, and tells what came.
SOCKET = """
([url, sent, cancelAfter]) => new Promise(resolve => {
  const socket = new WebSocket(url), answers = [];
  let tokens = [], opened = false;
  socket.onopen = () => {
    opened = true;
    sent.forEach(each => socket.send(JSON.stringify(each)));
  };
  socket.onmessage = ({data}) => {
    const {token, ...end} = JSON.parse(data);
    if (token !== undefined) {
      tokens.push(token);
      if (!answers.length && tokens.length === cancelAfter)
        socket.send(JSON.stringify({type: 'cancel'}));
      return;
    }
    answers.push({tokens, ...end});
    tokens = [];
    if (answers.length === sent.length) socket.close(1000);
  };
  socket.onclose = ({code, wasClean}) => resolve({opened, answers, code, wasClean});
})
"""

// @ts-check
/**
 * A stream of messages that survives a lost connection, a restart of the service and a sleep.
 *
 * EventSource alone gives up after an error status, waits without regard to the network, and does
 * not notice a connection that died while the computer slept.
 */

const SILENCE_MS = 40_000; // the service sends a message at least every 15 s
const LONGEST_WAIT_MS = 8_000;

/**
 * Follow the messages at `path`, from the first one; each continues behind the last one received.
 *
 * `onMessage` receives each message with content; `onConnection` whether the stream is connected,
 * after each change. After an error, `onError` decides with a rejection that there is no stream any
 * more, and `onMessage` is not called again.
 *
 * @param {string} path
 * @param {{onMessage: (message: any) => void, onConnection: (isConnected: boolean) => void,
 *          onError: () => Promise<unknown>}} listener
 */
export function follow(path, listener) {
  let seq = 0;
  let attempts = 0;
  let lastSeen = Date.now();
  let isClosed = false;
  /** @type {EventSource | null} */
  let source = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  function connect() {
    clearTimeout(timer);
    source?.close();
    if (isClosed) return;
    lastSeen = Date.now();
    source = new EventSource(`${path}?starting_after=${seq}`);
    source.onmessage = receive;
    source.onerror = () => reconnectLater();
  }

  /** @param {MessageEvent<string>} event */
  function receive(event) {
    if (isClosed) return;
    if (attempts) listener.onConnection(true);
    attempts = 0;
    lastSeen = Date.now();
    const message = JSON.parse(event.data);
    if (!("texts" in message)) return; // a sign of life
    const number = Number(event.lastEventId.split("-").pop());
    if (number) seq = number;
    listener.onMessage(message);
  }

  function reconnectLater() {
    source?.close();
    if (isClosed) return;
    attempts += 1;
    if (attempts === 2) listener.onConnection(false); // one cut is repaired without a word
    const wait = Math.min(LONGEST_WAIT_MS, 250 * 2 ** attempts) * (0.5 + Math.random() / 2);
    timer = setTimeout(connect, attempts === 1 ? 100 : wait);
    if (attempts > 1) listener.onError().catch(close);
  }

  function reconnectIfStale() {
    const isStale = attempts > 0 || Date.now() - lastSeen > SILENCE_MS / 2;
    if (!isClosed && !document.hidden && isStale) connect();
  }

  const watchdog = setInterval(() => {
    if (attempts === 0 && Date.now() - lastSeen > SILENCE_MS) connect();
  }, 5_000);
  window.addEventListener("online", reconnectIfStale);
  window.addEventListener("pageshow", reconnectIfStale);
  document.addEventListener("visibilitychange", reconnectIfStale);

  function close() {
    isClosed = true;
    source?.close();
    clearTimeout(timer);
    clearInterval(watchdog);
    window.removeEventListener("online", reconnectIfStale);
    window.removeEventListener("pageshow", reconnectIfStale);
    document.removeEventListener("visibilitychange", reconnectIfStale);
  }

  connect();
  return {
    close,
    /** Receive everything again, from the first message. */
    restart() {
      seq = 0;
      connect();
    },
  };
}

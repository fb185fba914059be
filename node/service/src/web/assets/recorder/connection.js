// Carries out what transport.js decides: a WebSocket, a timer and the bytes from the store.

import { PROTOCOL, Transport } from './transport.js';

const HEADER_BYTES = 8;

/** A binary frame: the offset as a big-endian unsigned 64-bit integer, then the bytes. */
export function frame(offset, bytes) {
  const out = new Uint8Array(HEADER_BYTES + bytes.byteLength);
  new DataView(out.buffer).setBigUint64(0, BigInt(offset));
  out.set(bytes, HEADER_BYTES);
  return out;
}

/** Events are those that transport.js tells: `started`, `acked`, `link`, `saved` … */
export class Connection extends EventTarget {
  #transport;
  #store;
  #url;
  #socket = null;
  #timer = null;
  #line = Promise.resolve(); // frames leave in the order in which they were decided on
  #onOnline = () => this.#step((t, now) => t.online(now));

  constructor(node, store) {
    super();
    const url = new URL('/api/v1/ingest/stream', node);
    url.protocol = url.protocol === 'http:' ? 'ws:' : 'wss:';
    this.#url = url.href;
    this.#store = store;
    this.#transport = new Transport();
    globalThis.addEventListener('online', this.#onOnline);
  }

  get transport() { return this.#transport; }

  begin(start) { this.#step((t, now) => t.begin(start, now)); }
  adopt(known) { this.#step((t, now) => t.adopt(known, now)); }
  stop(length_ms) { this.#step((t, now) => t.stop(length_ms, now)); }
  save() { this.#step((t, now) => t.save(now)); }
  discard() { this.#step((t, now) => t.discard(now)); }

  append(blob) {
    this.#store.append(blob);
    this.#step((t, now) => t.append(blob.size, now));
  }

  /** Lets go of the line without a word to the node, as a closed page would. */
  abandon() {
    globalThis.removeEventListener('online', this.#onOnline);
    clearTimeout(this.#timer);
    this.#drop();
  }

  #step(act) {
    act(this.#transport, performance.now());
    for (const effect of this.#transport.effects()) this.#perform(effect);
    clearTimeout(this.#timer);
    const { deadline } = this.#transport;
    if (deadline !== null) {
      const wait = Math.max(0, deadline - performance.now());
      this.#timer = setTimeout(() => this.#step((t, now) => t.timer(now)), wait);
    }
    if (this.#transport.over) globalThis.removeEventListener('online', this.#onOnline);
  }

  #perform(effect) {
    switch (effect.do) {
      case 'connect': return this.#connect(effect.link);
      case 'disconnect': return this.#drop();
      case 'text': return this.#enqueue(this.#socket, () => effect.text);
      case 'chunk': return this.#enqueue(this.#socket, async () =>
        frame(effect.offset, await this.#store.read(effect.offset, effect.length)));
      case 'forget': return this.#store.forget(effect.before);
      default:
        return this.dispatchEvent(new CustomEvent(effect.what, { detail: effect.detail }));
    }
  }

  #connect(link) {
    this.#drop();
    let socket;
    try {
      socket = new WebSocket(this.#url, PROTOCOL);
    } catch {
      // A content security policy or a bad address: as good as a line that breaks at once.
      setTimeout(() => this.#step((t, now) => t.closed(link, 1006, now)));
      return;
    }
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => this.#step((t, now) => t.opened(link, now));
    socket.onmessage = ({ data }) => {
      if (typeof data === 'string') this.#step((t, now) => t.received(link, data, now));
    };
    socket.onclose = ({ code }) => this.#step((t, now) => t.closed(link, code, now));
    this.#socket = socket;
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
  }

  #enqueue(socket, make) {
    this.#line = this.#line.then(async () => {
      if (socket?.readyState !== WebSocket.OPEN || socket !== this.#socket) return;
      const data = await make();
      if (socket.readyState === WebSocket.OPEN) socket.send(data);
    }).catch((error) => {
      // Bytes that cannot be read back are lost to this recording: say so rather than hang.
      this.dispatchEvent(new CustomEvent('failed', { detail: { kind: 'store', error } }));
    });
  }
}

// One recording from `record` to `saved`: the recorder, the store and the connection together.
//
// Events: `change` (something to show), `durable` (the node has all of it), `saved`, `discarded`,
// `failed` ({ kind, … } of transport.js), `full` (no more room here), `stopped` (the recorder).

import { Recorder } from './capture.js';
import { Connection } from './connection.js';
import { ByteStore } from './store.js';

/** How long `begin` waits for the node before it records without it, in milliseconds. */
const GREETING_MS_MAX = 2_500;

export class Session extends EventTarget {
  #node;
  #environment;
  #unfinished;
  #store = new ByteStore();
  #connection;
  #recorder = null;
  #playback_url = null;

  link = { up: false, since: performance.now(), problem: null, retry_at: null };
  sha256 = null;
  durable = false;
  adopted = null; // { offset, state } of a recording that an earlier page began
  failed = null;

  constructor({ node, env_id, env_hash, unfinished }) {
    super();
    this.#node = node;
    this.#environment = { env_id, env_hash };
    this.#unfinished = unfinished;
    this.#connection = new Connection(node, this.#store);
    const on = (what, act) => this.#connection.addEventListener(what, ({ detail }) => act(detail));
    on('started', (detail) => this.#started(detail));
    on('resumed', (detail) => this.#resumed(detail));
    on('link', (detail) => this.#linked(detail));
    on('acked', () => this.#say('change'));
    on('stopped', ({ sha256 }) => {
      this.sha256 = sha256 ?? this.sha256;
      this.durable = true;
      this.#say('durable');
    });
    on('saved', (detail) => this.#over('saved', detail));
    on('discarded', (detail) => this.#over('discarded', detail));
    on('failed', (detail) => {
      if (this.failed) return;
      this.failed = detail;
      this.#over('failed', detail);
    });
    this.#store.addEventListener('full', () => this.#say('full'));
  }

  get recordingId() { return this.#connection.transport.recordingId; }
  get token() { return this.#connection.transport.token; }
  get total() { return this.#connection.transport.total; }
  get acked() { return this.#connection.transport.acked; }
  get waiting() { return this.#connection.transport.unacknowledged; }
  get spilled() { return this.#store.onDisk; }
  get recorder() { return this.#recorder; }
  get playbackUrl() { return this.#playback_url && new URL(this.#playback_url, this.#node).href; }

  /** Greets the node, then records. Rejects with `failed` where the node refuses at once. */
  async begin({ stream, type, metadata, ...options }) {
    this.#recorder = new Recorder(stream, {
      ...options, type, onData: (blob) => this.#connection.append(blob),
    });
    this.#recorder.addEventListener('failed', ({ detail }) => this.#say('recorder-failed', detail));
    this.#connection.begin({ ...this.#environment, mime: type, metadata });
    await this.#greeted();
    this.#recorder.start();
    this.#recorder.addEventListener('stopped', () => {
      this.#connection.stop(Math.round(this.#recorder.elapsed_ms));
      this.#say('stopped');
    });
  }

  adopt(known) {
    this.#connection.adopt(known);
  }

  pause() { this.#recorder?.pause(); }
  resume() { this.#recorder?.resume(); }
  async stop() { await this.#recorder?.stop(); }

  save() {
    if (this.adopted) this.#connection.stop(null);
    this.#connection.save();
  }

  discard() {
    this.#connection.discard();
  }

  /** All of the recording out of this browser, where it is still here. */
  localBlob() {
    return this.#store.blob(this.#recorder?.type.split(';')[0] || 'video/webm');
  }

  /** Lets go of everything here; the node keeps what it has. */
  close() {
    this.#connection.abandon();
    this.#store.clear();
  }

  #greeted() {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, GREETING_MS_MAX);
      const settle = (act) => (event) => {
        clearTimeout(timer);
        act(event);
      };
      this.#connection.addEventListener('started', settle(resolve), { once: true });
      this.#connection.addEventListener('failed', settle(({ detail }) => reject(detail)), { once: true });
      this.#connection.addEventListener('link', settle(({ detail }) => {
        // Full or busy: better said before anyone has talked for ten minutes. Merely out of reach:
        // recorded all the same, and sent when the line is back.
        if (detail.problem) reject({ kind: 'refused', problem: detail.problem });
        else resolve();
      }), { once: true });
    });
  }

  #started({ playback_url }) {
    this.#playback_url = playback_url;
    this.#unfinished.remember({ recording_id: this.recordingId, token: this.token });
    this.#say('started');
  }

  #resumed({ offset, state, playback_url }) {
    this.#playback_url = playback_url ?? this.#playback_url;
    if (!this.#recorder) {
      this.adopted = { offset, state };
      this.#say('adopted');
    }
  }

  #linked({ up, problem = null, retry_at = null }) {
    const since = this.link.up === up ? this.link.since : performance.now();
    this.link = { up, since, problem, retry_at };
    this.#say('change');
  }

  #over(what, detail) {
    const keepsPlace = what === 'failed' && detail.kind !== 'refused';
    if (!keepsPlace) this.#unfinished.forget();
    this.#say(what, detail);
  }

  #say(what, detail) {
    this.dispatchEvent(new CustomEvent(what, { detail }));
  }
}
